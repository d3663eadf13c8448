"""How far the metrics of `outskirts.evaluation.metrics` can be trusted: intervals and a paired test.

Where several OOD sets are scored against the same ID images, the average of a metric over the sets is not an
average of independent numbers: the functions that take a sequence of OOD sets return the interval of that
average with the shared ID images accounted for.

A sample in which nothing varies, such as two perfectly separated sets, would give an interval of no width. N
independent trials that all came out alike leave a probability of up to :math:`1 - (\\alpha/2)^{1/N}` for any
other outcome (the exact binomial limit, Clopper and Pearson, 1934); that is the half-width used then, with N
the smallest of the set sizes. It is conservative, for there are more pairs of images than N.

Several ID images may show one photograph, such as a test image and the same one with noise. They are not
independent: the functions take the number of each image's photograph, and count photographs instead of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from ..arguments import check_arguments
from ..errors import OutskirtsError
from ..seeding import subseed
from .metrics import Array, Positive, Rule, Scores, as_scores, at_least, aupr, oriented, placements, recall_rank

__all__ = [
    "Components",
    "DeLong",
    "Interval",
    "aupr_interval",
    "auroc_interval",
    "balanced_accuracy_interval",
    "delong_test",
    "deviations",
    "estimated",
    "fpr_interval",
    "wilson_interval",
]


class Interval(NamedTuple):
    """The bounds of a confidence interval."""

    lo: float
    hi: float


class DeLong(NamedTuple):
    """The outcome of `delong_test`: AUROC of a minus AUROC of b, its interval and the two-sided p-value."""

    difference: float
    lo: float
    hi: float
    p_value: float


def _tail(level: float) -> float:
    """The probability that an interval of this level leaves out at either end."""
    if not 0 < level < 1:
        raise OutskirtsError(f"The confidence level is {level}; it must lie between 0 and 1, such as 0.95.")
    return (1 - level) / 2


def deviations(level: float) -> float:
    """How many standard errors either side hold the share `level` of a normal distribution."""
    return float(-ndtri(_tail(level)))


def _sets(ood_scores: Scores | Sequence[Scores]) -> list[Array]:
    """The OOD sets, whether one was given or a sequence of them."""
    several = isinstance(ood_scores, Sequence) and len(ood_scores) > 0 and np.ndim(ood_scores[0]) > 0
    return [as_scores(one) for one in (ood_scores if several else [ood_scores])]  # type: ignore[arg-type]


def _around(value: float, error: float, trials: int, level: float, floor: float = 0.0) -> Interval:
    """`value` and the normal half-width, or that of `trials` equal outcomes where the error is zero."""
    half = deviations(level) * error if error else 1 - _tail(level) ** (1 / trials)
    return Interval(float(max(floor, value - half)), float(min(1.0, value + half)))


class Components(NamedTuple):
    """DeLong's structural components of an AUROC averaged over K sets: [N], and [M_k] for each set."""

    id: Array
    ood: list[Array]
    photographs: NDArray[np.intp] | None = None

    @classmethod
    def of(
        cls, id_scores: Scores, ood_scores: Scores | Sequence[Scores], photographs: Scores | None = None
    ) -> Components:
        ids = as_scores(id_scores)
        parts = [placements(ids, ood) for ood in _sets(ood_scores)]
        return cls(
            np.mean([part[0] for part in parts], axis=0), [part[1] for part in parts], _places(photographs, len(ids))
        )

    @property
    def mean(self) -> float:
        return float(np.mean([part.mean() for part in self.ood]))

    @property
    def trials(self) -> int:
        own = len(self.id) if self.photographs is None else int(self.photographs.max()) + 1
        return min(own, *map(len, self.ood))

    @property
    def error(self) -> float:
        """The standard error of the mean; 0 where a set of one image makes it unknowable."""
        if self.trials == 1:
            return 0.0
        spread = [np.var(part - part[0], ddof=1) / len(part) for part in self.ood]
        return float(np.sqrt(_variance(self.id, self.photographs) + sum(spread) / len(self.ood) ** 2))

    def __sub__(self, other: Components) -> Components:
        return Components(self.id - other.id, [a - b for a, b in zip(self.ood, other.ood)], self.photographs)


