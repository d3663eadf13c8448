"""The exact interval of a share."""

from __future__ import annotations

from scipy.stats import beta

from ..errors import OutskirtsError
from .intervals import Interval

__all__ = ["exact_interval"]


def exact_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """The interval of a share that holds it in at least `level` of all samples, whatever the share is.

    References:
        | The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial (Clopper and Pearson, 1934)
        | https://doi.org/10.1093/biomet/26.4.404

    >>> lo, hi = exact_interval(10, 10)
    >>> round(lo, 4), hi
    (0.6915, 1.0)
    """
    if not 0 <= successes <= n or n < 1:
        raise OutskirtsError(
            f"{successes} successes of {n} are not a share; n must be at least 1, and successes must be from 0 to n."
        )
    if not 0 < level < 1:
        raise OutskirtsError(f"The confidence level is {level}; it must lie between 0 and 1, such as 0.95.")
    tail = (1 - level) / 2
    lo = float(beta.ppf(tail, successes, n - successes + 1)) if successes else 0.0
    hi = float(beta.ppf(1 - tail, successes + 1, n - successes)) if successes < n else 1.0
    return Interval(lo, hi)
