"""The risk-coverage curve, against every order of images that the scores allow."""

from itertools import groupby, permutations, product

import numpy as np
import pytest

from outskirts import OutskirtsError
from outskirts.evaluation.selective import aurc, risk_coverage


def naive(wrong, scores):
    """The mean curve over all orders in which equal scores are shuffled."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    ties = [list(group) for _, group in groupby(order, key=lambda i: scores[i])]
    curves = []
    for parts in product(*(permutations(tie) for tie in ties)):
        chosen = [i for part in parts for i in part]
        curves.append([sum(wrong[i] for i in chosen[:kept]) / kept for kept in range(1, len(chosen) + 1)])
    return np.mean(curves, axis=0)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_mean_over_all_orders(seed):
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 7))
    wrong, scores = random.random(n) < 0.5, random.integers(0, 3, n).astype(float)
    curve = risk_coverage(wrong, scores)
    assert curve.risk == pytest.approx(naive(wrong, scores))
    assert curve.coverage.tolist() == [(i + 1) / n for i in range(n)]
    assert aurc(wrong, scores) == pytest.approx(naive(wrong, scores).mean())


def test_scores_that_say_nothing_give_the_error_rate():
    wrong = np.arange(100) % 4 == 0
    assert aurc(wrong, np.zeros(100)) == pytest.approx(0.25)
    assert risk_coverage(wrong, np.full(100, np.inf)).risk == pytest.approx(0.25)
    assert aurc(wrong, wrong) < 0.05 < 0.25 < aurc(wrong, ~wrong)


def test_wrong_arguments_are_told():
    with pytest.raises(OutskirtsError, match="scores of 2 images, but 3"):
        risk_coverage([True, False, True], [0.0, 1.0])
    with pytest.raises(OutskirtsError, match="NaN"):
        aurc([True], [float("nan")])
