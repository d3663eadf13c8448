"""What the training loop asks of anything it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from .data.loading.batches import Batch

__all__ = ["Trainable"]


class Trainable(nn.Module, ABC):
    """Something that learns from batches of images: one step at a time, with no loop of its own.

    Whatever it learns or remembers lives in parameters and buffers, so that the loop can checkpoint it, move it
    and run it on several devices.
    """

    @property
    def views(self) -> int:
        """How many differently augmented copies of each image a step takes."""
        return 1

    @property
    def needs_outlier_images(self) -> bool:
        """Whether a step takes images of outliers from disk, `outskirts.data.loading.batches.Batch.outliers`."""
        return False

    @property
    def has_unused_parameters(self) -> bool:
        """Whether some steps leave parameters out that others train; several processes must know."""
        return False

    @property
    def network(self) -> nn.Module:
        """The part that a step spends its time in, for `torch.compile`."""
        return self

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The ``loss`` to minimise on one batch, and any other scalars worth recording."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.step(batch)

    def prepare(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Called once, before the first step, for what must be known of the training set as a whole.

        Arguments:
            images: Every training image once, un-augmented, in blocks of normalised images [B, C, H, W] and
                labels [B]. Forwarded only if it is iterated.
        """

    def lr_factor(self, parameter: str) -> float:
        """What to multiply the learning rate by for the parameter of this name."""
        return 1.0

    def warning(self, means: Mapping[str, float]) -> str:
        """What a user should know of the training's course and what would help, given the averages of the latest
        scalars; empty if all is well.
        """
        return ""

    @property
    def published_warmup(self) -> bool:
        """Whether the schedule ``epoch-cosine`` warms up as in CIDER's code, below zero at first."""
        return False
