import pytest
import torch
from torch import Tensor

from outskirts.neighbours import exact as nearest
from outskirts.neighbours.exact import Rounded, distances, exhaustive, kth_distance, smallest, squared_lengths


def draw(rows: int, dim: int, seed: int) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [128, 500, 1000])
def test_the_smallest_are_those_of_a_sort(length):
    values = torch.randn(7, length, generator=torch.Generator().manual_seed(0))
    values[3] = values[3].round()  # With ties.
    for k in (1, 5, 40):
        assert smallest(values, k).equal(values.sort(dim=1).values[:, :k])


def test_blocks_do_not_matter():
    train, test = draw(40, 6, 0), draw(15, 6, 1)
    torch.testing.assert_close(kth_distance(test, train, 3, budget=1), kth_distance(test, train, 3))


def expected(queries: Tensor, bank: Tensor, k: int) -> Tensor:
    squared = torch.cdist(queries.double(), bank.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    return squared.sort(dim=1).values[:, :k].float()


@pytest.mark.parametrize("case", ["gaussian", "far from the origin", "of classes", "almost alike", "alike", "lengths"])
def test_rounding_changes_nothing(case):
    bank, queries = draw(3000, 40, 0), draw(50, 40, 1)
    if case == "far from the origin":
        bank, queries = bank + 30, queries + 30
    elif case == "of classes":
        means = draw(5, 40, 2) * 3
        bank, queries = bank * 0.1 + means[torch.arange(3000) % 5], queries * 0.1 + means[torch.arange(50) % 5]
    elif case == "almost alike":
        bank, queries = draw(1, 40, 2) + bank * 1e-4, draw(1, 40, 2) + queries * 1e-4
    elif case == "alike":
        bank = bank[:1].expand(3000, -1).contiguous()
    elif case == "lengths":
        bank = bank * torch.logspace(-3, 3, 3000)[:, None]
    found = Rounded(bank).nearest(queries, 7)
    # Float32 sums are as exact as the lengths in them.
    atol = 1e-6 * queries.square().sum(1).mean().item()
    torch.testing.assert_close(found, expected(queries, bank, 7), rtol=1e-5, atol=atol)


def test_what_is_no_candidate_is_no_nearer():
    bank, queries = draw(2000, 30, 0) * torch.logspace(-1, 1, 30), draw(100, 30, 1)
    least, candidates = Rounded(bank)._candidates(queries, 20)
    others = expected(queries, bank, 2000)
    squared = torch.cdist(queries.double(), bank.double()).square().scatter(1, candidates, torch.inf)
    assert (squared.amin(1) >= least).all() and others.shape == (100, 2000)
    # The bound is of use: it excludes all that is not among the 20 for some of those that are nearest.
    assert (others[:, 4] < least).any()


def test_queries_that_rounding_cannot_decide_are_compared_with_all(monkeypatch):
    asked = []
    whole = nearest.exhaustive
    bank = draw(3000, 40, 0)
    bank[1500:] = bank[0] + draw(1500, 40, 1) * 1e-4
    queries = torch.cat([draw(30, 40, 2), bank[:1]])

    def counted(of: Tensor, among: Tensor, k: int) -> Tensor:
        asked.append(len(of) if among is bank else 0)
        return whole(of, among, k)

    monkeypatch.setattr(nearest, "exhaustive", counted)
    found = Rounded(bank).nearest(queries, 7)
    assert sum(asked) in range(1, 8)
    torch.testing.assert_close(found, expected(queries, bank, 7), rtol=1e-4, atol=5e-5)


def test_both_ways_find_the_same(monkeypatch):
    bank, queries = draw(4000, 24, 0), draw(300, 24, 1)
    both = []
    for pays in (False, True):
        monkeypatch.setattr(nearest, "_pays", lambda *of, pays=pays: pays)
        both.append(distances(queries, bank, 9, budget=2**17))
    torch.testing.assert_close(*both, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both[0], exhaustive(queries, bank, 9), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_known_lengths_change_no_bit(dtype):
    bank, queries = draw(900, 24, 0).to(dtype), draw(5, 24, 1).to(dtype)
    # Seven parts of the bank, each with its own lengths.
    budget = 2 * 24 * 4 * 140
    known = distances(queries, bank, 3, budget, squared_lengths(bank))
    assert torch.equal(known, distances(queries, bank, 3, budget))
    wide = distances(queries.double(), bank, 3, budget, squared_lengths(bank))
    assert wide.dtype == torch.float64, "lengths in single precision are not enough there"
    assert torch.equal(wide, distances(queries.double(), bank, 3, budget))
