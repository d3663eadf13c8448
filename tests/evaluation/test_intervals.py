import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from outskirts import OutskirtsError, metrics


def overlapping(n: int = 60, m: int = 40, seed: int = 0, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=n), 1), np.round(rng.normal(size=m) + shift, 1)


def naive_components(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wins = (outside > inside[:, None]) + 0.5 * (outside == inside[:, None])
    return wins.mean(1), wins.mean(0)


def test_delong_equals_its_definition():
    inside, outside = overlapping()
    rows, columns = naive_components(inside, outside)
    half = 1.959963984540054 * np.sqrt(rows.var(ddof=1) / 60 + columns.var(ddof=1) / 40)
    area = metrics.auroc(inside, outside)
    assert metrics.auroc_interval(inside, outside) == pytest.approx((area - half, area + half))


def test_average_over_sets_honours_the_shared_images():
    inside, outside = overlapping()
    once, thrice = (metrics.auroc_interval(inside, [outside] * k) for k in (1, 3))
    rows, columns = naive_components(inside, outside)
    half = 1.959963984540054 * np.sqrt(rows.var(ddof=1) / 60 + columns.var(ddof=1) / 40 / 3)
    assert once == metrics.auroc_interval(inside, outside)
    assert (thrice.hi - thrice.lo) / 2 == pytest.approx(half)


def test_auroc_interval_covers():
    """97 of 100 or so intervals hold the true area; the binomial chance of fewer than 89 is below 1 %."""
    truth = stats.norm.cdf(1 / np.sqrt(2))
    drawn = (metrics.auroc_interval(*overlapping(seed=seed)) for seed in range(100))
    assert sum(lo <= truth <= hi for lo, hi in drawn) >= 89


@pytest.mark.parametrize(("outside", "value"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_nothing_varying_leaves_what_the_trials_cannot_exclude(outside, value):
    unseen = 1 - 0.025 ** (1 / 30)
    interval = metrics.auroc_interval(np.zeros(50), np.full(30, outside))
    assert interval == pytest.approx((max(0, value - unseen), min(1, value + unseen)))
    assert metrics.auroc_interval([0.0], [1.0]) == pytest.approx((0.025, 1.0))


def test_paired_test_equals_its_definition():
    inside, outside = overlapping(shift=1.5)
    rng = np.random.default_rng(1)
    inside_b, outside_b = inside + rng.normal(size=60), outside + rng.normal(size=40)
    a, b = naive_components(inside, outside), naive_components(inside_b, outside_b)
    error = np.sqrt((a[0] - b[0]).var(ddof=1) / 60 + (a[1] - b[1]).var(ddof=1) / 40)
    gap = metrics.auroc(inside, outside) - metrics.auroc(inside_b, outside_b)
    expected = (gap, gap - 1.959963984540054 * error, gap + 1.959963984540054 * error)
    test = metrics.delong_test(inside, outside, inside_b, outside_b)
    assert test[:3] == pytest.approx(expected)
    assert test.p_value == pytest.approx(2 * stats.norm.sf(abs(gap) / error))
    assert metrics.delong_test(inside, [outside] * 2, inside_b, [outside_b] * 2).difference == pytest.approx(gap)


def test_paired_test_without_variance():
    inside, outside = np.zeros(20), np.ones(10)
    same = metrics.delong_test(inside, outside, inside, outside)
    assert (same.difference, same.p_value) == (0, 1)
    assert same.lo < 0 < same.hi
    opposite = metrics.delong_test(inside, outside, outside[:1].repeat(20), inside[:10])
    assert (opposite.difference, opposite.p_value) == (1, 2 * 0.5**10)


def test_paired_test_wants_the_same_images():
    with pytest.raises(OutskirtsError, match=r"a has \[2, 1\] .* b \[3, 1\]"):
        metrics.delong_test([0.0, 1.0], [1.0], [0.0, 1.0, 2.0], [1.0])


def test_aupr_interval_is_the_logit_interval():
    inside, outside = overlapping()
    area = metrics.aupr(inside, outside)
    half = 1.959963984540054 / np.sqrt(60 * area * (1 - area))
    expected = expit(np.log(area / (1 - area)) + np.array([-half, half]))
    assert metrics.aupr_interval(inside, outside) == pytest.approx(tuple(expected))


def test_aupr_interval_at_the_limit_is_neither_empty_nor_everything():
    lo, hi = metrics.aupr_interval(np.zeros(100), np.ones(50))
    assert 0.9 < lo < 0.975
    assert hi == 1


@pytest.mark.parametrize("positive", ["id", "ood"])
@pytest.mark.parametrize("sets", [1, 3])
def test_fpr_interval_is_the_naive_bootstrap(positive, sets):
    inside, _ = overlapping(120)
    outsides = [overlapping(1, 50 + 30 * k, seed=k, shift=1 + k / 3)[1] for k in range(sets)]
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(3000):
        ids = rng.choice(inside, len(inside))
        drawn = [metrics.fpr_at_tpr(ids, rng.choice(o, len(o)), positive=positive) for o in outsides]
        rates.append(np.mean(drawn))
    expected = np.quantile(rates, [0.025, 0.975])
    got = metrics.fpr_interval(inside, outsides, positive=positive, replicates=20000)
    assert got == pytest.approx(tuple(expected), abs=0.035)
    middle = metrics.fpr_interval(inside, outsides, positive=positive, replicates=20000, level=0.5)
    assert middle == pytest.approx(tuple(np.quantile(rates, [0.25, 0.75])), abs=0.02)


def test_fpr_interval_depends_on_its_seed_alone():
    inside, outside = overlapping()
    state = np.random.get_state()[1].copy()
    first, again, other = (metrics.fpr_interval(inside, outside, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert (np.random.get_state()[1] == state).all()


def test_fpr_interval_of_separated_sets_has_a_width():
    assert metrics.fpr_interval(np.zeros(50), np.ones(30)) == pytest.approx((0, 1 - 0.025 ** (1 / 30)))


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (3, 5), (5, 5), (812, 1000)])
def test_wilson_is_scipys(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
    assert metrics.wilson_interval(successes, n, level=0.9) == pytest.approx((expected.low, expected.high))


def test_bad_arguments_are_an_error():
    with pytest.raises(OutskirtsError, match="6 successes of 5"):
        metrics.wilson_interval(6, 5)
    with pytest.raises(OutskirtsError, match="confidence level is 95"):
        metrics.auroc_interval([0.0], [1.0], level=95)


def test_copies_of_images_do_not_narrow_an_interval():
    inside, outside = overlapping(300, 200, shift=1.5)
    twice, own = np.tile(inside, 2), np.tile(np.arange(300), 2)
    of_one = metrics.auroc_interval(inside, outside)
    assert metrics.auroc_interval(twice, outside, photographs=own) == pytest.approx(of_one, abs=1e-9)
    narrow = metrics.auroc_interval(twice, outside)
    assert narrow.hi - narrow.lo < 0.95 * (of_one.hi - of_one.lo)
    other = inside + np.random.default_rng(1).normal(size=300)
    paired = metrics.delong_test(inside, outside, other, outside)
    assert metrics.delong_test(twice, outside, np.tile(other, 2), outside, photographs=own) == pytest.approx(paired)
    for positive in ("id", "ood"):
        one = metrics.fpr_interval(inside, outside, positive=positive)
        two = metrics.fpr_interval(twice, outside, positive=positive, photographs=own)
        assert two.hi - two.lo == pytest.approx(one.hi - one.lo, rel=0.15)
        assert metrics.aupr_interval(twice, outside, positive, photographs=own)[1] <= 1
    single = np.arange(300)
    assert metrics.fpr_interval(inside, outside, photographs=single) == metrics.fpr_interval(inside, outside)
    with pytest.raises(OutskirtsError, match="300 ID images, but the photographs of 2"):
        metrics.auroc_interval(inside, outside, photographs=[0, 1])


def test_an_interval_of_perturbed_copies_covers():
    """The binomial chance of fewer than 89 of 100 is below 1 %; without photographs, far fewer cover."""
    truth = stats.norm.cdf(1 / np.sqrt(2 + 0.1))
    covered = np.zeros(2, int)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        photographs = np.tile(np.arange(80), 4)
        inside = np.tile(rng.normal(size=80), 4) + rng.normal(size=320) * 0.1**0.5
        outside = rng.normal(size=4000) + 1
        for way, given in enumerate((photographs, None)):
            lo, hi = metrics.auroc_interval(inside, outside, photographs=given)
            covered[way] += lo <= truth <= hi
    assert covered[0] >= 89 > 80 > covered[1]
