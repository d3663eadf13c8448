"""How far a mean over seeds can be trusted, when the test images and the seeds both vary.

The runs of all seeds are measured on the same test images. So the variance of their mean has two parts:

* The images' part is the mean covariance of two seeds over the images, by DeLong's components. All seeds share these
  images, so it does not shrink with the number of seeds. It comes of many images and is taken as known.
* The seeds' part is the variance of the seeds' values (n - 1 as divisor) divided by n. It comes of few seeds, often two
  or three, and has n - 1 degrees of freedom.

The error of the mean is then a normal variable plus a variable of Student's t: the distribution of Behrens and Fisher.
A test by it rejects no more often than its level says, and less often where both parts matter and seeds are few. It is
the t-test of the seeds where the images add nothing, and DeLong's test where the seeds are alike. It is also the
hierarchical model with a flat prior on the logarithm of the seeds' variance.

Satterthwaite's t with effective degrees of freedom, as in Welch's test, rejects too often with two or three seeds:
seeds that are alike by chance make both the variance too small and the degrees of freedom too many.

References:
    | The Fiducial Argument in Statistical Inference (Fisher, 1935)
    | https://doi.org/10.1111/j.1469-1809.1935.tb02120.x
    | Properties of Student's t and of the Behrens-Fisher Solution to the Two Means Problem (Robinson, 1976)
    | https://doi.org/10.1214/aos/1176343594
    | An Approximate Distribution of Estimates of Variance Components (Satterthwaite, 1946)
    | https://doi.org/10.2307/3002019
    | The Generalization of "Student's" Problem when Several Different Population Variances are Involved (Welch, 1947)
    | https://doi.org/10.1093/biomet/34.1-2.28
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, ndtr

from ..errors import OutskirtsError
from .intervals import Components, DeLong, Interval, deviations, estimated
from .metrics import Array, Scores

__all__ = ["SeedScores", "auroc_over_seeds", "delong_over_seeds", "two_sided_p"]


class SeedScores(NamedTuple):
    """Scores of one run.

    Arguments:
        id: Scores of the ID images, [N].
        ood: Scores of the OOD images, [M], or a sequence of such.
        photographs: The number of each ID image's photograph, [N]; all differ unless given.
    """

    id: Scores
    ood: Scores | Sequence[Scores]
    photographs: Scores | None = None


#: Logarithms of the chi-squared variable over which the law is integrated. The rest weighs less than 1e-15.
_LOGS = np.arange(-80.0, 8.0, 0.05)


def two_sided_p(value: float | Array, images: float | Array, seeds: float | Array, freedom: int) -> Array:
    """The probability of an error at least as large as a value, in either direction.

    Arguments:
        value: Any shape.
        images: Variance by the choice of images, taken as known. Broadcast with `value`.
        seeds: Variance of the mean by the seeds, estimated. Broadcast with `value`; not 0 where `images` is 0.
        freedom: Degrees of freedom of `seeds`, at least 1.
    """
    weights = np.exp(_LOGS * freedom / 2 - np.exp(_LOGS) / 2 - gammaln(freedom / 2) - np.log(2) * freedom / 2)
    value, images, seeds = (np.asarray(part, dtype=np.float64)[..., None] for part in (value, images, seeds))
    tails = 2 * ndtr(-np.abs(value) / np.sqrt(images + seeds * freedom / np.exp(_LOGS)))
    return np.asarray((tails * weights).sum(-1) / weights.sum())


def auroc_over_seeds(runs: Sequence[SeedScores], level: float = 0.95) -> Interval:
    """The interval of the AUROC's mean over seeds, or of the mean of its averages over several OOD sets; cut to [0, 1].

    With one seed, it is `auroc_interval`, which holds for this one training alone.

    Arguments:
        runs: Scores of the same images in the same order, by a run of each seed.
        level: The confidence level.

    Raises:
        OutskirtsError: If the runs are not of equally many images.
    """
    test = _mean([Components.of(*run) for run in runs], level)
    return Interval(max(0.0, test.lo), min(1.0, test.hi))


def delong_over_seeds(a: Sequence[SeedScores], b: Sequence[SeedScores], level: float = 0.95) -> DeLong:
    """Whether a separates better than b, on average over seeds, on the same images.

    With one seed, it is `delong_test`, which holds for these two trainings alone.

    Arguments:
        a: Scores of a, by a run of each seed.
        b: Scores of b on the same images in the same order, by runs of the same seeds in the same order.
        level: The confidence level of the interval.

    Raises:
        OutskirtsError: If the runs are not of equally many images.
    """
    both = [[Components.of(*run) for run in runs] for runs in (a, b)]
    _require_same(both[0] + both[1])
    return _mean([one - other for one, other in zip(*both, strict=True)], level)


def _require_same(runs: Sequence[Components]) -> None:
    sizes = {tuple(map(len, (run.id, *run.ood))) for run in runs}
    if len(sizes) > 1:
        raise OutskirtsError(
            "A mean over seeds needs scores of the same images from each run; the runs have "
            f"{' or '.join(str(list(each)) for each in sorted(sizes))} of them (ID, then each OOD set)."
        )


def _mean(runs: Sequence[Components], level: float) -> DeLong:
    _require_same(runs)
    n, freedom = len(runs), len(runs) - 1
    average = Components(
        np.mean([run.id for run in runs], axis=0),
        [np.mean(parts, axis=0) for parts in zip(*(run.ood for run in runs))],
        runs[0].photographs,
    )
    # Shifting by the first value makes the variance of equal values exactly zero.
    seeds = float(np.var([run.mean - runs[0].mean for run in runs], ddof=1)) / n if freedom else 0.0
    if not seeds:
        return estimated(average, level)
    # Of the n² pairs of seeds in the variance of the mean, n are a seed with itself.
    images = max(0.0, (n * average.error**2 - float(np.mean([run.error**2 for run in runs]))) / freedom)

    def excess(half: float) -> float:
        return float(two_sided_p(half, images, seeds, freedom)) - (1 - level)

    largest = deviations(level) * sqrt(images + seeds)
    while excess(largest) > 0:
        largest *= 2
    half = float(brentq(excess, 0.0, largest, xtol=1e-12))
    return DeLong(
        average.mean, average.mean - half, average.mean + half, float(two_sided_p(average.mean, images, seeds, freedom))
    )
