"""Neural relation graph.

References:
    | Neural Relation Graph: A Unified Framework for Identifying Label Noise and Outlier Data (Kim et al., 2023)
    | https://arxiv.org/abs/2301.12321
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..bounds import NonNegative, Positive
from ..extraction.blocks import BUDGET, in_blocks, split
from ..extraction.outputs import Outputs
from .base import Detector, choices, register
from .common.derived import unit
from .common.inputs import training_rows

__all__ = ["Relation", "relation"]


def relation(
    features: Tensor, probabilities: Tensor, bank: Tensor, of_bank: Tensor, power: float, least: float
) -> Tensor:
    r"""The sum over the bank of :math:`k^{power}`, with the relation :math:`k = \max(0, \cos(f, f_j)) \, p \cdot p_j`
    where it is above `least`.

    Arguments:
        features: Features of unit length, [N, D].
        probabilities: [N, C].
        bank: Training features of unit length, [M, D].
        of_bank: Probabilities of the training features, [M, C].
        power: The exponent.
        least: Weaker relations do not count.

    Returns:
        [N].
    """
    part = max(1, min(len(bank), BUDGET // (8 * bank.shape[1])))
    rows = max(1, BUDGET // (8 * part))
    totals: Tensor | float = 0.0
    for some, of_some in zip(bank.split(part), of_bank.split(part)):
        some = some.float()
        sums = []
        for f, p in zip(split(features, rows), split(probabilities, rows)):
            kernel = (f.float() @ some.T).mul_(p @ of_some.T)
            kernel = kernel.where(kernel > least, 0.0)
            sums.append((kernel if power == 1 else kernel**power).sum(1))
        totals = totals + torch.cat(sums)
    assert isinstance(totals, Tensor), "the bank has a row"
    return totals


@register("relation")
class Relation(Detector):
    """The sum of relations to all training images: images alike in their features and in their predictions.

    Arguments:
        power: The exponent of a relation, above 0; published grid 1, 2, 4, 6, 8.
        least: Relations below this, at least 0, do not count; published as .03.
    """

    needs = frozenset({"features", "logits"})
    fit_on = "train"
    grid = choices(power=(1.0, 2.0, 4.0, 6.0, 8.0))
    bank: Tensor | None
    probabilities: Tensor | None

    def __init__(self, power: Positive = 1.0, least: NonNegative = 0.03) -> None:
        super().__init__()
        self.power = power
        self.least = least
        self.register_buffer("bank", None)
        self.register_buffer("probabilities", None)

    def fit(self, outputs: Outputs) -> Relation:
        training_rows(outputs, self.name)
        self.bank = unit(outputs, self.name)
        self.probabilities = _probabilities(outputs, self.name)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        bank, of_bank = self.require("bank"), self.require("probabilities")
        features = unit(outputs, self.name).to(bank.device)
        probabilities = _probabilities(outputs, self.name).to(of_bank)
        return -relation(features, probabilities, bank, of_bank, self.power, self.least)


def _probabilities(outputs: Outputs, who: str) -> Tensor:
    return in_blocks(lambda rows: rows.double().softmax(1).float(), outputs.need("logits", who))
