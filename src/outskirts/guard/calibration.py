"""Calibration scores, of all classes together or of each predicted class, and the thresholds that they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import OutskirtsError
from ..texts import counted, listed
from .threshold import Promise, images_needed, p_values, promise

__all__ = ["Calibration"]


@dataclass(frozen=True)
class Calibration:
    """Scores of images that nothing was fitted or chosen on.

    Arguments:
        scores: Scores [n] of each group, float64, in increasing order.
        promises: Promise of each group's threshold.
        group_of: Group of each predicted class, int64 [C]; None where all images are one group.
        pooled: Names of the classes that share a group: those with too few images for one of their own, and others that
            make up the number.
    """

    scores: tuple[Tensor, ...]
    promises: tuple[Promise, ...]
    group_of: Tensor | None = None
    pooled: tuple[str, ...] = ()

    @classmethod
    def of(cls, scores: Tensor, acceptance: float, confidence: float | None = None) -> Self:
        """One threshold for all images.

        Arguments:
            scores: Scores [n] of calibration images; larger means more out-of-distribution.
            acceptance: Share of new in-distribution images that is to be accepted.
            confidence: Probability over calibrations that it is; None for that share on average.

        Raises:
            OutskirtsError: If the scores are too few, or a share is 0 or 1 or beyond.
        """
        return cls((_sorted(scores),), (promise(len(scores), acceptance, confidence),))

    @classmethod
    def per_class(
        cls,
        scores: Tensor,
        predicted: Tensor,
        classes: Sequence[str],
        acceptance: float,
        confidence: float | None = None,
    ) -> Self:
        """A threshold for each predicted class, so that each class is accepted as often as the others.

        Classes of which too few images are predicted share one threshold. If they are too few together, too, the class
        with the fewest of the others joins them.

        Arguments:
            scores: Scores [n] of calibration images.
            predicted: Class that is predicted for each, [n].
            classes: Names of the C classes.
            acceptance: Share of new in-distribution images, of each predicted class, that is to be accepted.
            confidence: Probability over calibrations that it is; None for that share on average.

        Raises:
            OutskirtsError: If there are too few scores for one threshold.
        """
        promise(len(scores), acceptance, confidence)  # Refuses what not even all of them allow.
        needed = images_needed(acceptance, confidence)
        counts = torch.bincount(predicted, minlength=len(classes))
        own = counts >= needed
        # The classes that share a threshold need enough images together.
        while not own.all() and counts[~own].sum() < needed:
            own[torch.where(own, counts, counts.sum() + 1).argmin()] = False
        groups = own.long().cumsum(0) - 1
        group_of = torch.where(own, groups, int(own.sum()))
        of = group_of[predicted]
        members = [scores[of == group] for group in range(int(group_of.max()) + 1)]
        return cls(
            tuple(map(_sorted, members)),
            tuple(promise(len(one), acceptance, confidence) for one in members),
            group_of,
            tuple(name for name, alone in zip(classes, own.tolist()) if not alone),
        )

    def again(self, scores: Tensor, predicted: Tensor | None, classes: Sequence[str]) -> Self:
        """A calibration on other scores that promises the same; arguments are those of `per_class`."""
        terms = self.promises[0].acceptance, self.promises[0].confidence
        if self.group_of is None:
            return type(self).of(scores, *terms)
        assert predicted is not None, "A threshold for each predicted class was calibrated with logits."
        return type(self).per_class(scores, predicted, classes, *terms)

    @property
    def thresholds(self) -> Tensor:
        """The largest score that is accepted of each group, float64 [G]."""
        return torch.stack([scores[kept.rank - 1] for scores, kept in zip(self.scores, self.promises)])

    @property
    def n(self) -> int:
        """Number of calibration images."""
        return sum(map(len, self.scores))

    def groups(self, predicted: Tensor | None, n: int) -> Tensor:
        """The group of each of n images, int64 [n].

        Arguments:
            predicted: Class that is predicted for each; needed where there is a threshold for each class.
            n: Number of images.
        """
        if self.group_of is None:
            return torch.zeros(n, dtype=torch.int64)
        if predicted is None:
            raise OutskirtsError("A threshold for each predicted class needs logits, which this classifier lacks.")
        return self.group_of[predicted]

    def p_values(self, scores: Tensor, predicted: Tensor | None = None) -> Tensor:
        """The p-value of each score [N], float64; a lookup takes log n steps.

        Arguments:
            scores: Scores [N].
            predicted: Class that is predicted for each, [N].
        """
        groups = self.groups(predicted, len(scores))
        values = torch.empty(len(scores), dtype=torch.float64)
        for group in groups.unique().tolist():
            rows = groups == group
            values[rows] = p_values(self.scores[group], scores[rows])
        return values

    def accepted(self, scores: Tensor, predicted: Tensor | None = None) -> Tensor:
        """Whether each score is at most its threshold, bool [N]; a score that is no number is not."""
        return scores.double() <= self.thresholds[self.groups(predicted, len(scores))]

    def sentences(self) -> list[str]:
        """What is promised, and what is not."""
        smallest = min(self.promises, key=lambda kept: kept.n)
        said = [str(smallest)]
        if self.group_of is not None:
            groups = counted(len(self.promises), "group")
            said.insert(0, f"The promise is made for each predicted class, in {groups}; this is that of the smallest:")
        if self.pooled:
            said.append(
                "These predicted classes share a threshold, as there are too few calibration images for one of their "
                f"own, or to make up the number: {listed(self.pooled)}. What is promised is for them together, not for "
                "each. It is approximate, as the same images tell which classes these are."
            )
        return [*said, *_NOT_PROMISED]

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """What a person reads of it; the scores are in a file of tensors.

        Arguments:
            classes: Names of the classes.
        """
        of_classes: list[list[str]] = [[] for _ in self.promises]
        if self.group_of is not None:
            for name, group in zip(classes, self.group_of.tolist()):
                of_classes[group].append(name)
        return {
            "acceptance": self.promises[0].acceptance,
            "confidence": self.promises[0].confidence,
            "per_class": self.group_of is not None,
            "groups": [
                {
                    "n": kept.n,
                    "rank": kept.rank,
                    "alpha": kept.alpha,
                    # JSON has no infinity.
                    "threshold": threshold if isfinite(threshold) else None,
                    "expected": kept.expected,
                    "range": list(kept.range),
                    **({"classes": names} if names else {}),
                }
                for kept, threshold, names in zip(self.promises, self.thresholds.tolist(), of_classes)
            ],
            "pooled": list(self.pooled),
            "promise": self.sentences(),
        }

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` takes."""
        known = {} if self.group_of is None else {"group_of": self.group_of}
        return {"scores": torch.cat(self.scores), "counts": torch.tensor([len(one) for one in self.scores]), **known}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Self:
        """From what `tensors` and `to_json` returned."""
        scores = tensors["scores"].split(tensors["counts"].tolist())
        promises = tuple(
            Promise(group["n"], group["rank"], about["acceptance"], about["confidence"]) for group in about["groups"]
        )
        return cls(scores, promises, tensors.get("group_of"), tuple(about["pooled"]))


#: What no calibration can promise.
_NOT_PROMISED = (
    "How many out-of-distribution images are accepted cannot be promised: in-distribution images alone do not tell.",
    "Nothing is promised for images that differ from the calibration images, such as those of another camera.",
)


def _sorted(scores: Tensor) -> Tensor:
    scores = scores.double()
    if scores.isnan().any():
        raise OutskirtsError(f"{int(scores.isnan().sum())} of {len(scores)} calibration scores are no numbers.")
    return scores.sort().values
