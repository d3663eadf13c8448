"""What is known of each image besides its class."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

__all__ = ["Attribute"]


@dataclass(frozen=True)
class Attribute:
    """What is known of each image besides its class, such as the place that a bird is shown at.

    Arguments:
        name: What it is.
        values: The names of what it can be.
        index: Which of them it is for each image, int64 [N].
    """

    name: str
    values: tuple[str, ...]
    index: Tensor

    def of(self, chosen: Tensor) -> Attribute:
        """That of some images, by their positions or a mask."""
        return replace(self, index=self.index[chosen])
