import pytest
import torch

from outskirts import grouped


@pytest.fixture
def labels():
    return torch.randint(5, (40,), generator=torch.Generator().manual_seed(0))


def test_counts_are_those_of_bincount(labels):
    assert torch.equal(grouped.counts(labels, 7), torch.bincount(labels, minlength=7))
    assert grouped.counts(labels[:0], 3).tolist() == [0, 0, 0]


def test_sums_are_those_of_a_loop(labels):
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.stack([sum((v for v, y in zip(values, labels) if y == c), torch.zeros(3)) for c in range(7)])
    assert torch.allclose(grouped.sums(values, labels, 7), expected)


def test_sums_are_not_rounded_under_autocast(labels):
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(grouped.sums(values, labels, 5), grouped.sums(values, labels, 5).float())
        assert grouped.sums(values, labels, 5).dtype == torch.float32


def test_places_are_those_of_a_loop(labels):
    found = grouped.places(labels, 5)
    expected = [(c, rank, row) for c in range(5) for rank, row in enumerate((labels == c).nonzero().flatten().tolist())]
    assert list(zip(found.labels.tolist(), found.rank.tolist(), found.order.tolist())) == expected
    assert torch.equal(found.counts, torch.bincount(labels, minlength=5))


def test_places_keep_another_order_within_each_group(labels):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    found = grouped.places(labels, 5, order)
    expected = [
        (c, rank, row) for c in range(5) for rank, row in enumerate(r for r in order.tolist() if labels[r] == c)
    ]
    assert list(zip(found.labels.tolist(), found.rank.tolist(), found.order.tolist())) == expected


def test_ranks_count_earlier_rows(labels):
    same = labels[:, None] == labels
    assert torch.equal(grouped.ranks(labels, 5), same.tril(-1).sum(1))
    assert grouped.ranks(labels[:0], 5).tolist() == []


@pytest.mark.parametrize("most", [0, 1, 3, 100])
def test_the_latest_rows_of_each_group_stay(labels, most):
    rows = [(labels == c).nonzero().flatten().tolist() for c in range(7)]
    expected = [row for of in rows for row in of[max(0, len(of) - most) :]]
    assert grouped.latest(labels, 7, most).tolist() == expected


def test_a_table_has_a_line_for_each_group():
    rows, valid = grouped.table(torch.tensor([2, 0, 2, 2, 0]), 4)
    assert rows[valid].tolist() == [1, 4, 0, 2, 3] and valid.sum(1).tolist() == [2, 0, 3, 0]
    assert not rows[~valid].any(), "places without a row can be looked up"
    rows, valid = grouped.table(torch.tensor([2, 0, 2, 2, 0]), 4, most=1)
    assert rows.tolist() == [[4], [0], [3], [0]] and valid.sum(1).tolist() == [1, 0, 1, 0]


def test_labels_of_any_integer_type(labels):
    for dtype in (torch.uint8, torch.int32):
        for one, two in zip(grouped.places(labels.to(dtype), 5), grouped.places(labels, 5)):
            assert torch.equal(one, two) and one.dtype == torch.int64