def _places(photographs: Scores | None, n: int) -> NDArray[np.intp] | None:
    """The photographs of n images, counted from 0; None where each image is its own."""
    if photographs is None:
        return None
    given = np.asarray(photographs)
    if len(given) != n:
        raise OutskirtsError(f"There are {n} ID images, but the photographs of {len(given)}.")
    places = np.unique(given, return_inverse=True)[1].astype(np.intp)
    return None if places.max() + 1 == n else places


def _variance(values: Array, photographs: NDArray[np.intp] | None) -> float:
    """The variance of the mean of values [N], those of one photograph not independent of each other.

    References:
        | Nonparametric Analysis of Clustered ROC Curve Data (Obuchowski, 1997)
        | https://doi.org/10.2307/2533958
    """
    # Shifting by the first value makes the variance of constant components exactly zero.
    values = values - values[0]
    if photographs is None:
        return float(np.var(values, ddof=1) / len(values))
    sums = np.bincount(photographs, values - values.mean())
    return float(len(sums) / (len(sums) - 1) * (sums**2).sum() / len(values) ** 2)


def _independent(inside: Array, photographs: NDArray[np.intp] | None) -> float:
    """How many independent images would know a share as well as these, at most their number.

    Arguments:
        inside: Whether each image counts, [N].
        photographs: The number of each image's photograph, [N]; None where each image is its own.
    """
    if photographs is None:
        return float(len(inside))
    share = inside.mean()
    variance = _variance(inside.astype(float), photographs)
    fewest = float(photographs.max()) + 1
    return float(np.clip(share * (1 - share) / variance, 1.0, len(inside))) if variance else fewest


def auroc_interval(
    id_scores: Scores,
    ood_scores: Scores | Sequence[Scores],
    level: float = 0.95,
    photographs: Scores | None = None,
) -> Interval:
    """DeLong's interval of the AUROC, or of its average over several OOD sets; cut to [0, 1]. O(N log N).

    An AUROC of exactly 1 or 0 has no variance; the exact binomial limit of N trials is given then, with N the size of
    the smallest set. A little inside of 1 or 0, the normal approximation is too narrow: with 100 images on either side
    (normal scores, nominally 95 %), it holds a true area of 0.99 in 89 % of samples, and one of 0.999 in 79 %.

    Arguments:
        id_scores: [N].
        ood_scores: [M], or a sequence of such.
        level: The confidence level.
        photographs: The number of each ID image's photograph, [N]; all differ unless given.

    References:
        | Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves
          (DeLong, DeLong and Clarke-Pearson, 1988)
        | https://doi.org/10.2307/2531595
        | Fast Implementation of DeLong's Algorithm for Comparing the Areas Under Correlated Receiver
          Operating Characteristic Curves (Sun and Xu, 2014)
        | https://doi.org/10.1109/LSP.2014.2337313
    """
    parts = Components.of(id_scores, ood_scores, photographs)
    return _around(parts.mean, parts.error, parts.trials, level)


def delong_test(
    id_a: Scores,
    ood_a: Scores | Sequence[Scores],
    id_b: Scores,
    ood_b: Scores | Sequence[Scores],
    level: float = 0.95,
    photographs: Scores | None = None,
) -> DeLong:
    """Whether a separates better than b on the same images, by the paired test of DeLong et al. (1988).

    Where no image's components differ from another's, the p-value is that of the exact sign test.

    Arguments:
        id_a: Scores of a, [N].
        ood_a: Scores of a, [M], or a sequence of such for the difference of the averages.
        id_b: Scores of b on the same ID images in the same order, [N].
        ood_b: Scores of b on the same OOD images in the same order, [M], or a sequence of such.
        level: The confidence level of the interval.
        photographs: The number of each ID image's photograph, [N]; all differ unless given.
    """
    a, b = Components.of(id_a, ood_a, photographs), Components.of(id_b, ood_b, photographs)
    sizes_a, sizes_b = ([len(part) for part in (parts.id, *parts.ood)] for parts in (a, b))
    if sizes_a != sizes_b:
        raise OutskirtsError(
            f"A paired test needs scores of the same images: a has {sizes_a} of them (ID, then each OOD set), "
            f"b {sizes_b}."
        )
    return estimated(a - b, level)


