"""Features without their first singular direction.

References:
    | RankFeat: Rank-1 Feature Removal for Out-of-distribution Detection (Song, Sebe and Wang, 2022)
    | https://arxiv.org/abs/2209.08590
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..extraction.outputs import Outputs
from ..models.stages import find_stages, hooked, stage
from .base import Detector, register
from .common.shaping import logit_scorer

__all__ = ["RankFeat", "RankReducedLogits", "without_first"]


def without_first(maps: Tensor) -> Tensor:
    """Each image's map, as a matrix [C, H·W], less its first singular component.

    Arguments:
        maps: [B, C, H, W].
    """
    matrices = maps.flatten(2).float()
    wide = matrices.shape[1] > matrices.shape[2]
    # Of the two sides, the eigenvectors of the shorter are the cheaper.
    gram = matrices.mT @ matrices if wide else matrices @ matrices.mT
    first = torch.linalg.eigh(gram).eigenvectors[..., -1:]
    part = (matrices @ first) @ first.mT if wide else first @ (first.mT @ matrices)
    return (matrices - part).view_as(maps).to(maps.dtype)


@dataclass(frozen=True)
class RankReducedLogits:
    """A probe: the mean of the logits [B, C] with the maps of one of some stages reduced.

    Arguments:
        stages: Which, each for a pass of its own, counted from the last, which is -1.
    """

    stages: tuple[int, ...]
    cost: ClassVar[str] = "two passes"

    @property
    def key(self) -> str:
        """Names the tensor in the outputs."""
        return "rank-reduced" + "".join(map(str, self.stages))

    def __call__(self, classifier: Any, images: Tensor) -> Tensor:
        logits, known = [], find_stages(classifier.backbone, images)
        with torch.no_grad():
            for place in self.stages:
                with hooked(classifier.backbone, {stage(known, place): [without_first]}):
                    logits.append(classifier(images))
        return torch.stack(logits).mean(0)


@register("rankfeat")
class RankFeat(Detector):
    """The score of logits without the first singular component of the last maps, averaged with those of the maps of the
    stage before.

    Costs two more passes over an image.

    Arguments:
        scorer: The detector that scores the logits; the free energy, as published.
    """

    needs = frozenset()

    def __init__(self, scorer: str = "energy") -> None:
        super().__init__()
        self.scorer = scorer
        self._scorer = logit_scorer(scorer, self.name)
        self.probes = (RankReducedLogits((-1, -2)),)

    @property
    def level_matters(self) -> str | None:
        """What the scorer says."""
        return self._scorer.level_matters

    def score(self, outputs: Outputs) -> Tensor:
        logits = outputs.need(self.probes[0].key, self.name)
        return self._scorer.score(Outputs(logits, logits))
