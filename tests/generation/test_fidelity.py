import math

import numpy as np
import pytest
import scipy.linalg
import torch

from outskirts.errors import OutskirtsError
from outskirts.generation.fidelity import frechet, kernel_distance


def drawn(count, dim, mean=0.0, scale=1.0, seed=0):
    draws = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / dim**0.5
    return scale * torch.randn(count, dim, generator=draws, dtype=torch.float64) @ mixing + mean


@pytest.mark.parametrize(("n", "m", "dim"), [(50, 40, 6), (5, 40, 6), (4, 3, 10), (2, 2, 1)])
def test_frechet_is_the_formula(n, m, dim):
    one, two = drawn(n, dim).numpy(), drawn(m, dim, 0.5, 2.0, seed=1).numpy()
    first, second = (np.atleast_2d(np.cov(rows.T)) for rows in (one, two))
    root = scipy.linalg.sqrtm(first @ second).real
    expected = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet(torch.from_numpy(one), torch.from_numpy(two)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_frechet_of_known_gaussians():
    # Along one axis it is (difference of means)² + (difference of deviations)².
    one = torch.tensor([-1.0, 1.0])[:, None] / math.sqrt(2)
    two = 3 * one + 5
    assert frechet(one, two) == pytest.approx(25 + 4)
    assert frechet(one, one) == 0


def naive_kernel(one, two):
    k = lambda x, y: (float(x @ y) / len(x) + 1) ** 3  # noqa: E731
    n, m = len(one), len(two)
    within = [
        sum(k(rows[i], rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j) for rows in (one, two)
    ]
    across = sum(k(x, y) for x in one for y in two)
    return within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - 2 * across / (n * m)


def test_kernel_distance_is_the_formula():
    one, two = drawn(7, 4), drawn(5, 4, 0.3, seed=1)
    assert kernel_distance(one, two) == pytest.approx(naive_kernel(one, two))


def test_kernel_distance_is_unbiased():
    found = [kernel_distance(drawn(20, 4, seed=2 * s), drawn(20, 4, seed=2 * s + 1)) for s in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 200**0.5
    assert np.mean([kernel_distance(drawn(20, 4, seed=s), drawn(20, 4, 1.0, seed=s + 1)) for s in range(20)]) > 1


@pytest.mark.parametrize("distance", [frechet, kernel_distance])
def test_one_image_has_no_spread(distance):
    with pytest.raises(OutskirtsError, match="at least 2 images"):
        distance(torch.zeros(1, 3), torch.zeros(5, 3))