def estimated(gap: Components, level: float) -> DeLong:
    """A mean of components, its interval from -1 to 1, and the p-value of the hypothesis that it is 0."""
    lo, hi = _around(gap.mean, gap.error, gap.trials, level, floor=-1.0)
    if gap.error:
        p_value = 2 * float(ndtr(-abs(gap.mean) / gap.error))
    else:
        p_value = min(1.0, 2 * 0.5**gap.trials) if gap.mean else 1.0
    return DeLong(gap.mean, lo, hi, p_value)


@check_arguments
def aupr_interval(
    id_scores: Scores,
    ood_scores: Scores,
    positive: Positive = "id",
    rule: Rule = "trapezoid",
    level: float = 0.95,
    photographs: Scores | None = None,
) -> Interval:
    """The logit interval of the area under the precision-recall curve.

    With n positives, areas nearer to 0 or 1 than 1/(2n) are widened as if they were that far, for there the
    logit's standard error diverges. Where ID images share photographs, n is at most the number of these, which is
    conservative.

    References:
        | Area under the Precision-Recall Curve: Point Estimates and Confidence Intervals
          (Boyd, Eng and Page, 2013)
        | https://doi.org/10.1007/978-3-642-40994-3_29
    """
    area = aupr(id_scores, ood_scores, positive, rule)
    n = len(as_scores(id_scores if positive == "id" else ood_scores))
    own = _places(photographs, len(as_scores(id_scores)))
    if own is not None:
        n = min(n, int(own.max()) + 1)
    inner = float(np.clip(area, 1 / (2 * n), 1 - 1 / (2 * n)))
    half = deviations(level) / np.sqrt(n * inner * (1 - inner))
    lo, hi = (float(expit(logit(inner) + side * half)) for side in (-1, 1))
    return Interval(min(lo, area), max(hi, area))


@check_arguments
def fpr_interval(
    id_scores: Scores,
    ood_scores: Scores | Sequence[Scores],
    tpr: float = 0.95,
    positive: Positive = "id",
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    photographs: Scores | None = None,
) -> Interval:
    """The percentile-bootstrap interval of `fpr_at_tpr`, or of its average over several OOD sets.

    Both sides are resampled, but no resample is drawn. The k-th of n sorted values, resampled, is value
    ``floor(n * U)`` with U ~ Beta(k, n - k + 1), and how many of the other side lie beyond it is binomial.
    This is exactly the bootstrap's distribution, in O(N log N + replicates log N). Where ID images share
    photographs, fewer are resampled: as many independent ones as tell the share below the threshold as well.

    Arguments:
        id_scores: [N].
        ood_scores: [M], or a sequence of such.
        tpr: The true-positive rate to reach.
        positive: The positive class; see `fpr_at_tpr`.
        level: The confidence level.
        replicates: How many bootstrap resamples.
        seed: Seed of the bootstrap.
        photographs: The number of each ID image's photograph, [N]; all differ unless given.

    References:
        | An Introduction to the Bootstrap (Efron and Tibshirani, 1993), chapter 13
    """
    tail = _tail(level)
    rng = np.random.default_rng(subseed(seed, "fpr_interval"))
    pairs = [oriented(as_scores(id_scores), ood, positive) for ood in _sets(ood_scores)]

    own = _places(photographs, len(as_scores(id_scores)))

    def thresholds(positives: Array, own: NDArray[np.intp] | None = None) -> Array:
        n, k = len(positives), recall_rank(tpr, len(positives))
        ordered = np.sort(positives)[::-1]
        kept = _independent(positives >= ordered[k - 1], own) / n
        drawn = np.floor(n * rng.beta(kept * k, kept * (n - k + 1), replicates)).astype(int).clip(max=n - 1)
        return ordered[drawn]

    def share(negatives: Array, thresholds: Array) -> Array:
        return at_least(negatives, thresholds) / len(negatives)

    if positive == "id":  # One threshold for all sets, then a resample of each set.
        shared = thresholds(pairs[0][0], own)
        drawn = [rng.binomial(len(ood), share(ood, shared)) / len(ood) for _, ood in pairs]
        rates = np.mean(drawn, axis=0)
    else:  # A threshold for each set, then one resample of the ID images, cut at all of them.
        ids = pairs[0][1]
        shares = np.sort([share(ids, thresholds(ood)) for ood, _ in pairs], axis=0)
        slices = np.diff(shares, axis=0, prepend=0.0, append=1.0).clip(0)
        n = round(min(_independent(ids >= np.quantile(ids, 1 - share), own) for share in shares.mean(1)))
        rates = rng.multinomial(n, slices.T).cumsum(1)[:, :-1].mean(1) / n
    lo, hi = map(float, np.quantile(rates, [tail, 1 - tail]))
    if lo == hi:
        return _around(lo, 0.0, min(len(side) for pair in pairs for side in pair), level)
    return Interval(lo, hi)


