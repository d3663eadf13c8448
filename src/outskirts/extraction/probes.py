"""What detectors ask of the feature maps inside a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..devices import full_precision
from ..models.stages import find_stages, hooked, stage

__all__ = ["StageProbe", "gathering"]


class Probe(Protocol):
    """Something a detector needs that features and logits do not tell, gathered in the same pass.

    Called as ``probe(classifier, images)`` with normalised images [B, C, H, W]; returns a tensor whose first
    axis is B and which depends on each image alone, never on the batch it is in.
    """

    @property
    def key(self) -> str:
        """Names the tensor in `Outputs.extra` and in the store; equal keys mean equal values."""
        ...

    @property
    def cost(self) -> str:
        """What it takes beside the one pass, in words."""
        ...

    def __call__(self, classifier: Any, images: Tensor) -> Tensor:
        """The tensor for one batch."""
        ...


class FeatureProbe(ABC):
    """A probe that gives features of the backbone, [B, D], which extraction maps as it maps those of the one pass."""

    @abstractmethod
    def __call__(self, classifier: Any, images: Tensor) -> Tensor:
        """The features for one batch."""


class HeadProbe(ABC):
    """A probe that only some heads can give."""

    @abstractmethod
    def given_by(self, head: nn.Module) -> bool:
        """Whether this head can."""

    @abstractmethod
    def __call__(self, classifier: Any, images: Tensor) -> Tensor:
        """The tensor for one batch."""


class StageProbe(ABC):
    """A probe that is computed from the maps of one stage, in the pass that gives features and logits.

    Its `stage` counts from the last, which is -1; see `outskirts.models.stages.find_stages`.
    """

    stage: int
    cost: ClassVar[str] = "maps of the same pass"

    @property
    @abstractmethod
    def key(self) -> str:
        """Names the tensor in the outputs."""

    @abstractmethod
    def reduce(self, maps: Tensor) -> Tensor:
        """The tensor [B, ...] of the maps [B, C, H, W], float32."""

    def __call__(self, classifier: Any, images: Tensor) -> Tensor:
        with torch.no_grad(), gathering(classifier, images, [self]) as reduced:
            classifier.features(images)
        return reduced[self.key]


@contextmanager
def gathering(
    classifier: Any, images: Tensor, probes: Sequence[StageProbe], stages: Sequence[str] | None = None
) -> Iterator[dict[str, Tensor]]:
    """Fill a dictionary with what the probes make of the maps of the one pass inside the block.

    Arguments:
        classifier: Whose backbone is watched.
        images: What it takes.
        probes: What to make of its maps.
        stages: What `find_stages` said of it, if that is known.
    """
    if probes and stages is None:
        stages = find_stages(classifier.backbone, images)
    reduced: dict[str, Tensor] = {}
    hooks: dict[str, list[Any]] = {}
    for probe in probes:
        # Reduced at once: a later layer may work in place.
        def reduce(maps: Tensor, probe: StageProbe = probe) -> None:
            with full_precision(maps):
                reduced[probe.key] = probe.reduce(maps.float())

        hooks.setdefault(stage(stages or (), probe.stage), []).append(reduce)
    with hooked(classifier.backbone, hooks):
        yield reduced
