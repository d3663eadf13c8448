r"""A threshold from in-distribution images alone, and what it promises.

The scores of n calibration images that nothing was fitted or chosen on give each new image a p-value,

.. math:: p = \frac{1 + \#\{s_i \ge s\}}{n + 1}

which is at most α for at most a share α of new images, if these are exchangeable with the calibration images. Images
with p ≤ α are rejected: those whose score is above the k-th smallest of the calibration scores,
k = ⌈(1 − α)(n + 1)⌉. That is a rank, never a quantile between two scores.

The promise is an average over all calibrations. With the one at hand, the share of new images that is accepted follows
a Beta distribution with the parameters k and n + 1 − k. A confidence takes the smallest rank whose share is at least
1 − α with that probability.

References:
    | Algorithmic Learning in a Random World (Vovk, Gammerman and Shafer, 2005)
    | https://doi.org/10.1007/b106715
    | Conditional Validity of Inductive Conformal Predictors (Vovk, 2012)
    | https://arxiv.org/abs/1209.2673
    | Testing for Outliers with Conformal p-values (Bates, Candès, Lei, Romano and Sesia, 2023)
    | https://arxiv.org/abs/2104.08279
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, log

import torch
from scipy.stats import beta, binom
from torch import Tensor

from ..errors import OutskirtsError
from ..texts import counted

__all__ = ["Promise", "exactly", "images_needed", "p_values", "promise", "require_share"]

#: The share of calibrations that the range of `Promise` leaves out on either side.
_TAIL = 0.05


@dataclass(frozen=True)
class Promise:
    """What a threshold promises of new in-distribution images that are exchangeable with the calibration images.

    Arguments:
        n: Number of calibration scores.
        rank: The threshold is the score of this rank among them, the smallest having rank 1.
        acceptance: Share of new images that is to be accepted, 1 − α.
        confidence: Probability that this calibration accepts that share; None for that share on average.
    """

    n: int
    rank: int
    acceptance: float
    confidence: float | None = None

    @property
    def expected(self) -> float:
        """The share of new images that is accepted, on average over calibrations."""
        return self.rank / (self.n + 1)

    @property
    def range(self) -> tuple[float, float]:
        """The share that this calibration accepts lies in here for nine calibrations in ten."""
        law = beta(self.rank, self.n + 1 - self.rank)
        return float(law.ppf(_TAIL)), float(law.ppf(1 - _TAIL))

    @property
    def alpha(self) -> float:
        """The largest p-value that is rejected."""
        return (self.n + 1 - self.rank) / (self.n + 1)

    def __str__(self) -> str:
        low, high = self.range
        least = ""
        if round(self.expected, 3) != round(self.acceptance, 3) and self.confidence is None:
            least = f" (the least share of {self.acceptance:.1%} or more that {self.n:,} images allow)"
        sure = (
            ""
            if self.confidence is None
            else (
                f" With a probability of {self.confidence:.0%} over calibrations it is at least {self.acceptance:.1%}."
            )
        )
        return (
            f"Of new in-distribution images like the {counted(self.n, 'calibration image')}, {self.expected:.1%} are "
            f"accepted on average over calibrations{least}. Nine calibrations in ten accept between {low:.1%} and "
            f"{high:.1%}.{sure}"
        )


def require_share(name: str, value: float) -> None:
    """Raise unless a share is above 0 and below 1."""
    if not 0 < value < 1:
        raise OutskirtsError(f"{name} must be above 0 and below 1, not {value:g}.")


def images_needed(acceptance: float, confidence: float | None = None) -> int:
    """The smallest number of calibration images that allow the promise.

    >>> images_needed(0.95), images_needed(0.95, confidence=0.95)
    (19, 59)
    """
    accepted = exactly(acceptance)
    if confidence is None:
        return ceil(accepted / (1 - accepted))
    # The largest of n scores is above the share that is to be accepted unless all n are below it.
    most = ceil(log(1 - confidence) / log(acceptance))
    return next(n for n in range(max(1, most - 1), most + 2) if binom.cdf(n - 1, n, acceptance) >= confidence)


def promise(n: int, acceptance: float, confidence: float | None = None) -> Promise:
    """The rank of the threshold among `n` calibration scores, and what it promises.

    Arguments:
        n: Number of calibration scores.
        acceptance: Share of new in-distribution images that is to be accepted, above 0 and below 1.
        confidence: Probability over calibrations that it is accepted; None asks for it on average.

    Raises:
        OutskirtsError: If a share is 0 or 1 or beyond, or the scores are too few.

    >>> promise(1000, 0.95).rank, promise(1000, 0.95, confidence=0.95).rank
    (951, 962)
    """
    require_share("The acceptance", acceptance)
    if confidence is not None:
        require_share("The confidence", confidence)
    if n < (needed := images_needed(acceptance, confidence)):
        sure = "" if confidence is None else f" with a confidence of {confidence:g}"
        raise OutskirtsError(
            f"To accept {acceptance:.1%} of new images{sure} takes at least {needed:,} calibration images, and there "
            f"{'is' if n == 1 else 'are'} {n:,}. Add images, or choose a smaller acceptance."
        )
    if confidence is None:
        return Promise(n, ceil(exactly(acceptance) * (n + 1)), acceptance)
    # The k-th smallest of n uniform numbers is at least x where at most k - 1 of them are below x.
    return Promise(n, int(binom.ppf(confidence, n, acceptance)) + 1, acceptance, confidence)


def p_values(calibration: Tensor, scores: Tensor) -> Tensor:
    """The p-value of each score, [N], float64; the smallest one where a score is no number.

    Arguments:
        calibration: Calibration scores [n], in increasing order.
        scores: Scores [N]; larger means more out-of-distribution.

    >>> p_values(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 4.0]))
    tensor([1.0000, 0.7500, 0.2500], dtype=torch.float64)
    """
    n = len(calibration)
    below = torch.searchsorted(calibration, scores.to(calibration.dtype).contiguous())
    below = torch.where(scores.isnan(), n, below)
    return (1 + n - below).double() / (n + 1)


def exactly(share: float) -> Fraction:
    """A share as it is written: 0.95 times 20 are 19, not a little more."""
    return Fraction(repr(float(share)))
