"""The exact interval holds every share in the samples that it promises."""

import numpy as np
import pytest
from scipy.stats import binom

from outskirts import OutskirtsError
from outskirts.evaluation.exact import exact_interval


@pytest.mark.parametrize("n", [1, 7, 40])
def test_it_holds_the_share_often_enough(n):
    bounds = [exact_interval(hits, n) for hits in range(n + 1)]
    for share in np.linspace(0.01, 0.99, 25):
        held = [lo <= share <= hi for lo, hi in bounds]
        assert binom.pmf(np.arange(n + 1), n, share)[held].sum() >= 0.95


def test_its_bounds_are_where_a_tail_is_small():
    lo, hi = exact_interval(12, 40)
    assert binom.sf(11, 40, lo) == pytest.approx(0.025) and binom.cdf(12, 40, hi) == pytest.approx(0.025)
    assert exact_interval(0, 40).lo == 0.0 and exact_interval(40, 40).hi == 1.0


@pytest.mark.parametrize("arguments", [(2, 1), (-1, 4), (0, 0), (1, 2, 1.0)])
def test_wrong_arguments_are_told(arguments):
    with pytest.raises(OutskirtsError):
        exact_interval(*arguments)
