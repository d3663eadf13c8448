from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from outskirts.errors import OutskirtsError
from outskirts.neighbours.cosine import kth_own_cosine
from outskirts.synthesis import BoundarySynthesizer, ClassQueue

# Invariants


@pytest.mark.parametrize("seed", range(3))
def test_outliers_are_noise_about_boundary_points(synthesizer, seed, seeded, features, full):
    values = features(seed=seed)
    made = synthesizer(values.clone().requires_grad_(), full(values), seeded(seed))
    classes = synthesizer.classes_per_call or 3
    assert len(made) == classes * synthesizer.picks * synthesizer.keep
    assert made.labels.unique().numel() == classes and made.info["ready"] == 1
    assert not made.values.requires_grad and made.values.dtype == torch.float64
    for label in made.labels.unique().tolist():
        rows = values[label]
        own = made.info["boundary"][made.labels == label]
        assert own.unique().numel() == synthesizer.picks
        cosine = normalize(rows, dim=1) @ normalize(rows, dim=1).T
        near = cosine.sort(1, descending=True).values[:, synthesizer.neighbor - 1]
        assert (near[own] <= near.sort().values[synthesizer.boundary - 1] + 1e-6).all()
    base = values[made.labels, made.info["boundary"]]
    if synthesizer.space == "sphere":
        torch.testing.assert_close(made.values.norm(dim=1), torch.ones(len(made), dtype=torch.float64))
        base = normalize(base, dim=1)
    assert (made.values - base).abs().max() < 6 * synthesizer.sigma


@pytest.mark.parametrize("space", ["sphere", "raw"])
def test_without_noise_outliers_are_boundary_points(space, small, seeded, features, full):
    values = features()
    made = replace(small, sigma=0.0, space=space)(values, full(values), seeded())
    base = values[made.labels, made.info["boundary"]]
    torch.testing.assert_close(made.values, normalize(base, dim=1) if space == "sphere" else base)


def test_diagnostics_are_means(small, seeded, features, full):
    values, chosen = features(), replace(small, picks=3)
    made, every = (replace(chosen, keep=keep)(values, full(values), seeded()) for keep in (3, 12))
    info = made.info
    torch.testing.assert_close(info["kept_distance"], info["distance"].mean())
    rejected = (every.info["distance"].sum() - info["distance"].sum()) / (3 * 3 * 9)
    torch.testing.assert_close(info["rejected_distance"], rejected)
    own = 2 - 2 * kth_own_cosine(normalize(values, dim=2), None, 5)
    torch.testing.assert_close(info["boundary_distance"], own[made.labels, info["boundary"]].mean())
    assert info["kept_distance"] > info["rejected_distance"]


# What is not there


def test_rows_not_filled_are_never_used(synthesizer, seeded, features):
    values, filled = features(classes=4, rows=14), torch.tensor([11, 1, 14, 10])
    poisoned = values.clone()
    poisoned[torch.arange(14) >= filled[:, None]] = torch.nan
    made = synthesizer(poisoned, filled, seeded())
    assert made.values.isfinite().all() and all(value.isfinite().all() for value in made.info.values())
    assert (made.info["boundary"] < filled[made.labels]).all() and 1 not in made.labels
    expected = synthesizer(values, filled, seeded())
    assert torch.equal(made.values, expected.values) and made.info["ready"] == 0.75


def test_no_class_ready_is_no_outliers(synthesizer, seeded, features):
    values = features()
    before = seeded()
    made = synthesizer(values, torch.tensor([0, synthesizer.needed - 1, 0]), before)
    assert made.values.shape == (0, 5) and made.labels.shape == (0,)
    assert all(value.shape == (0,) or value == 0 for value in made.info.values())
    assert len(made.info) == 6


@pytest.mark.parametrize(
    ("sizes", "needed"),
    [
        ({"k": 4, "boundary": 3}, 5),
        ({"k": 4, "boundary": 3, "exclude_self": False}, 4),
        ({"k": 4, "boundary": 3, "reference_quirks": True}, 4),
        ({"k": 4, "boundary": 7}, 7),
        ({"k": 4, "boundary": 3, "min_rows": 8}, 8),
    ],
)
def test_a_class_is_ready_once_it_has_enough_rows(sizes, needed, small, seeded, features):
    chosen, values = replace(small, **sizes), features(classes=1)
    assert chosen.needed == needed
    assert len(chosen(values, torch.tensor([needed - 1]), seeded())) == 0
    assert len(chosen(values, torch.tensor([needed]), seeded())) == 6


def test_a_feature_without_direction_is_nobodys_boundary(small, seeded, features, full):
    values = features()
    values[:, [2, 7]] = 0
    for seed in range(10):
        made = replace(small, boundary=8, picks=8)(values, full(values), seeded(seed))
        assert not {2, 7} & set(made.info["boundary"].tolist())
        assert made.values.isfinite().all()
    made = replace(small, space="raw", sigma=0.0)(torch.zeros(1, 10, 5), torch.tensor([10]), seeded())
    assert made.values.isfinite().all() and made.info["distance"].isfinite().all()


