"""How often a classifier is wrong on the images that it keeps, if it leaves out those with the highest scores.

References:
    | Selective Classification for Deep Neural Networks (Geifman and El-Yaniv, 2017)
    | https://arxiv.org/abs/1705.08500
    | Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers (Geifman, Uziel and El-Yaniv, 2019)
    | https://arxiv.org/abs/1805.08206
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import OutskirtsError
from .metrics import Array, Scores, as_scores

__all__ = ["RiskCoverage", "aurc", "risk_coverage"]


class RiskCoverage(NamedTuple):
    """The error rate of the images that are kept, for each number of images kept.

    Arguments:
        coverage: Share of images that are kept, [N]: 1/N, 2/N, …, 1.
        risk: Share of these on which the classifier is wrong, [N].
    """

    coverage: Array
    risk: Array


def risk_coverage(wrong: ArrayLike, scores: Scores) -> RiskCoverage:
    """The risk-coverage curve: images are kept in the order of their scores, the smallest first.

    Of images with equal scores, each is equally likely to be kept first; the risk is the mean over these orders.

    Arguments:
        wrong: Whether the classifier is wrong on each image, bool [N].
        scores: Scores [N]; larger means less sure.

    >>> risk_coverage([False, True, False, True], [0.1, 0.2, 0.2, 0.9]).risk.tolist()
    [0.0, 0.25, 0.3333333333333333, 0.5]
    """
    values, errors = as_scores(scores), np.asarray(wrong, float)
    if errors.shape != values.shape:
        raise OutskirtsError(
            f"There are scores of {len(values)} images, but {errors.size} answers to whether one is wrong."
        )
    order = np.argsort(values, kind="stable")
    ordered, errors = values[order], errors[order]
    first, last = (np.searchsorted(ordered, ordered, side=side) for side in ("left", "right"))
    sums = np.concatenate([[0.0], errors.cumsum()])
    kept = np.arange(1, len(values) + 1)
    # Within a group of equal scores, each image brings the group's mean number of errors.
    risk = (sums[first] + (kept - first) * (sums[last] - sums[first]) / (last - first)) / kept
    return RiskCoverage(kept / len(values), risk)


def aurc(wrong: ArrayLike, scores: Scores) -> float:
    """The area under the risk-coverage curve: its mean risk over all coverages; lower is better.

    Scores that say nothing give the error rate. Scores that tell all errors from the rest give about half the square of
    the error rate.

    Arguments:
        wrong: Whether the classifier is wrong on each image, bool [N].
        scores: Scores [N]; larger means less sure.

    >>> aurc([False, False, True, True], [0, 1, 2, 3]), aurc([False, False, True, True], [0, 0, 0, 0])
    (0.20833333333333331, 0.5)
    """
    return float(risk_coverage(wrong, scores).risk.mean())
