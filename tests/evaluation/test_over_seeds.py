from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from outskirts import OutskirtsError, metrics
from outskirts.evaluation.over_seeds import auroc_over_seeds, delong_over_seeds, two_sided_p


def trained(seeds: int, shift: float = 1.0, seed: int = 0) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Scores of the same 60 ID images and two sets of 40 and 30, by a network of each seed."""
    rng = np.random.default_rng(seed)
    images = [rng.normal(size=60), rng.normal(size=40) + shift, rng.normal(size=30) + shift]
    runs = []
    for _ in range(seeds):
        inside, *outside = [rows + 0.5 * rng.normal(size=len(rows)) for rows in images]
        runs.append((inside, [rows + 0.3 * rng.normal() for rows in outside]))
    return runs


def naive_components(inside: np.ndarray, sets: list[np.ndarray]) -> list[np.ndarray]:
    wins = [(outside > inside[:, None]) + 0.5 * (outside == inside[:, None]) for outside in sets]
    return [np.mean([of.mean(1) for of in wins], axis=0), *(of.mean(0) / len(sets) for of in wins)]


def naive_p(value: float, images: float, seeds: float, freedom: int) -> float:
    """The normal tail beyond each value of Student's variable, weighted by its density."""
    t = stats.t(freedom)

    def beyond(x: float) -> float:
        tails = stats.norm.sf(value - x * seeds**0.5, scale=images**0.5)
        return t.pdf(x) * 2 * tails

    edges = [-np.inf, *np.linspace(-50, 50, 41), np.inf]
    return sum(quad(beyond, lo, hi, epsabs=1e-12)[0] for lo, hi in pairwise(edges))


@pytest.mark.parametrize("freedom", [1, 2, 4])
@pytest.mark.parametrize(("value", "images", "seeds"), [(2.0, 1.0, 1.0), (5.0, 1.0, 3.0), (1.0, 2.0, 0.1)])
def test_the_law_is_a_normal_plus_a_t_variable(value, images, seeds, freedom):
    assert two_sided_p(value, images, seeds, freedom) == pytest.approx(naive_p(value, images, seeds, freedom), abs=1e-8)


@pytest.mark.parametrize("freedom", [1, 2, 4])
def test_the_law_ends_at_the_t_and_the_normal_test(freedom):
    values = np.array([0.0, 0.1, 2.0, 50.0])
    assert two_sided_p(values, 0.0, 1.0, freedom) == pytest.approx(2 * stats.t.sf(values, freedom), rel=1e-9)
    assert two_sided_p(values[:3], 1.0, 1e-18, freedom) == pytest.approx(2 * stats.norm.sf(values[:3]), abs=1e-8)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_difference_equals_its_definition(seeds):
    a, b = trained(seeds, 1.3), trained(seeds, 1.0, seed=1)
    gaps = [[x - y for x, y in zip(naive_components(*one), naive_components(*other))] for one, other in zip(a, b)]
    # Both sets weigh the same, and a set's components sum to its share of the difference.
    values = [sum(part.mean() for part in gap[1:]) for gap in gaps]
    shared = np.mean([sum(np.cov(x, y)[0, 1] / len(x) for x, y in zip(*pair)) for pair in combinations(gaps, 2)])
    test = delong_over_seeds(a, b)
    expected = two_sided_p(np.mean(values), max(0, shared), np.var(values, ddof=1) / seeds, seeds - 1)
    assert test.difference == pytest.approx(np.mean(values)) and test.p_value == pytest.approx(expected)
    half = (test.hi - test.lo) / 2
    assert two_sided_p(half, max(0, shared), np.var(values, ddof=1) / seeds, seeds - 1) == pytest.approx(0.05)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("deviation", [0, 0.1, 0.25, 0.5, 1, 2, 5])
def test_equal_methods_are_called_different_no_more_often_than_the_level_says(seeds, deviation):
    """The images give the difference an error of half a point; the chance of a miss of either bound is below 1e-4."""
    rng = np.random.default_rng(0)
    trials, images, of_mean = 4000, 0.5**2, deviation**2 / seeds
    values = rng.normal(size=trials) * (images + of_mean) ** 0.5
    estimates = of_mean * rng.chisquare(seeds - 1, trials) / (seeds - 1)
    p = two_sided_p(values, images, estimates, seeds - 1)
    assert np.mean(p < 0.05) < 0.065 and np.mean(p < 0.001) < 0.004
    if deviation in (0, 5):
        assert np.mean(p < 0.05) > 0.03


@pytest.mark.parametrize("deviation", [0, 2, 5])
def test_two_equal_methods_from_scores(deviation):
    """With 300 trials and a level of 0.05, more than 30 findings have a chance below 1e-4."""
    rng = np.random.default_rng(0)
    # A shift of 1 moves the AUROC, here 0.76, by 0.23.
    found = 0
    for _ in range(300):
        inside, outside = rng.normal(size=(2, 100))
        methods = []
        for _ in range(2):
            own = 0.4 * rng.normal(size=(2, 100))
            shifts = 1 + deviation / 23 * rng.normal(size=2)
            noise = 0.4 * rng.normal(size=(2, 2, 100))
            methods.append(
                [(inside + own[0] + x, outside + own[1] + shift + y) for shift, (x, y) in zip(shifts, noise)]
            )
        found += delong_over_seeds(*methods).p_value < 0.05
    assert found <= 30


def test_the_interval_of_a_mean_holds_it():
    """The chance of fewer than 88 of 100 is below 1 %."""
    truth = stats.norm.cdf(1 / np.sqrt(2 * 1.25 + 0.09))
    drawn = [auroc_over_seeds(trained(2, seed=seed)) for seed in range(100)]
    assert sum(lo <= truth <= hi for lo, hi in drawn) >= 88
    assert all(0 <= lo < hi <= 1 for lo, hi in drawn)


def test_one_seed_or_equal_seeds_are_one_test():
    (a,), (b,) = trained(1), trained(1, 1.5, seed=1)
    for n in (1, 2, 3):
        assert auroc_over_seeds([a] * n) == pytest.approx(metrics.auroc_interval(*a))
        assert delong_over_seeds([a] * n, [b] * n) == pytest.approx(metrics.delong_test(*a, *b))


def test_perfect_separation_has_an_interval():
    runs = [(np.zeros(50), np.ones(30)), (np.zeros(50), np.full(30, 2.0))]
    assert auroc_over_seeds(runs) == metrics.auroc_interval(*runs[0]) and auroc_over_seeds(runs).lo < 1


def test_runs_of_other_images_are_an_error():
    runs = trained(2)
    with pytest.raises(OutskirtsError, match=r"\[60, 40\] or \[60, 40, 30\]"):
        auroc_over_seeds([runs[0], (runs[1][0], runs[1][1][:1])])
