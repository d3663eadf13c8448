"""How well scores separate in-distribution (ID) from out-of-distribution (OOD) images.

Scores are larger for images that look more out-of-distribution. They are compared, never subtracted, so ties
and infinite, huge or tiny scores need no special case; NaN has no order and is an error. Uncertainty is in
`outskirts.evaluation.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..arguments import check_arguments
from ..errors import OutskirtsError, unknown

__all__ = ["Positive", "Rule", "Scores", "aupr", "auroc", "fpr_at_tpr"]

Array: TypeAlias = NDArray[np.float64]
Scores: TypeAlias = Tensor | np.ndarray | Sequence[float]
Positive: TypeAlias = Literal["id", "ood"]
Rule: TypeAlias = Literal["trapezoid", "step"]


def as_scores(values: Scores) -> Array:
    """The scores as a float64 array [N]; an error unless they are one-dimensional, some and not NaN."""
    scores = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, float)
    if scores.ndim != 1:
        raise OutskirtsError(f"Scores must have shape [N], one per image; these have shape {list(scores.shape)}.")
    if not len(scores):
        raise OutskirtsError("There are no scores: a metric needs at least one ID and one OOD image.")
    if np.isnan(scores).any():
        raise OutskirtsError(f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN, and NaN cannot be ranked.")
    return scores


def oriented(id_scores: Array, ood_scores: Array, positive: Positive) -> tuple[Array, Array]:
    """Scores of the positive and of the negative class, turned so that the positive ones should be larger."""
    if positive not in ("id", "ood"):
        raise unknown("positive class", str(positive), ("id", "ood"))
    return (ood_scores, id_scores) if positive == "ood" else (-id_scores, -ood_scores)


def at_least(scores: Array, thresholds: Array) -> NDArray[np.intp]:
    """How many scores reach each threshold, ties included."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")


def placements(id_scores: Array, ood_scores: Array) -> tuple[Array, Array]:
    """The share of OOD scores above each ID score, and of ID scores below each OOD score; ties half.

    Both have the AUROC as mean; they are the structural components of DeLong et al. (1988).
    """

    def share_below(scores: Array, others: Array) -> Array:
        others = np.sort(others)
        below, not_above = (np.searchsorted(others, scores, side=side) for side in ("left", "right"))
        return (below + not_above) / (2 * len(others))

    return 1 - share_below(id_scores, ood_scores), share_below(ood_scores, id_scores)


def recall_rank(tpr: float, n: int) -> int:
    """The smallest k with k / n >= tpr, free of the rounding in ``ceil(tpr * n)``.

    >>> recall_rank(0.07, 100), recall_rank(0.95, 20), recall_rank(0.95, 21)
    (7, 19, 20)
    """
    if not 0 < tpr <= 1:
        raise OutskirtsError(f"tpr is {tpr}; a true-positive rate must be above 0 and at most 1.")
    k = int(np.ceil(tpr * n))
    return k - 1 if (k - 1) / n >= tpr else k


def auroc(id_scores: Scores, ood_scores: Scores) -> float:
    """The probability that an OOD image scores above an ID image; ties count one half. O(N log N).

    Arguments:
        id_scores: [N].
        ood_scores: [M]; larger means more out-of-distribution.

    >>> auroc([0.0, 1.0], [1.0, 2.0])
    0.875
    """
    return float(placements(as_scores(id_scores), as_scores(ood_scores))[1].mean())


@check_arguments
def aupr(id_scores: Scores, ood_scores: Scores, positive: Positive = "id", rule: Rule = "trapezoid") -> float:
    """The area under the precision-recall curve.

    Arguments:
        id_scores: [N].
        ood_scores: [M]; larger means more out-of-distribution.
        positive: The class to be retrieved; ``"id"`` is the field's AUPR-IN, ``"ood"`` its AUPR-OUT.
        rule: ``"trapezoid"`` joins the points of the curve by lines, as OpenOOD and most papers do, which is
            optimistic; ``"step"`` is the average precision.

    References:
        | The Relationship Between Precision-Recall and ROC Curves (Davis and Goadrich, 2006)
        | https://doi.org/10.1145/1143844.1143874
    """
    if rule not in ("trapezoid", "step"):
        raise unknown("rule of integration", str(rule), ("trapezoid", "step"))
    positives, negatives = oriented(as_scores(id_scores), as_scores(ood_scores), positive)
    thresholds = np.unique(np.concatenate([positives, negatives]))[::-1]
    hits, alarms = at_least(positives, thresholds), at_least(negatives, thresholds)
    recall = np.concatenate([[0.0], hits / len(positives)])
    precision = np.concatenate([[1.0], hits / (hits + alarms)])
    heights = precision[1:] if rule == "step" else (precision[1:] + precision[:-1]) / 2
    return float(np.sum(np.diff(recall) * heights))


@check_arguments
def fpr_at_tpr(
    id_scores: Scores,
    ood_scores: Scores,
    tpr: float = 0.95,
    positive: Positive = "id",
    point: Literal["first", "nearest"] = "first",
) -> float:
    """The false-positive rate at the first point of the ROC curve that reaches a true-positive rate.

    The field uses both conventions under one name; they are different numbers.

    Arguments:
        id_scores: [N].
        ood_scores: [M]; larger means more out-of-distribution.
        tpr: The true-positive rate to reach, in (0, 1].
        positive: ``"id"`` gives the share of OOD images accepted when `tpr` of the ID images are (most
            papers, OpenOOD 1.0); ``"ood"`` the share of ID images rejected when `tpr` of the OOD images are
            (OpenOOD 1.5). A score tied with the threshold counts as positive.
        point: ``"nearest"`` takes the point whose true-positive rate is nearest to `tpr`, of equally near ones that
            with the largest false-positive rate, as the code of CIDER, NPOS and VOS does. It can lie on either side.

    >>> fpr_at_tpr([0.0, 1.0, 2.0], [2.0, 3.0]), fpr_at_tpr([0.0, 1.0, 2.0], [2.0, 3.0], positive="ood")
    (0.5, 0.3333333333333333)
    """
    positives, negatives = oriented(as_scores(id_scores), as_scores(ood_scores), positive)
    if point == "nearest":
        thresholds = np.unique(np.concatenate([positives, negatives]))
        thresholds = thresholds[thresholds >= positives.min()]
        # Ascending, so that of equally near points the first has the largest false-positive rate.
        threshold = thresholds[np.abs(at_least(positives, thresholds) / len(positives) - tpr).argmin()]
    elif point == "first":
        threshold = np.sort(positives)[-recall_rank(tpr, len(positives))]
    else:
        raise unknown("point of the ROC curve", str(point), ("first", "nearest"))
    return float(np.mean(negatives >= threshold))