def wilson_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share such as an accuracy, `successes` of `n`.

    References:
        | Probable Inference, the Law of Succession, and Statistical Inference (Wilson, 1927)
        | https://doi.org/10.1080/01621459.1927.10502953

    >>> lo, hi = wilson_interval(10, 10)
    >>> round(lo, 4), hi
    (0.7225, 1.0)
    """
    if not 0 <= successes <= n or n < 1:
        raise OutskirtsError(
            f"{successes} successes of {n} are not a share; n must be at least 1, and successes must be from 0 to n."
        )
    square = deviations(level) ** 2
    center = (successes + square / 2) / (n + square)
    half = np.sqrt(square * (successes * (n - successes) / n + square / 4)) / (n + square)
    return Interval(max(0.0, float(center - half)), min(1.0, float(center + half)))


def balanced_accuracy_interval(successes: Scores, counts: Scores, level: float = 0.95) -> Interval:
    """The adjusted Wald interval of the balanced accuracy: the mean of the accuracies of classes.

    Four images, half of them successes, are added in all, the same part to each class, before the normal approximation
    is made. With one class this is the interval of Agresti and Coull. Simulated at a nominal 95 %, it held the mean in
    94 % of samples for 100 classes of 10 images each, and in 92 % for 1,000 classes of 5 images and an accuracy of
    99 %.

    Arguments:
        successes: Correct images of each class, [C].
        counts: Images of each class, [C], at least 1; classes without images have no accuracy.
        level: The confidence level.

    References:
        | An Improved Confidence Interval for a Linear Function of Binomial Proportions (Price and Bonett, 2004)
        | https://doi.org/10.1016/S0167-9473(03)00007-0

    >>> lo, hi = balanced_accuracy_interval([90, 2], [100, 10])
    >>> round(lo, 3), round(hi, 3)
    (0.445, 0.697)
    """
    right, n = (np.asarray(numbers, float) for numbers in (successes, counts))
    if not len(n) or right.shape != n.shape or (n < 1).any() or (right < 0).any() or (right > n).any():
        raise OutskirtsError(
            "A balanced accuracy needs, for each class, at least 1 image, and from 0 to as many successes as images."
        )
    added = 4 / len(n)
    share = (right + added / 2) / (n + added)
    half = deviations(level) * np.sqrt((share * (1 - share) / (n + added)).sum()) / len(n)
    lo, hi, mean = share.mean() - half, share.mean() + half, (right / n).mean()
    return Interval(float(max(0.0, min(lo, mean))), float(min(1.0, max(hi, mean))))
