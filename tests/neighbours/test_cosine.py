import numpy as np
import pytest
import torch

from outskirts.neighbours.cosine import Scratch, kth_cosine_about, kth_largest, kth_own_cosine


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(
        torch.randn(shape, generator=seeded(seed), dtype=torch.float64), dim=len(shape) - 1
    )


def naive(vectors, bank, valid, k):
    """Sorted squared distances of unit vectors, one by one."""
    out = np.empty(vectors.shape[:2])
    for c, rows in enumerate(vectors.numpy()):
        known = bank[c][valid[c]].numpy()
        for i, vector in enumerate(rows):
            out[c, i] = np.sort(((vector / np.linalg.norm(vector) - known) ** 2).sum(1))[k - 1]
    return torch.from_numpy(out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7,), (1, 5), (2, 3, 11), (0, 4)])
def test_kth_largest_is_that_of_the_sorted_row(shape, dtype):
    values = torch.randn(shape, generator=seeded(), dtype=dtype)
    for k in range(1, shape[-1] + 1):
        expected = values.sort(-1, descending=True).values[..., k - 1]
        assert torch.equal(kth_largest(values.clone(), k), expected)


def test_kth_largest_with_ties_and_infinities():
    values = torch.tensor([[2.0, 1.0, 2.0, -torch.inf], [-torch.inf, -torch.inf, 3.0, 3.0]])
    assert [kth_largest(values.clone(), k).tolist() for k in (1, 2, 3)] == [[2, 3], [2, 3], [1, -torch.inf]]


@pytest.mark.parametrize("k", [1, 4, 7])
@pytest.mark.parametrize("budget", [1, 500, 2**26])
@pytest.mark.parametrize("signs", [[1.0], [1.0, -1.0], [1.0, 1.0, -1.0]])
def test_cosine_about_points_equals_a_search_by_distance(k, budget, signs):
    bank, valid = unit(3, 9, 4), torch.arange(9) < torch.tensor([[9], [7], [8]])
    draw = torch.Generator().manual_seed(1)
    points = 5 * torch.randn(3, len(signs), 4, generator=draw, dtype=torch.float64)
    offsets = torch.randn(3, 6, 4, generator=draw, dtype=torch.float64)
    poisoned = bank.masked_fill(~valid[..., None], torch.nan)
    sign = torch.tensor(signs, dtype=torch.float64)
    found = kth_cosine_about(points, offsets, sign, poisoned, valid, k, Scratch(budget))
    vectors = points[:, :, None] + sign[:, None, None] * offsets[:, None]
    expected = naive(vectors.flatten(1, 2), bank, valid, k).view(found.shape)
    torch.testing.assert_close(2 - 2 * found, expected)


def test_cosine_of_a_vector_of_zeros_is_zero():
    points, offsets = unit(1, 1, 4), unit(1, 1, 4)
    found = kth_cosine_about(points, offsets, torch.tensor([-1.0]), unit(1, 5, 4, seed=1), None, 1)
    assert found.abs() < 1e-9


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("budget", [1, 2**26])
def test_own_cosine_is_that_of_the_rows(size, budget):
    bank = unit(2, size, 3)
    for k in {1, size // 2 + 1, size}:
        found = kth_own_cosine(bank, None, k, Scratch(budget))
        torch.testing.assert_close(2 - 2 * found, naive(bank, bank, torch.ones(2, size, dtype=torch.bool), k))


def test_own_cosine_of_the_valid_rows():
    bank, valid = unit(2, 9, 3), torch.arange(9) < torch.tensor([[6], [8]])
    found = kth_own_cosine(bank.masked_fill(~valid[..., None], torch.nan), valid, 3)
    torch.testing.assert_close((2 - 2 * found)[valid], naive(bank, bank, valid, 3)[valid])
    # A row is its own first neighbour.
    assert kth_own_cosine(bank, None, 1).sub(1).abs().max() < 1e-12
