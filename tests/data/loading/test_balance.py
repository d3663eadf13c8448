"""Weights of classes and balanced draws, beside plain loops in double precision."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from outskirts.data.imageset import ImageSet
from outskirts.data.loading.augment import Compose
from outskirts.data.loading.balance import BalancedDraws, class_weights
from outskirts.data.loading.batches import training_batches
from outskirts.data.loading.mixed_sampler import MixedSampler, Mixing
from outskirts.data.loading.sampler import BalancedSampler, Sampler
from outskirts.data.transform import Transform
from outskirts.methods.averages import classification

#: 20 images of the first class, 6 of the second, none of the third, 3 of the fourth.
LABELS = torch.tensor([0] * 20 + [1] * 6 + [3] * 3)[torch.randperm(29, generator=torch.Generator().manual_seed(0))]
TRANSFORM = Transform(4)


def balanced(batch_size=8, epochs=4, rank=0, world=1, labels=LABELS):
    return BalancedSampler(len(labels), batch_size, epochs, 0, rank, world, draws=BalancedDraws(labels, 0))


def images_of(labels):
    """Images that their brightness tells apart."""
    pictures = [np.full((4, 4, 3), 5 * i, np.uint8) for i in range(len(labels))]
    return ImageSet(pictures, labels, ["a", "b", "c", "d"])


def batches(labels, **options):
    usual = {"batch_size": 8, "epochs": 3, "seed": 0, "device": torch.device("cpu"), "workers": 0}
    return training_batches(images_of(labels), TRANSFORM, Compose(), **usual | options)


def test_weights_are_the_usual_heuristic():
    counts = torch.tensor([20, 6, 0, 3])
    expected = [29 / (3 * n) if n else 0.0 for n in counts.tolist()]
    assert class_weights(counts.double()).tolist() == pytest.approx(expected, rel=1e-12)
    # Shares do as well as numbers, and all classes then have the same total.
    torch.testing.assert_close(class_weights(counts / 29), class_weights(counts.float()))
    assert (class_weights(counts.double()) * counts).tolist() == pytest.approx([29 / 3, 29 / 3, 0, 29 / 3])


def test_every_class_has_one_place_in_each_turn():
    drawn = LABELS[BalancedDraws(LABELS, 0)(torch.arange(300))]
    for turn in drawn.split(3):
        assert sorted(turn.tolist()) == [0, 1, 3]
    orders = Counter(map(tuple, drawn.view(-1, 3).tolist()))
    assert len(orders) == 6 and max(orders.values()) < 40


@pytest.mark.parametrize(("label", "count"), [(0, 20), (1, 6), (3, 3)])
def test_images_of_a_class_are_all_drawn_before_one_is_drawn_again(label, count):
    drawn = BalancedDraws(LABELS, 0)(torch.arange(3 * 60))
    own = drawn[LABELS[drawn] == label].tolist()
    members = (label == LABELS).nonzero().flatten().tolist()
    rounds = [own[i : i + count] for i in range(0, 60, count)]
    assert all(sorted(one) == members for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_any_places_can_be_asked_for_in_any_order():
    whole = BalancedDraws(LABELS, 0)(torch.arange(200))
    for places in (torch.arange(90, 103), torch.tensor([7, 199, 0, 7]), torch.arange(0)):
        fresh, used = BalancedDraws(LABELS, 0), BalancedDraws(LABELS, 0)
        used(torch.arange(150, 200))
        assert torch.equal(fresh(places), whole[places]) and torch.equal(used(places), whole[places])
    assert not torch.equal(BalancedDraws(LABELS, 1)(torch.arange(200)), whole)
    assert not torch.equal(BalancedDraws(LABELS, 0, "other")(torch.arange(200)), whole)


def test_an_epoch_is_as_long_as_without():
    assert balanced().steps_per_epoch == Sampler(29, 8, 4, 0).steps_per_epoch == 3
    assert all(len(balanced().whole(step)) == 8 for step in range(12))


def test_processes_share_a_step():
    for step in range(12):
        parts = [balanced(rank=rank, world=2).indices(step) for rank in range(2)]
        assert torch.equal(torch.stack(parts, 1).flatten(), balanced().whole(step))


@pytest.mark.parametrize("mode", ["replace", "add"])
@pytest.mark.parametrize("world", [1, 2])
def test_real_and_synthetic_images_are_balanced_each(mode, world):
    pool = torch.tensor([0] * 30 + [1] * 2 + [3] * 4)
    draws = BalancedDraws(LABELS, 0, "real"), BalancedDraws(pool, 0, "synthetic")
    made = MixedSampler(29, 8, 20, 0, 0, world, len(pool), Mixing(0.75, mode), draws)
    plain = MixedSampler(29, 8, 20, 0, 0, world, len(pool), Mixing(0.75, mode))
    assert made.steps_per_epoch == plain.steps_per_epoch
    shown = [made.whole(step) for step in range(made.steps_per_epoch * 20)]
    for step, rows in enumerate(shown):
        assert int((rows < 29).sum()) == int((plain.whole(step) < 29).sum())
    every = torch.cat(shown)
    for rows, labels in ((every[every < 29], LABELS), (every[every >= 29] - 29, pool)):
        counts = torch.bincount(labels[rows], minlength=4)[[0, 1, 3]]
        assert counts.max() - counts.min() <= 1


def test_without_an_option_nothing_changes():
    one, other = batches(LABELS), batches(LABELS, balanced=None)
    assert type(one.sampler) is Sampler
    for a, b in zip(one.start(0), other.start(0), strict=True):
        assert a.weights is None and torch.equal(a.images, b.images)


def naive(labels, frequency):
    """What each image of a batch counts, in exact numbers."""
    shares = [Fraction(1) / frequency[label] for label in labels.tolist()]
    return [float(share / sum(shares)) for share in shares]


def test_weights_of_a_batch_are_those_of_its_classes():
    frequency = {0: Fraction(20, 29), 1: Fraction(6, 29), 3: Fraction(3, 29)}
    for batch in batches(LABELS, balanced="weights").start(0):
        expected = naive(batch.labels, frequency)
        assert batch.weights.tolist() == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_the_usual_weighted_mean():
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(LABELS, minlength=4).double()
    weights = torch.where(counts > 0, 29 / (3 * counts), 0)
    for batch in batches(LABELS, balanced="weights").start(0):
        logits = torch.randn(8, 4, generator=generator, dtype=torch.float64)
        found = classification(logits, batch.labels, batch.weights)
        assert found.item() == pytest.approx(cross_entropy(logits, batch.labels, weight=weights).item(), rel=1e-6)


def test_synthetic_images_count_towards_their_classes():
    pool = torch.tensor([0] * 10 + [1] * 10 + [2] * 10 + [3] * 10)
    for mixing, real in ((Mixing(0.75), Fraction(3, 4)), (Mixing(0.75, weight=0.5), Fraction(1, 2))):
        counts = [Fraction(n, 29) for n in (20, 6, 0, 3)]
        frequency = [real * n + (1 - real) / 4 for n in counts]
        made = batches(LABELS, pool=images_of(pool), mixing=mixing, balanced="weights")
        for step, batch in zip(range(6), made.start(0)):
            index = made.sampler.whole(step)
            of_kind = made.sampler.weights(index)
            of_kind = [1.0] * len(index) if of_kind is None else of_kind.tolist()
            raw = [kind / float(frequency[label]) for kind, label in zip(of_kind, batch.labels.tolist())]
            assert batch.weights.tolist() == pytest.approx([one / sum(raw) for one in raw], rel=1e-5)


def test_processes_share_the_weights_of_a_step():
    one = list(batches(LABELS, balanced="weights").start(2))
    two = [list(batches(LABELS, balanced="weights", rank=rank, world=2).start(2)) for rank in range(2)]
    for whole, *parts in zip(one, *two, strict=True):
        # The average over processes of sums over a process's images is the sum over all.
        together = torch.stack([part.weights for part in parts], 1).flatten() / 2
        torch.testing.assert_close(together, whole.weights)


@pytest.mark.parametrize("kind", ["sampler", "weights"])
def test_batches_can_be_entered_anywhere(kind):
    whole = list(batches(LABELS, balanced=kind).start(0))
    for step in (1, 4, 8):
        for a, b in zip(batches(LABELS, balanced=kind).start(step), whole[step:], strict=True):
            assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
            assert kind == "sampler" or torch.equal(a.weights, b.weights)


def test_balanced_batches_show_the_images_they_name():
    for step, batch in enumerate(batches(LABELS, balanced="sampler").start(0)):
        assert torch.equal(batch.labels, LABELS[balanced(epochs=3).whole(step)])
