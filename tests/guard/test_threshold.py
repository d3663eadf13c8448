from fractions import Fraction
from math import floor

import pytest
import torch
from scipy.stats import beta as beta_law
from scipy.stats import binom, kstest

from outskirts import OutskirtsError
from outskirts.guard.threshold import images_needed, p_values, promise
from outskirts.seeding import generator


@pytest.mark.parametrize(
    ("n", "low", "high"),
    [(100, 0.911, 0.980), (1000, 0.938, 0.961), (5000, 0.945, 0.955)],
)
def test_the_range_at_95_per_cent(n, low, high):
    assert promise(n, 0.95).range == pytest.approx((low, high), abs=5e-4)


def test_ranks_that_are_known():
    assert promise(1000, 0.95).rank == 951
    assert promise(1000, 0.95, confidence=0.95).rank == 962
    # 0.95 * 20 is a little more than 19 in floating point, and there is no rank 20 of 19.
    assert promise(19, 0.95).rank == 19
    assert promise(1180, 0.94).expected >= 0.94


@pytest.mark.parametrize("acceptance", [0.5, 0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("confidence", [None, 0.5, 0.9, 0.95, 0.99])
def test_the_number_of_images_needed_is_the_smallest(acceptance, confidence):
    needed = images_needed(acceptance, confidence)
    assert promise(needed, acceptance, confidence).rank <= needed
    with pytest.raises(OutskirtsError, match=f"at least {needed:,} calibration images"):
        promise(needed - 1, acceptance, confidence)


@pytest.mark.parametrize("n", [59, 60, 100, 512, 1000, 4321])
@pytest.mark.parametrize("acceptance", [0.8, 0.9, 0.95])
def test_the_rank_of_a_confidence_is_the_smallest_that_keeps_it(n, acceptance):
    rank = promise(n, acceptance, confidence=0.95).rank
    # The rank-th smallest of n uniform numbers follows a Beta law.
    assert beta_law(rank, n + 1 - rank).sf(acceptance) >= 0.95
    assert rank == 1 or beta_law(rank - 1, n + 2 - rank).sf(acceptance) < 0.95
    assert binom.cdf(rank - 1, n, acceptance) >= 0.95


def test_p_values_against_the_definition():
    draws = generator(0, "test")
    calibration = torch.randint(0, 20, (57,), generator=draws).double().sort().values
    scores = torch.cat([torch.arange(-2.0, 22.0, 0.5), torch.tensor([float("nan"), float("inf"), -float("inf")])])
    expected = [(1 + sum(float(one) >= s for one in calibration)) / 58 for s in scores.tolist()]
    assert p_values(calibration, scores).tolist() == expected


@pytest.mark.parametrize("n", [19, 20, 99, 100, 399])
@pytest.mark.parametrize("acceptance", [0.9, 0.95])
def test_a_score_is_above_the_threshold_where_its_p_value_is_at_most_alpha(n, acceptance):
    draws = generator(n, "test")
    # Few different values, so that there are ties at the threshold.
    calibration = torch.randint(0, 30, (n,), generator=draws).double().sort().values
    rank = promise(n, acceptance).rank
    scores = torch.arange(-1, 31).double()
    rejected = scores > calibration[rank - 1]
    alpha = 1 - Fraction(repr(acceptance))
    assert floor(alpha * (n + 1)) == n + 1 - rank
    for one, p in zip(rejected.tolist(), p_values(calibration, scores).tolist()):
        assert one == (Fraction(round(p * (n + 1)), n + 1) <= alpha)


def test_p_values_of_new_scores_are_uniform():
    draws = generator(0, "uniform")
    scores = torch.rand(4000, 100, generator=draws, dtype=torch.float64)
    calibration = scores[:, 1:].sort(1).values
    values = torch.stack([p_values(row, one) for row, one in zip(calibration, scores[:, :1])]).flatten()
    counts = torch.bincount((values * 100).round().long(), minlength=101)[1:]
    # 4,000 draws of 100 equally likely values.
    assert ((counts - 40).square() / 40).sum().item() == pytest.approx(99, abs=5 * (2 * 99) ** 0.5)


def accepted_shares(rank_of, n=200, splits=3000):
    """The true acceptance of thresholds at a rank of n uniform scores."""
    scores = torch.rand(splits, n, generator=generator(1, "splits"), dtype=torch.float64).sort(1).values
    return scores[:, rank_of(n) - 1].numpy()


def test_the_share_accepted_follows_its_law_and_a_wrong_rank_does_not():
    rank = promise(200, 0.95).rank
    law = beta_law(rank, 201 - rank)
    assert kstest(accepted_shares(lambda n: rank), law.cdf).pvalue > 0.01
    assert kstest(accepted_shares(lambda n: rank - 1), law.cdf).pvalue < 1e-6
    assert kstest(accepted_shares(lambda n: rank + 1), law.cdf).pvalue < 1e-6


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_must_be_between_0_and_1(share):
    with pytest.raises(OutskirtsError, match="The acceptance must be above 0 and below 1"):
        promise(100, share)
    with pytest.raises(OutskirtsError, match="The confidence must be above 0 and below 1"):
        promise(100, 0.9, share)
