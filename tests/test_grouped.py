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
