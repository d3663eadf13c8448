import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from outskirts.data.imageset import ImageSet
from outskirts.data.loading.augment import Compose
from outskirts.data.loading.batches import training_batches
from outskirts.data.loading.mixed_sampler import MixedSampler, Mixing, legacy_epoch
from outskirts.data.loading.sampler import Sampler
from outskirts.data.sources import open as open_images
from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.methods.averages import mean


def sampler(images, synthetic, batch_size, ratio=0.8, epochs=3, seed=0, rank=0, world=1, **mixing):
    return MixedSampler(images, batch_size, epochs, seed, rank, world, synthetic, Mixing(ratio, **mixing))


def steps(made, epoch=0):
    first = epoch * made.steps_per_epoch
    return [made.indices(first + k) for k in range(made.steps_per_epoch)]


def counts(made, epoch=0):
    """Real and synthetic images of each step."""
    return [(int((b < made.images).sum()), int((b >= made.images).sum())) for b in steps(made, epoch)]


# The published sampler


@pytest.mark.parametrize(
    ("sizes", "ratio", "expected"),
    [
        ((10, 6, 4), 0.75, [(3, 1), (3, 1), (3, 1)]),
        ((10, 2, 4), 0.75, [(3, 1), (3, 1), (3, 0)]),
        ((10, 6, 4), 0.0, [(0, 4), (0, 2), (0, 0)]),
        ((10, 6, 4), 1.0, [(4, 0), (4, 0), (2, 0)]),
        ((50_000, 10_166, 128), 0.8, [(102, 26)] * 391),
        ((6_386, 650, 128), 0.9, [(115, 13)] * 50),
    ],
)
def test_published_examples(sizes, ratio, expected):
    images, synthetic, batch_size = sizes
    made = legacy_epoch(
        images, synthetic, batch_size, ratio, torch.Generator().manual_seed(0), np.random.RandomState(0)
    )
    assert [(int((b < images).sum()), int((b >= images).sum())) for b in made] == expected
    everything = torch.cat(made)
    assert len(everything.unique()) == len(everything) == sum(map(sum, expected))


@pytest.mark.parametrize(
    ("batch_size", "ratio", "real"),
    [(100, 0.29, 28), (50, 0.58, 28), (128, 0.7, 89), (128, 0.9, 115), (128, 0.85, 108)],
)
def test_published_truncation_and_ours(batch_size, ratio, real):
    made = legacy_epoch(batch_size, 999, batch_size, ratio, torch.Generator(), np.random.RandomState(0))
    assert (made[0] < batch_size).sum() == real
    ours = sampler(100 * batch_size, 100 * batch_size, batch_size, ratio)
    assert sum(r for r, _ in counts(ours)) == math.floor(100 * batch_size * Fraction(str(ratio)) + Fraction(1, 2))


def test_legacy_is_the_published_order_given_its_generators():
    images, synthetic, batch_size, ratio = 23, 40, 8, 0.7
    made = legacy_epoch(
        images, synthetic, batch_size, ratio, torch.Generator().manual_seed(3), np.random.RandomState(4)
    )
    # As that code goes about it, on the global generators.
    before = np.random.get_state()
    torch.manual_seed(3)
    np.random.seed(4)
    real = torch.randperm(images).tolist()
    other = [images + i for i in torch.randperm(synthetic).tolist()]
    expected, b_real = [], int(batch_size * ratio)
    for k in range(math.ceil(images / batch_size)):
        b_other = batch_size - b_real
        batch = real[k * b_real : (k + 1) * b_real] + other[k * b_other : (k + 1) * b_other]
        np.random.shuffle(batch)
        expected.append(batch)
    np.random.set_state(before)
    assert [b.tolist() for b in made] == expected


def test_legacy_plan():
    made = sampler(50, 20, 8, 0.75, mode="legacy")
    assert len(steps(made)) == made.steps_per_epoch == 7
    assert counts(made) == [(6, 2)] * 7
    assert all(torch.equal(a, b) for a, b in zip(steps(made), steps(sampler(50, 20, 8, 0.75, mode="legacy"))))
    assert not torch.equal(made.indices(0), made.indices(7))
    short = sampler(10, 2, 4, 0.1, mode="legacy")
    with pytest.raises(OutskirtsError, match="the pool of 2 images is used up"):
        steps(short)


# Ours

SHAPES = [(100, 60, 10, 0.8), (100, 7, 10, 0.75), (103, 500, 16, 0.37), (64, 64, 8, 1.0), (97, 31, 12, 0.9)]