def test_the_published_code_takes_emptied_rows_for_the_boundary(small, seeded, features, full):
    values = features()
    values[:, :4] = 0
    made = replace(small, boundary=4, picks=4, space="raw", reference_quirks=True)(values, full(values), seeded())
    assert set(made.info["boundary"].tolist()) == {0, 1, 2, 3} and made.values.isfinite().all()
    # Outliers are then noise about the origin.
    assert made.values.norm(dim=1).amax() < 20 * small.sigma


def test_the_latest_features_of_a_queue(small, seeded, features):
    queue = ClassQueue(2, 10, 5)
    values = features(classes=2, rows=15, dtype=torch.float32)
    queue.push(values[0], torch.zeros(15, dtype=torch.int64))
    made = small(queue.values, queue.filled, seeded())
    assert len(made) == 6 and made.info["ready"] == 0.5
    latest = normalize(values[0, 5:], dim=1)
    unperturbed = replace(small, sigma=0.0)(queue.values, queue.filled, seeded())
    assert torch.cdist(unperturbed.values, latest).min(1).values.max() < 1e-3


# Chunks, draws and precision


@pytest.mark.parametrize("budget", [1_700, 5_000, 20_000])
def test_the_budget_changes_nothing(synthesizer, budget, seeded, features):
    values, filled = features(classes=5), torch.tensor([10, 9, 10, 4, 10])
    one, other = (replace(synthesizer, budget=b)(values, filled, seeded()) for b in (2**30, budget))
    torch.testing.assert_close(one.values, other.values)
    assert torch.equal(one.info["boundary"], other.info["boundary"])
    assert all(torch.allclose(value, other.info[key]) for key, value in one.info.items())


def test_a_budget_below_one_class_will_do(small, seeded, features, full):
    values = features()
    made = replace(small, budget=1)(values, full(values), seeded())
    bank = normalize(values, dim=2)
    found = [(made.values[made.labels == c] @ bank[c].T).sort(1, descending=True).values[:, 3] for c in range(3)]
    torch.testing.assert_close(made.info["distance"], 2 - 2 * torch.cat(found))


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor made."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.untyped_storage().data_ptr() != args_storage(args):
            self.bytes = max(self.bytes, made.untyped_storage().nbytes())
        return made


def args_storage(args):
    tensors = [a for a in args if isinstance(a, torch.Tensor)]
    return tensors[0].untyped_storage().data_ptr() if tensors else None


@pytest.mark.parametrize("budget", [2**20, 2**22])
def test_memory_stays_within_the_budget(budget, seeded, full):
    chosen = BoundarySynthesizer(k=30, boundary=50, picks=4, candidates=200, keep=1, budget=budget)
    values = torch.randn(30, 200, 64, generator=seeded())
    with Largest() as seen:
        chosen(values, full(values), seeded())
    assert budget / 20 < seen.bytes <= budget / 2
    with Largest() as seen:
        replace(chosen, budget=2**30)(values, full(values), seeded())
    assert seen.bytes > 2**22


