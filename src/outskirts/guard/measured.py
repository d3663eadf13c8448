"""What was measured of a guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from scipy.stats import betabinom
from torch import Tensor

from ..evaluation.exact import exact_interval
from ..evaluation.intervals import wilson_interval
from ..evaluation.reliability import Reliability
from ..evaluation.selective import RiskCoverage
from ..evaluation.set_groups import is_ood
from ..texts import listed
from .threshold import Promise

__all__ = ["Accepted", "Correct", "Measured", "Rejected", "Share"]

#: What the range of `Accepted` leaves out on either side.
_TAIL = 0.025


@dataclass(frozen=True)
class Share:
    """A share of images, with its 95 % interval.

    Arguments:
        count: Number of images that count.
        n: Number of images, at least 1.
        lo: Lower end of the interval.
        hi: Upper end of the interval.
    """

    count: int
    n: int
    lo: float
    hi: float

    @classmethod
    def exact(cls, which: Tensor) -> Self:
        """The share of images of which something holds, bool [N], with the exact interval."""
        return cls(int(which.sum()), len(which), *exact_interval(int(which.sum()), len(which)))

    @classmethod
    def wilson(cls, which: Tensor) -> Self:
        """The same with Wilson's interval."""
        return cls(int(which.sum()), len(which), *wilson_interval(int(which.sum()), len(which)))

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.n


@dataclass(frozen=True)
class Accepted:
    """How many in-distribution images a threshold accepts, beside what it promised.

    Arguments:
        share: Share of images that are accepted.
        promise: Promise of the threshold.
        classes: Predicted classes that it is for; none where it is for all.
    """

    share: Share
    promise: Promise
    classes: tuple[str, ...] = ()

    @property
    def range(self) -> tuple[float, float]:
        """The share of so many new images that is accepted lies in here with a probability of at least 95 %.

        It is that over calibrations and test images together, if all images are alike. The share that a calibration
        accepts follows a Beta distribution, so the number of test images follows a beta-binomial one.
        """
        below = self._law().cumsum()
        low, high = np.searchsorted(below, [_TAIL, 1 - _TAIL])
        return float(low / self.share.n), float(min(high, self.share.n) / self.share.n)

    @property
    def p_value(self) -> float:
        """The probability of a share at least as far from the promise, on either side, if all images are alike."""
        law = self._law()
        return float(min(1.0, 2 * min(law[: self.share.count + 1].sum(), law[self.share.count :].sum())))

    def _law(self) -> np.ndarray[Any, Any]:
        """The probability of each number of images accepted, [n + 1]."""
        n, kept = self.share.n, self.promise
        return betabinom.pmf(np.arange(n + 1), n, kept.rank, kept.n + 1 - kept.rank)


@dataclass(frozen=True)
class Rejected:
    """How many images of a set are rejected, and how well the score tells them from in-distribution images.

    Arguments:
        group: Group of the set, such as ``near``.
        name: Name of the set.
        share: Share of images that are rejected.
        auroc: AUROC of the score against the in-distribution test images.
        auroc_lo: Lower end of its 95 % interval.
        auroc_hi: Upper end of its 95 % interval.
    """

    group: str
    name: str
    share: Share
    auroc: float
    auroc_lo: float
    auroc_hi: float


@dataclass(frozen=True)
class Correct:
    """How often the classifier is right on labelled in-distribution images.

    Arguments:
        all: Share of all images on which it is right.
        accepted: Share of the accepted ones; None where there is none.
        rejected: Share of the rejected ones; None where there is none.
        curves: Risk-coverage curves by what images are ordered by: ``score`` or ``confidence``.
        aurc: Area under each of them; ``best`` is the smallest that is possible with as many errors.
        reliability: Confidence and accuracy of all images, and of the accepted ones, if there are any.
    """

    all: Share
    accepted: Share | None
    rejected: Share | None
    curves: Mapping[str, RiskCoverage]
    aurc: Mapping[str, float]
    reliability: Mapping[str, Reliability]


@dataclass(frozen=True)
class Measured:
    """What was measured of a guard; see `outskirts.guard.guard.Guard.measure`.

    Arguments:
        about: What was measured: classifier, detector, sets.
        accepted: Share of in-distribution test images that are accepted.
        thresholds: The same for each threshold, beside its promise.
        classes: The same for each predicted class.
        rejected: Share of the images of each other set that are rejected.
        correct: How often the classifier is right; None without labels or logits.
        notes: What a reader should know, in sentences.
        id_scores: Scores of the in-distribution test images, [N].
        ood_scores: Scores of the other sets, by name.
        lines: Thresholds, [G].
    """

    about: Mapping[str, Any]
    accepted: Share
    thresholds: tuple[Accepted, ...]
    classes: Mapping[str, Share]
    rejected: tuple[Rejected, ...]
    correct: Correct | None
    notes: tuple[str, ...]
    id_scores: Tensor = field(repr=False)
    ood_scores: Mapping[str, Tensor] = field(repr=False)
    lines: Tensor = field(repr=False)

    @property
    def as_promised(self) -> bool:
        """Whether no threshold accepts a share that its promise makes unlikely, at a level of 5 % for all together."""
        return all(one.p_value >= 0.05 / len(self.thresholds) for one in self.thresholds)

    def verdicts(self) -> list[str]:
        """What the acceptance of the test images says of the promise, and what of the others is rejected."""
        return [self.verdict(), *([self.rejections()] if self.of_others else [])]

    @property
    def of_others(self) -> tuple[Rejected, ...]:
        """The sets that the guard should reject: those of groups other than of changed ID images."""
        return tuple(one for one in self.rejected if is_ood(one.group))

    def rejections(self) -> str:
        """How many images of other sets are rejected, in a sentence or two."""
        inside = 1 - self.accepted.value
        most = 1 - self.accepted.lo
        shares = ", ".join(f"{one.share.value:.1%} of {one.name}" for one in self.of_others)
        missed = [one.name for one in self.of_others if one.share.lo <= most]
        said = f"Rejected: {inside:.1%} of the ID test images, {shares}."
        if not missed:
            return said
        return (
            f"{said} The guard does not reject {listed(missed)} much more often than ID images: another detector, or a "
            "better classifier, may."
        )

    def verdict(self) -> str:
        """What the acceptance of the test images says of the promise, in a sentence."""
        if self.as_promised:
            return "The share of ID test images that is accepted agrees with the promise."
        several = len(self.thresholds)
        off = min(self.thresholds, key=lambda one: one.p_value)
        more = off.share.value > off.promise.expected
        whose = f" of the threshold for {', '.join(off.classes[:3])}" if several > 1 else ""
        return (
            f"{'More' if more else 'Fewer'} ID test images are accepted than the promise{whose} allows for "
            f"(p = {off.p_value:.2g}{f', one of {several} tests' if several > 1 else ''}): the test images are not "
            "like the calibration images, or images among them are not independent."
        )