@pytest.mark.parametrize("mode", ["replace", "add"])
@pytest.mark.parametrize("epoch", ["steps", "real"])
@pytest.mark.parametrize(("images", "synthetic", "batch_size", "ratio"), SHAPES)
def test_every_epoch(images, synthetic, batch_size, ratio, mode, epoch):
    made = sampler(images, synthetic, batch_size, ratio, mode=mode, epoch=epoch)
    for number in range(3):
        batches, everything = steps(made, number), torch.cat(steps(made, number))
        real, other = everything[everything < images], everything[everything >= images] - images
        assert len(real.unique()) == len(real)
        assert (other >= 0).all() and (other < synthetic).all()
        # Nothing of the pool is seen a second time before all of it has been.
        seen = torch.bincount(other, minlength=synthetic)
        assert seen.max() - seen.min() <= 1
        if mode == "replace":
            assert {len(b) for b in batches} == {batch_size}
            assert all(abs(r - batch_size * ratio) < 1 for r, _ in counts(made, number))
        else:
            assert all(r == batch_size for r, _ in counts(made, number))
        if epoch == "real" or mode == "add":
            assert images - len(real) <= batch_size
        if epoch == "steps":
            assert len(batches) == Sampler(images, batch_size, 3, 0).steps_per_epoch
    one, two = torch.cat(steps(made, 0)), torch.cat(steps(made, 1))
    assert not torch.equal(one, two)
    assert torch.equal(one, torch.cat(steps(sampler(images, synthetic, batch_size, ratio, mode=mode, epoch=epoch))))
    assert not torch.equal(
        one, torch.cat(steps(sampler(images, synthetic, batch_size, ratio, seed=1, mode=mode, epoch=epoch)))
    )


@pytest.mark.parametrize("mode", ["replace", "add"])
@pytest.mark.parametrize("ratio", [0.8, 0.29, 0.731])
def test_the_long_run_ratio_is_exact(mode, ratio):
    made = sampler(1000, 1000, 16, ratio, epochs=40, mode=mode)
    real, other = (sum(each) for each in zip(*(pair for epoch in range(40) for pair in counts(made, epoch))))
    # Off by one image at most, of tens of thousands.
    assert abs(real - (real + other) * ratio) <= 1
    assert all(max(column) - min(column) <= 1 for column in zip(*counts(made)))


@pytest.mark.parametrize(
    ("mode", "ratio", "most"), [("replace", 0.37, 11), ("add", 0.37, 28), ("add", 0.123456789, 114)]
)
def test_a_pool_smaller_than_what_a_batch_takes_is_refused(mode, ratio, most):
    assert max(other for _, other in counts(sampler(200, most, 16, ratio, mode=mode))) == most
    with pytest.raises(
        OutskirtsError, match=f"A batch takes up to {most} synthetic images, but there are only {most - 1}"
    ):
        sampler(200, most - 1, 16, ratio, mode=mode)
    assert steps(sampler(200, most - 1, 16, ratio, mode="legacy"))


def test_only_real_images_are_the_same_images_as_without_a_pool():
    made, alone = sampler(100, 50, 10, 1.0), Sampler(100, 10, 3, 0)
    for step in range(30):
        assert set(made.indices(step).tolist()) == set(alone.indices(step).tolist())


@pytest.mark.parametrize("mode", ["replace", "add"])
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_a_step(mode, world):
    whole = sampler(120, 90, 12, 0.7, mode=mode, world=1)
    parts = [sampler(120, 90, 12, 0.7, mode=mode, world=world, rank=rank) for rank in range(world)]
    for step in range(2 * whole.steps_per_epoch):
        shares = [part.indices(step) for part in parts]
        together = torch.cat(shares)
        assert len({len(share) for share in shares}) == 1
        if mode == "replace":
            assert torch.equal(torch.stack(shares, 1).flatten(), whole.indices(step))
        else:
            # As many added ones on each process, of which none is shown twice.
            assert len(together.unique()) == len(together) and int((together < 120).sum()) == 12


def test_published_steps_leave_out_what_cannot_be_shared_evenly():
    parts = [sampler(10, 6, 4, 0.75, mode="legacy", rank=rank, world=3) for rank in range(3)]
    assert [len(part.indices(step)) for part in parts for step in range(3)] == [1] * 9


def test_weights_of_all_processes_average_to_those_of_one():
    draws = torch.Generator().manual_seed(0)
    real, made = (ImageSet(list(torch.randint(0, 256, (n, 8, 8, 3), generator=draws, dtype=torch.uint8).numpy()),
                           torch.arange(n) % 2, ["a", "b"]) for n in (20, 12))  # fmt: skip

    def first(**share):
        mixing = Mixing(0.6, weight=0.9)
        options = {"batch_size": 8, "epochs": 1, "seed": 0, "device": torch.device("cpu"), "pool": made}
        return next(training_batches(real, Transform(8), Compose(), mixing=mixing, **options, **share).start(0))

    whole, *parts = first(), first(rank=0, world=2), first(rank=1, world=2)
    for rank, part in enumerate(parts):
        assert torch.equal(part.weights, 2 * whole.weights[rank::2])
    assert torch.stack([part.weights.sum() for part in parts]).mean().item() == pytest.approx(1)


