"""Several runs as one classifier.

References:
    | Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles (Lakshminarayanan et al., 2017)
    | https://arxiv.org/abs/1612.01474
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import OutskirtsError
from ..extraction.outputs import Outputs
from .base import Detector, register

__all__ = ["Ensemble", "MemberLogits"]


@lru_cache(maxsize=8)
def _member(path: str) -> tuple[Any, str]:
    """The classifier of a run and the hash of its weights, which is asked for with every batch."""
    from ..training.loading import load

    classifier = load(path).eval()
    return classifier, classifier.fingerprint()


@dataclass(frozen=True)
class MemberLogits:
    """A probe: the logits [B, C] of another run.

    Arguments:
        path: Folder of the member's run.
    """

    path: str
    cost: ClassVar[str] = "a pass through each other run"

    @property
    def key(self) -> str:
        """Names the tensor in the outputs, by the other run's weights."""
        return f"member-{_member(self.path)[1][:16]}"

    def __call__(self, classifier: Any, images: Tensor) -> Tensor:
        member = _member(self.path)[0].to(images.device)
        own, others = classifier.transform, member.transform
        if member.classes != classifier.classes or replace(others, mean=own.mean, std=own.std) != own:
            raise OutskirtsError(
                f"The run {self.path} has other classes, or another transform, than the evaluated run; an "
                "ensemble needs runs that have the same."
            )
        # Each run has measured the mean and the deviation of its own training split.
        mean, std = (
            (images.new_tensor(ours).view(-1, 1, 1), images.new_tensor(theirs).view(-1, 1, 1))
            for ours, theirs in ((own.mean, others.mean), (own.std, others.std))
        )
        with torch.no_grad():
            return member((images * std[0] + mean[0] - mean[1]) / std[1]).float()


@register("ensemble")
class Ensemble(Detector):
    """Largest softmax probability, averaged over this run and others, which may differ by their seeds alone.

    Arguments:
        runs: The folders of the others.
    """

    def __init__(self, runs: Sequence[str] = ()) -> None:
        super().__init__()
        self.runs = [str(run) for run in ([runs] if isinstance(runs, str) else runs)]
        self.probes = tuple(MemberLogits(run) for run in self.runs)

    @property
    def lacks(self) -> str | None:
        """Other runs, unless they are named."""
        return None if self.runs else "needs other runs: ensemble:runs=[RUN,RUN]"

    def score(self, outputs: Outputs) -> Tensor:
        members = [outputs.need("logits", self.name), *(outputs.need(probe.key, self.name) for probe in self.probes)]
        log_p = torch.stack([logits.double().log_softmax(1) for logits in members]).logsumexp(0)
        return math.log(len(members)) - log_p.amax(1)
