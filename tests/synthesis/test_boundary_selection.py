"""Which candidates are kept: those that are farthest from the features of their class."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from outskirts.neighbours.cosine import kth_cosine_about, kth_own_cosine
from outskirts.synthesis import BoundarySynthesizer
from outskirts.synthesis.boundary import boundary_rows, select

# Published vectors (specification, part E)

ROWS = torch.tensor([[1.0, 0.0], [2.0, 0.2], [3.0, -0.3], [1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
NOISE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (2, [0.0099256196, 0.0099256196, 0.0099256196, 0.4520854016, 0.5857864376]),
        (3, [0.0099256196, 0.0396039604, 0.0396039604, 0.5857864376, 1.8009925620]),
    ],
)
def test_distances_including_itself(k, expected):
    near = kth_own_cosine(normalize(ROWS, dim=1)[None], None, k)
    torch.testing.assert_close(2 - 2 * near[0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


def around(points):
    """The candidates of the vectors about these rows, and their cosines."""
    base, noise, bank = ROWS[points], 0.5 * NOISE, normalize(ROWS, dim=1)
    near = kth_cosine_about(base[None], noise[None], torch.ones(len(points)), bank[None], None, 2)
    return base[:, None] + noise, near


def test_candidates_and_what_is_kept():
    near = kth_own_cosine(normalize(ROWS, dim=1)[None], None, 2)
    assert set(boundary_rows(near, None, 2)[0].tolist()) == {3, 4}
    candidates, near = around([4, 3])
    expected = [
        [0.2850141486, 0.5857864376, 0.9710084891, 0.5857864376],
        [0.2337685611, 0.3358994113, 0.2111456180, 0.1310245301],
    ]
    torch.testing.assert_close(2 - 2 * near[0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)
    kept = select(near, 1)[0]
    assert [row[index].tolist() for row, index in zip(candidates, kept)] == [[[-0.5, 2.0]], [[1.0, 1.5]]]


def test_the_published_selection_takes_the_worst():
    candidates, near = around([3, 4])
    kept = select(near, 2, scrambled=True)[0]
    found = {tuple(vector) for row, index in zip(candidates, kept) for vector in row[index].tolist()}
    assert found == {(1.0, 0.5), (0.5, 1.0), (-0.5, 2.0), (0.0, 1.5)}
    # Those kept of the first point are the two nearest of its candidates.
    assert set(kept[0].tolist()) == set(near[0, 0].topk(2).indices.tolist())


# The same, naively


def naive(values, filled, chosen, generator):
    """One vector at a time, in numpy; drawn in the documented order."""
    needed = max(
        chosen.k + (chosen.exclude_self and not chosen.reference_quirks), chosen.boundary, chosen.min_rows or 0
    )
    ready = [c for c in range(len(values)) if filled[c] >= needed]
    if 0 < (chosen.classes_per_call or 0) < len(ready):
        order = torch.randperm(len(ready), generator=generator).tolist()
        ready = sorted(ready[i] for i in order[: chosen.classes_per_call])
    places = torch.rand(len(ready), chosen.boundary, generator=generator).topk(chosen.picks).indices

    def noise(own):
        shape = (chosen.candidates, values.shape[2])
        return torch.empty(shape, dtype=values.dtype).normal_(std=chosen.sigma, generator=own).numpy()

    if chosen.shared_noise or chosen.reference_quirks:
        shared = noise(generator)
        noises = [[shared] * chosen.picks for _ in ready]
    else:
        pairs = (chosen.picks + 1) // 2
        seeds = torch.randint(2**62, (pairs, len(ready)), generator=generator).T.tolist()
        drawn = [[noise(torch.Generator().manual_seed(seed)) for seed in own] for own in seeds]
        noises = [[own[p // 2] * (-1) ** p for p in range(chosen.picks)] for own in drawn]
    found = {"values": [], "labels": [], "boundary": [], "distance": []}
    for c, own_places, own_noise in zip(ready, places.tolist(), noises):
        raw = values[c, : filled[c]].numpy()
        bank = raw / np.linalg.norm(raw, axis=1, keepdims=True)

        def distance(vector, others, k):
            return np.sort(((vector / np.linalg.norm(vector) - others) ** 2).sum(1))[k - 1]

        itself = chosen.exclude_self and not chosen.reference_quirks
        radius = [distance(row, np.delete(bank, i, 0) if itself else bank, chosen.k) for i, row in enumerate(bank)]
        # Equals, which are each other's K-th neighbours, come in their order.
        boundary = np.argsort(np.round(1 - np.array(radius) / 2, 6), kind="stable")[: chosen.boundary]
        picked = [boundary[place] for place in own_places]
        source = bank if chosen.space == "sphere" else raw
        blocks = [source[row] + noise for row, noise in zip(picked, own_noise)]
        far = np.array([[distance(vector, bank, chosen.k) for vector in block] for block in blocks])
        ranked = far.reshape(chosen.candidates, chosen.picks).T if chosen.reference_quirks else far
        for p, block in enumerate(blocks):
            kept = np.argsort(-ranked[p])[: chosen.keep]
            kept = np.arange(chosen.keep) if chosen.selection == "random" else kept
            for i in kept:
                length = np.linalg.norm(block[i]) if chosen.space == "sphere" else 1
                found["values"].append(block[i] / length)
                found["labels"].append(c)
                found["boundary"].append(picked[p])
                found["distance"].append(far[p, i])
    return found


def test_equal_to_a_naive_search(synthesizer, seeded, features):
    values, filled = features(), torch.tensor([10, 9, 10])
    made, expected = (
        make(values, filled, seeded(7)) for make in (synthesizer, lambda *a: naive(*a[:2], synthesizer, a[2]))
    )
    torch.testing.assert_close(made.values, torch.tensor(np.array(expected["values"])).view(made.values.shape))
    torch.testing.assert_close(made.info["distance"], torch.tensor(expected["distance"], dtype=torch.float64))
    assert made.labels.tolist() == expected["labels"]
    assert made.info["boundary"].tolist() == expected["boundary"]


@pytest.mark.parametrize("sizes", [{"keep": 1}, {"picks": 1}, {"keep": 11, "picks": 3}, {"k": 1}, {"space": "raw"}])
def test_what_is_kept_is_at_least_as_far_as_what_is_not(sizes, small, worst_margin):
    chosen = replace(small, **sizes)
    assert worst_margin(chosen) >= 0
    if chosen.picks > 1:
        # The published selection fails this.
        assert worst_margin(replace(chosen, reference_quirks=True)) < -0.01


@pytest.fixture
def worst_margin(seeded, features, full):
    def worst_margin(chosen):
        """The least, over points, of the distance of the nearest kept candidate minus that of the farthest other."""
        values = features()
        made = chosen(values, full(values), seeded(1))
        every = replace(chosen, keep=chosen.candidates)(values, full(values), seeded(1))
        distance, expected = (o.info["distance"].view(3, chosen.picks, -1).sort(2).values for o in (made, every))
        rest = [
            [sorted(set(e.tolist()) - set(d.tolist()))[-1] for d, e in zip(*pair)] for pair in zip(distance, expected)
        ]
        return (distance[..., 0] - torch.tensor(rest)).min()

    return worst_margin


@pytest.mark.parametrize(("dim", "rows", "k"), [(2, 500, 50), (16, 500, 50), (64, 500, 50)])
def test_outliers_are_farther_than_their_boundary_point(dim, rows, k, seeded, full):
    chosen = BoundarySynthesizer(k=k, boundary=50, picks=2, candidates=200, keep=2, sigma=0.1)
    values = torch.randn(10, rows, dim, generator=seeded(1))
    # Without a centre all directions are alike, as on the sphere of a trained network nothing is.
    values[..., 0] += 3
    made, every = (replace(chosen, keep=keep)(values, full(values), seeded(3)) for keep in (2, 200))
    bank = normalize(values, dim=2)

    def farther(outliers, neighbour):
        own = 2 - 2 * kth_own_cosine(bank, None, neighbour)[outliers.labels, outliers.info["boundary"]]
        return (outliers.info["distance"] > own).float().mean()

    # A point's own distance leaves out the point itself, which is no neighbour of its candidates either.
    assert farther(made, k + 1) > 0.95 > 0.9 > farther(every, k + 1) > 0.2


def test_keeping_all_rejects_nothing(small, seeded, features, full):
    values = features()
    every, unselected = (
        replace(small, keep=12, selection=selection)(values, full(values), seeded())
        for selection in ("distance", "random")
    )
    found, expected = (made.values.view(6, 12, 5).sort(1).values for made in (every, unselected))
    assert torch.equal(found, expected)
    assert every.info["rejected_distance"] == 0
    torch.testing.assert_close(every.info["kept_distance"], unselected.info["kept_distance"])