def test_the_kinds_are_not_told_apart_by_their_place():
    made = sampler(1000, 1000, 20, 0.5, epochs=1)
    places = torch.stack([b >= 1000 for b in steps(made)]).float().mean(0)
    assert places.min() > 0.2 and places.max() < 0.8


# Weights


@pytest.mark.parametrize(
    ("real", "synthetic", "alpha", "expected"),
    [
        ([0.2, 0.4, 0.9], [1.1], None, 0.65),
        ([0.2, 0.4, 0.9], [1.1], 0.75, 0.65),
        ([0.2, 0.4, 0.9], [1.1], 0.8, 0.62),
        ([1.0, 1.0], [0.0] * 3, None, 0.4),
        ([0.3] * 102, [0.8] * 26, None, 0.4015625),
        ([0.3] * 102, [0.8] * 26, 102 / 128, 0.4015625),
        ([0.3] * 4, [], 0.8, 0.3),
        ([], [0.5] * 3, 1.0, 0.5),
    ],
)
def test_published_weighting(real, synthetic, alpha, expected):
    index = torch.arange(len(real) + len(synthetic))
    made = MixedSampler(len(real), 8, 1, 0, synthetic=9, mixing=Mixing(weight=alpha))
    weights = made.weights(index)
    losses = torch.tensor(real + synthetic, dtype=torch.float64)
    assert mean(losses, weights).item() == pytest.approx(expected, abs=1e-7)
    if weights is not None:
        assert weights.sum().item() == pytest.approx(1)


def test_the_weight_of_the_numbers_is_a_plain_mean():
    for seed in range(20):
        draws = torch.Generator().manual_seed(seed)
        real, other = (int(torch.randint(1, 50, (), generator=draws)) for _ in range(2))
        losses = torch.rand(real + other, generator=draws, dtype=torch.float64)
        made = MixedSampler(real, 8, 1, 0, synthetic=other, mixing=Mixing(weight=real / (real + other)))
        assert abs(mean(losses, made.weights(torch.arange(real + other)).double()) - losses.mean()) < 1e-6


@pytest.mark.parametrize(
    "options", [{"ratio": 0.0}, {"ratio": 1.1}, {"ratio": -0.5}, {"weight": 1.5}, {"weight": -0.1}]
)
def test_shares_out_of_range(options):
    with pytest.raises(OutskirtsError, match=r"share|weight"):
        Mixing(**options)


# With images

TRANSFORM = Transform(8, channels=3)


@pytest.fixture
def pool(tmp_path):
    """41 images on disk, each of one colour."""
    images = np.repeat(100 + np.arange(41, dtype=np.uint8), 8 * 8 * 3).reshape(41, 8, 8, 3)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", np.arange(41) % 3)
    return open_images(f"npy:{tmp_path / 'images.npy'}?labels={tmp_path / 'labels.npy'}")


@pytest.mark.parametrize("budget", [2**31, 0])
def test_batches_show_both_kinds(pool, budget):
    real = ImageSet([np.full((9, 8, 3), i, np.uint8) for i in range(23)], torch.arange(23) % 3, ["0", "1", "2"])
    made = training_batches(
        real,
        TRANSFORM,
        Compose(),
        batch_size=6,
        epochs=2,
        seed=0,
        device=torch.device("cpu"),
        pool=pool,
        mixing=Mixing(0.5, weight=0.8),
        memory_budget=budget,
        workers=0,
    )
    for step, batch in enumerate(made.start(0)):
        index = made.sampler.indices(step)
        shown = ((batch.images[:, 0, 0, 0] / 2 + 0.5) * 255).round().long()
        assert torch.equal(shown, torch.where(index < 23, index, index - 23 + 100))
        assert torch.equal(batch.labels, torch.where(index < 23, index, index - 23) % 3)
        real_weight = batch.weights[index < 23].sum()
        torch.testing.assert_close(real_weight, torch.tensor(0.8))
        assert torch.equal(batch.view_weights, batch.weights)
    assert step == made.steps - 1 == 5
    assert sum(len(images) for images, _ in made.plain()) == 23


def test_a_pool_on_disk_takes_no_memory(pool):
    real = ImageSet([np.full((8, 8, 3), i, np.uint8) for i in range(8)], torch.arange(8) % 3, ["0", "1", "2"])
    options = {"batch_size": 4, "epochs": 1, "seed": 0, "device": torch.device("cpu"), "workers": 0}
    # There is room for the real images alone.
    made = training_batches(real, TRANSFORM, Compose(), pool=pool, memory_budget=8 * 192, **options)
    assert type(made.source).__name__ == "_AtHand"
    assert len(next(made.start(0)).images) == 4
