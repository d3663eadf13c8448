"""Energy guided by nearest neighbours.

References:
    | Nearest Neighbor Guidance for Out-of-Distribution Detection (Park et al., 2023)
    | https://arxiv.org/abs/2309.14888
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..bounds import Count, Some
from ..errors import OutskirtsError
from ..extraction.blocks import BUDGET, split
from ..extraction.outputs import Outputs
from ..neighbours.exact import smallest
from ..seeding import generator
from .base import Detector, register
from .common.derived import unit
from .common.inputs import training_rows
from .common.level import PUBLISHED, Level, at_level, require_above_zero
from .energy import energy

__all__ = ["NNGuide"]


@register("nnguide")
class NNGuide(Detector):
    """Free energy times the mean of the largest cosines to training features that are as long as their own energies.

    Arguments:
        k: How many of the largest, at least 1; published as 100.
        fraction: Share of the training images that are compared, above 0 and at most 1, but at least k; published as
            .01. They are drawn at random: published code takes the first, which are of one class where images are
            sorted.
        level: ``centered`` takes the mean of an image's logits from them; ``published`` takes them as they are, so that
            a constant added to all logits, which no softmax sees, changes which images score the most.
    """

    needs = frozenset({"features", "logits"})
    fit_on = "train"
    bank: Tensor | None

    def __init__(self, k: Count = 100, fraction: Some = 0.01, level: Level = "centered") -> None:
        super().__init__()
        self.k = k
        self.fraction = fraction
        self.level = level
        self.register_buffer("bank", None)

    @property
    def level_matters(self) -> str | None:
        """Why a constant changes the published form."""
        return PUBLISHED if self.level == "published" else None

    def fit(self, outputs: Outputs) -> NNGuide:
        features = training_rows(outputs, self.name)
        if len(features) < self.k:
            raise OutskirtsError(
                f"The detector '{self.name}' looks for {self.k} neighbours among {len(features)} training images; "
                f"choose k of at most {len(features)}."
            )
        count = max(self.k, round(self.fraction * len(features)))
        chosen = torch.randperm(len(features), generator=generator(0, "nnguide"))[:count].to(features.device)
        lengths = -self._energy(outputs[chosen])
        require_above_zero(lengths.mean(), "the mean of the negative energies", self.name)
        self.bank = unit(outputs, self.name)[chosen] * lengths[:, None].float()
        return self

    def score(self, outputs: Outputs) -> Tensor:
        bank = self.require("bank")
        guidance = [
            -smallest(rows.to(bank) @ -bank.T, self.k).mean(1)
            for rows in split(unit(outputs, self.name).to(bank.device), max(1, BUDGET // (4 * len(bank))))
        ]
        return self._energy(outputs) * torch.cat(guidance).double()

    def _energy(self, outputs: Outputs) -> Tensor:
        return at_level(outputs, self.level, self.name, energy)