def test_the_generator_decides_everything(synthesizer, seeded, features, full):
    values = features()
    state = torch.get_rng_state()
    one, two, other = (synthesizer(values, full(values), seeded(s)).values for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_is_new_for_every_class_and_pair_of_points_unless_shared(small, seeded, features, full):
    values = features()
    for shared in (True, False):
        chosen = replace(small, picks=5, keep=12, selection="random", space="raw", shared_noise=shared)
        made = chosen(values, full(values), seeded())
        noise = (made.values - values[made.labels, made.info["boundary"]]).view(3, 5, -1)
        if shared:
            torch.testing.assert_close(noise, noise[:1, :1].expand(3, 5, -1))
        else:
            torch.testing.assert_close(noise[:, [1, 3]], -noise[:, [0, 2]])
            assert torch.pdist(noise[:, [0, 2, 4]].flatten(0, 1)).min() > 0.1


def test_noise_has_the_deviation_asked_for(small, seeded, features, full):
    values = features(dtype=torch.float32)
    chosen = replace(small, candidates=2000, keep=2000, selection="random", space="raw")
    made = chosen(values, full(values), seeded())
    noise = made.values - values[made.labels, made.info["boundary"]]
    assert abs(noise.std() - 0.3) < 0.005 and abs(noise.mean()) < 0.005


def test_some_classes_are_drawn_among_the_ready(small, seeded, features):
    values, filled = features(classes=6), torch.tensor([10, 10, 2, 10, 10, 10])
    drawn = [
        tuple(replace(small, classes_per_call=2)(values, filled, seeded(s)).labels.unique().tolist()) for s in range(60)
    ]
    assert all(len(pair) == 2 and 2 not in pair for pair in drawn)
    assert len(set(drawn)) == 10


def test_every_boundary_point_has_its_turn(small, seeded, features, full):
    values = features(classes=1)
    seen = [tuple(small(values, full(values), seeded(s)).info["boundary"].unique().tolist()) for s in range(150)]
    assert len(set(seen)) == 15 and {row for pair in seen for row in pair} <= set(range(10))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_single_precision_at_least_even_within_autocast(dtype, small, seeded, features, full):
    values = features(dtype=torch.float32).to(dtype)
    plain = small(values, full(values), seeded())
    with torch.autocast("cpu", torch.bfloat16):
        cast = small(values, full(values), seeded())
    assert plain.values.dtype == torch.float32 and torch.equal(plain.values, cast.values)


# Stand-alone


def test_a_sample_is_even_over_the_classes_that_are_ready(small, seeded, features):
    values = features(classes=3, rows=12).flatten(0, 1)
    labels = torch.arange(36) // 12
    values, labels = values[:29], labels[:29]  # The last class has 5 rows, too few for a boundary of 6.
    order = torch.randperm(29, generator=seeded(5))
    values, labels = values[order], labels[order]
    fitted = replace(small).fit(values, labels, ["ant", "bee", "fly"])
    for n in (1, 7, 12, 50):
        made = fitted.sample(n, seeded())
        counts = torch.bincount(made.labels, minlength=3).tolist()
        assert sum(counts) == n == len(made.values) and counts[2] == 0 and abs(counts[0] - counts[1]) <= 1
        assert torch.equal(labels[made.info["boundary"]], made.labels)
        base = normalize(values[made.info["boundary"]], dim=1)
        assert (made.values - base).abs().max() < 6 * 0.3
        assert made.info["ready"] == pytest.approx(2 / 3) and made.info["distance"].shape == (n,)
    assert torch.equal(fitted.sample(9, seeded(1)).values, fitted.sample(9, seeded(1)).values)


def test_the_last_rows_of_a_class_are_held_where_a_size_is_given(small, features):
    values = features(classes=2, rows=20)
    labels = (torch.arange(40) // 20)[:33]
    fitted = replace(small).fit(values.flatten(0, 1)[:33], labels, size=10)
    assert fitted.bank.filled.tolist() == [10, 10]
    assert fitted.bank.rows.tolist() == [list(range(10, 20)), list(range(23, 33))]
    assert torch.equal(fitted.bank.values[0], values[0, 10:])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "'bee', the largest, has 4, and k = 4 with boundary = 6 needs 6; choose a k of at most 3 and a boundary"),
        ({"features": torch.ones(5)}, r"features \[N, D\] with labels \[N\], not of shapes \[5\] and \[7\]"),
        ({"features": torch.ones(6, 2)}, r"not of shapes \[6, 2\] and \[7\]"),
        ({"features": torch.ones(0, 2), "labels": torch.ones(0).long()}, "one or more features"),
        ({"features": torch.zeros(7, 2)}, "7 of 7 features are zero or not finite"),
        ({"features": torch.full((7, 2), torch.nan)}, "7 of 7 features are zero or not finite"),
        ({"labels": torch.tensor([0, 0, 0, 1, 1, 1, 2])}, "Labels from 0 to 2 do not fit the 2 classes"),
        ({"labels": torch.tensor([0, 0, 0, 1, 1, 1, -1])}, "Labels from -1 to 1 do not fit"),
    ],
)
def test_features_that_do_not_do_are_told(change, sentence, small):
    given = {"features": torch.ones(7, 2), "labels": torch.tensor([0, 0, 0, 1, 1, 1, 1]), "classes": ["ant", "bee"]}
    with pytest.raises(OutskirtsError, match=sentence):
        replace(small).fit(**{**given, **change})


def test_a_sample_before_the_features_is_told(small, seeded):
    with pytest.raises(OutskirtsError, match="call fit first"):
        replace(small).sample(3, seeded())


# Options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"keep": 13}, "13 of 12 candidates cannot be kept; choose keep of at most 12"),
        ({"picks": 7}, "7 boundary points cannot be drawn from a set of 6; choose picks of at most 6"),
        ({"sigma": -1.0}, "sigma must be finite and at least 0, not -1.0"),
        ({"sigma": float("nan")}, "sigma must be finite and at least 0, not nan"),
        ({"classes_per_call": -1}, "classes_per_call must be at least 1, not -1"),
        ({"classes_per_call": 0}, "classes_per_call must be at least 1, not 0"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"space": "spere"}, "space must be one of sphere, raw, not 'spere'; did you mean 'sphere'"),
        ({"selection": "nearest"}, "selection must be one of distance, random, not 'nearest'"),
    ],
)
def test_impossible_options_are_told(options, sentence, small):
    with pytest.raises(OutskirtsError, match=sentence):
        replace(small, **options)


@pytest.mark.parametrize("options", [{"k": 10}, {"boundary": 11}, {"min_rows": 11}])
def test_a_queue_that_is_too_short_is_told(options, small, seeded, features, full):
    values = features()
    with pytest.raises(OutskirtsError, match="10 features per class never holds the 11 that k = "):
        replace(small, **options)(values, full(values), seeded())
