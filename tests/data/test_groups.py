"""Groups of images, such as those of a patient: no part of a set shares one with another."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from outskirts import ImageSet, OutskirtsError
from outskirts.data.attribute import Attribute
from outskirts.data.selection import joined, quantiles

LABELS = torch.tensor([0] * 100 + [1] * 37 + [2] * 1 + [-1] * 9)

#: The numbers of images of some groups, for each of some classes.
SIZES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=4)
SEEDS = st.integers(0, 99)
#: Where parts end, in per cent.
CUTS = st.sets(st.integers(1, 99), max_size=4).map(lambda cuts: [0, *sorted(cuts), 100])


def images(labels, group=None, items=None):
    values = () if group is None else tuple(map(str, range(int(group.max()) + 1)))
    known = None if group is None else Attribute("patient", values, group)
    return ImageSet(np.zeros((len(labels), 4, 4), np.uint8) if items is None else items, labels, group=known)


def groups_of(image_set):
    return set(image_set.group.index.tolist())


# Parts of the same seed as before


@pytest.mark.parametrize(
    ("seed", "digest"), [(0, "be89e42c40ffb237"), (1, "e09fc69483c90a4c"), (2, "76ac99393432b738")]
)
def test_without_groups_positions_are_those_of_earlier_versions(seed, digest):
    position = quantiles(LABELS, seed)
    assert xxhash.xxh3_64_hexdigest(position.numpy().tobytes()) == digest
    # Groups of one image each are no groups.
    assert torch.equal(quantiles(LABELS, seed, torch.randperm(len(LABELS))), position)


def test_without_groups_parts_are_those_of_earlier_versions():
    found = [images(torch.arange(20) % 3).part(bounds).index.tolist() for bounds in ("0-60%", "60-70%", "70-100%")]
    assert found == [[0, 1, 2, 6, 7, 8, 12, 13, 14, 16, 17, 18], [5, 19], [3, 4, 9, 10, 11, 15]]


# Parts of groups


@given(SIZES, SEEDS, CUTS)
def test_parts_share_no_group_and_are_together_all(sizes, seed, cuts):
    labels = torch.cat([torch.full((sum(some),), label) for label, some in enumerate(sizes)])
    flat = torch.tensor([size for some in sizes for size in some])
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    whole = images(labels[shuffled], torch.arange(len(flat)).repeat_interleave(flat)[shuffled])
    parts = [whole.part(f"{low}-{high}%", seed) for low, high in pairwise(cuts)]
    assert sorted(row for part in parts for row in part.index.tolist()) == list(range(len(labels)))
    assert sum(len(groups_of(part)) for part in parts) == len(flat)
    for (low, high), part in zip(pairwise(cuts), parts):
        for label, some in enumerate(sizes):
            asked = (high - low) / 100 * sum(some)
            assert abs(int((part.labels == label).sum()) - asked) < max(some) + 1e-9
    assert torch.equal(whole.part(f"0-{cuts[1]}%", seed).index, parts[0].index)


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 9)), min_size=1, max_size=60), SEEDS, st.integers(1, 99))
def test_groups_of_several_classes_stay_whole(rows, seed, cut):
    labels, group = torch.tensor(rows).T
    whole = images(labels, group)
    low, high = whole.part(f"0-{cut}%", seed), whole.part(f"{cut}-100%", seed)
    assert groups_of(low).isdisjoint(groups_of(high)) and len(low) + len(high) == len(rows)
    largest = int(torch.bincount(group).max())
    assert abs(len(low) - cut / 100 * len(rows)) < largest * len(labels.unique())


def test_a_rare_class_is_in_every_part_where_each_of_its_groups_also_has_others():
    # Of 40 patients with ten images each, eight have one image of the rare class.
    group = torch.arange(40).repeat_interleave(10)
    labels = ((torch.arange(400) % 10 == 0) & (group < 8)).long()
    for seed in range(10):
        assert int(images(labels, group).part("0-50%", seed).labels.sum()) == 4


def test_groups_are_chosen_at_random():
    group = torch.arange(30).repeat_interleave(3)
    chosen = {tuple(sorted(groups_of(images(torch.zeros(90), group).part("0-50%", seed)))) for seed in range(5)}
    assert len(chosen) == 5


def test_groups_follow_the_images():
    group = torch.arange(12) // 2
    whole = images(torch.arange(12) % 3, group)
    for view in (whole.subset([5, 3]), whole.select_classes("1"), whole.limit(4), whole.align(["2", "0", "1"])):
        assert torch.equal(view.group.index, group[view.index]) and view.group.name == "patient"
    with pytest.raises(OutskirtsError, match="12 images but 2 values of 'patient'"):
        ImageSet(whole.items, group=Attribute("patient", ("a",), torch.zeros(2)))


# Copies


def test_groups_with_copies_of_one_image_are_one():
    group = torch.tensor([5, 5, 6, 7, 8, 9, 8])
    found = joined(["a", "b", "b", "c", "", "", "a"], group)
    assert found.unique(return_inverse=True)[1].bincount().sort().values.tolist() == [1, 1, 5]
    assert len(found[[0, 1, 2, 4, 6]].unique()) == 1
    assert joined(["a", "b", "", ""]) is None and joined(["a", "b"], group[:2]).tolist() == [5, 5]


@given(st.lists(st.integers(0, 20), min_size=4, max_size=40), SEEDS, st.integers(1, 99))
def test_copies_are_in_one_part(numbers, seed, cut):
    pixels = np.broadcast_to(np.array(numbers, np.uint8)[:, None, None], (len(numbers), 4, 4))
    whole = images(torch.arange(len(numbers)) % 2, items=pixels)
    low, high = (whole.part(bounds, seed, whole_copies=True) for bounds in (f"0-{cut}%", f"{cut}-100%"))
    assert low.distinct.isdisjoint(high.distinct) and len(low) + len(high) == len(numbers)
    if len(set(numbers)) == len(numbers):
        assert torch.equal(low.index, whole.part(f"0-{cut}%", seed).index)
