"""Shaping: features or the head are changed, and the logits that then come out are scored."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import OutskirtsError
from ...extraction.blocks import in_blocks
from ...extraction.outputs import Outputs
from ..base import Detector, create, registry
from .inputs import linear_head

__all__ = ["ShapingDetector", "kept_count", "logit_scorer", "scaling"]


def kept_count(dimension: int, percentile: float) -> int:
    """How many of the largest activations are kept when a percentile of them is not, at least one.

    Arguments:
        dimension: D.
        percentile: Share that is not kept, in [0, 100].

    >>> kept_count(5, 60)
    2
    """
    return max(1, dimension - round(dimension * percentile / 100))


def scaling(whole: Tensor, kept: Tensor) -> Tensor:
    """The factor exp(whole / kept) of ASH-S and SCALE, which is 1 for an image without any activation.

    Arguments:
        whole: Sum of all activations of each image, [B, 1].
        kept: Sum of the largest of them, [B, 1].
    """
    # Features of a head that standardises its input, or of a user's own, need not be positive.
    return torch.where(kept > 0, whole / kept, 0.0).exp()


def logit_scorer(name: str, who: str) -> Detector:
    """The detector of this name, if it needs nothing but logits and learns nothing."""

    def able(part: type[Detector]) -> bool:
        return part.needs == {"logits"} and part.fit_on is None

    if not able(registry[name]):
        others = ", ".join(other for other in registry.names() if able(registry[other]))
        raise OutskirtsError(
            f"The detector '{name}' needs more than logits, so '{who}' cannot use it; choose one of {others}."
        )
    return create(name)


class ShapingDetector(Detector):
    """The score of the logits of changed features, or by a changed head; subclasses say how these are changed.

    Arguments:
        scorer: The detector that scores the logits: any that needs nothing else and learns nothing.
    """

    needs = frozenset({"features", "head"})

    def __init__(self, scorer: str = "energy") -> None:
        super().__init__()
        self.scorer = scorer
        self._scorer = logit_scorer(scorer, self.name)

    @property
    def level_matters(self) -> str | None:
        """What the scorer says."""
        return self._scorer.level_matters

    def shape(self, features: Tensor) -> Tensor:
        """The changed features [B, D] of features [B, D], float64."""
        return features

    def sparsify(self, weight: Tensor, outputs: Outputs) -> Tensor:
        """The changed weight [C, D] of that of the head of these outputs, float64."""
        return weight

    def score(self, outputs: Outputs) -> Tensor:
        weight, bias = linear_head(outputs, self.name)
        weight = self.sparsify(weight, outputs)
        logits = in_blocks(lambda rows: torch.addmm(bias, self.shape(rows.to(weight)), weight.T), outputs.features)
        return self._scorer.score(Outputs(outputs.features, logits))
