"""The calibration of a guard as a part of a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..calibration import Calibration

__all__ = ["Thresholds"]


class Thresholds(nn.Module):
    """p-values and verdicts of scores, as `Calibration` gives them.

    It compares each score with all calibration scores, where `Calibration` looks it up: no standard operation of a
    graph does that.

    Arguments:
        calibration: Calibration of the guard.
    """

    known: Tensor
    members: Tensor
    counts: Tensor
    limits: Tensor
    group_of: Tensor

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        counts = torch.tensor([len(scores) for scores in calibration.scores])
        self.register_buffer("known", torch.cat(calibration.scores))
        self.register_buffer("members", torch.arange(len(counts)).repeat_interleave(counts))
        self.register_buffer("counts", counts)
        self.register_buffer("limits", calibration.thresholds)
        self.register_buffer("group_of", calibration.group_of)

    def forward(self, scores: Tensor, predicted: Tensor | None) -> tuple[Tensor, Tensor]:
        """The p-values [B], float64, and which images are accepted, bool [B].

        Arguments:
            scores: Scores [B], float64.
            predicted: Class that is predicted for each, [B]; None where the classifier gives no logits.
        """
        at_least = self.known >= scores[:, None]
        if self.group_of is None:
            return (1 + at_least.sum(1)) / (self.counts[0] + 1).double(), scores <= self.limits[0]
        assert predicted is not None, "A threshold for each predicted class was calibrated with logits."
        groups = self.group_of[predicted]
        at_least = at_least & (self.members == groups[:, None])
        return (1 + at_least.sum(1)) / (self.counts[groups] + 1).double(), scores <= self.limits[groups]
