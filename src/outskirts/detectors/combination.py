"""Several detectors as one.

References:
    | Statistical Methods for Research Workers (Fisher, 1925): the combination of p-values
    |
    | Testing for Outliers with Conformal p-values (Bates et al., 2023)
    | https://arxiv.org/abs/2104.08279
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import OutskirtsError
from ..extraction.outputs import Outputs
from .base import Detector, create, register
from .common.members import fit_members

__all__ = ["Combination", "conformal_p"]


def conformal_p(scores: Tensor, known: Tensor) -> Tensor:
    """The share of known in-distribution scores, and of the score itself, that are at least as large, [N].

    Arguments:
        scores: [N].
        known: In ascending order, [M].
    """
    below = torch.searchsorted(known, scores.contiguous())
    return (1 + len(known) - below).double() / (1 + len(known))


@register("combination")
class Combination(Detector):
    r"""The scores of several detectors together, in terms of what they give validation images.

    ``sum`` is the mean of scores in units of their standard deviation, about their mean. ``fisher`` is
    :math:`-2 \sum_i \log p_i` with their conformal p-values, which are all alike beyond the largest validation score.

    Arguments:
        detectors: Names or texts such as ``knn:k=10``.
        rule: How they are combined.
    """

    fit_on = "train"
    calibrates = True
    known: Tensor | None

    def __init__(self, detectors: Sequence[str] = ("energy", "knn"), rule: Literal["sum", "fisher"] = "sum") -> None:
        super().__init__()
        if len(detectors) < 2 or isinstance(detectors, str):
            raise OutskirtsError("A combination needs two detectors or more: combination:detectors=[energy,knn].")
        self.detectors, self.rule = list(detectors), rule
        self.members = nn.ModuleList(create(one) for one in detectors)
        self.needs = frozenset().union(*(one.needs for one in self._all()))
        self.probes = tuple(dict.fromkeys(probe for one in self._all() for probe in one.probes))
        self.register_buffer("known", None)

    @property
    def fits_probes(self) -> bool:  # type: ignore[override]
        """Whether any member's score needs them: all are calibrated."""
        return bool(self.probes)

    @property
    def level_matters(self) -> str | None:
        """What the first member says that has a reason."""
        return next(filter(None, (one.level_matters for one in self._all())), None)

    def _all(self) -> list[Detector]:
        return [member for member in self.members if isinstance(member, Detector)]

    def fit(self, outputs: Outputs, val: Outputs | None = None) -> Combination:
        """Fit the members and calibrate them.

        Arguments:
            outputs: Outputs of the training images.
            val: Outputs of the validation images. Without them, training images have to do, which some detectors
                remember.
        """
        val = fit_members(self._all(), outputs, val, self.name)
        self.known = torch.stack([member.score(val).double() for member in self._all()]).sort(dim=1).values
        return self

    def score(self, outputs: Outputs) -> Tensor:
        combined = []
        for member, known in zip(self._all(), self.require("known")):
            scores = member.score(outputs).to(known)
            if self.rule == "fisher":
                combined.append(-2 * conformal_p(scores, known).log())
            else:
                spread = known.std(correction=0).clamp_min(1e-12)
                combined.append((scores - known.mean()) / spread / len(self.members))
        return torch.stack(combined).sum(0)
