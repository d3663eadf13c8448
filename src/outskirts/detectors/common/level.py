"""The level of logits: a constant added to all of them changes no softmax, so that training leaves it open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import Tensor

from ...errors import OutskirtsError
from ...extraction.blocks import in_blocks
from ...extraction.outputs import Outputs
from ...models.heads import Head

__all__ = ["PUBLISHED", "Level", "at_level", "head_at_level", "require_above_zero"]

#: Logits whose mean is taken from them, image by image, or logits as they are.
Level: TypeAlias = Literal["centered", "published"]

#: Why a constant changes the scores of a published form.
PUBLISHED = "the published form takes logits and biases as they are; level=centered takes their mean from them"


def at_level(outputs: Outputs, level: Level, who: str, score: Callable[[Tensor], Tensor]) -> Tensor:
    """A score [N] of the logits [N, C], which are float64 and of this level.

    Raises:
        OutskirtsError: If there is only one class, of which nothing is left without the mean.
    """
    logits = outputs.need("logits", who)
    if level == "published":
        return in_blocks(lambda rows: score(rows.double()), logits)
    if logits.shape[1] == 1:
        raise OutskirtsError(
            f"The detector '{who}' takes their mean from the logits of an image, which leaves nothing of a single "
            f"class; choose {who}:level=published."
        )
    return in_blocks(lambda rows: score(rows.double() - rows.double().mean(1, keepdim=True)), logits)


def head_at_level(head: Head, level: Level) -> Head:
    """The head that makes logits of this level."""
    return head if level == "published" else Head(*(part - part.mean(0) for part in head))


def require_above_zero(value: Tensor, what: str, who: str) -> None:
    """Raise unless a number that the published form needs above zero is: it is not where all logits are low."""
    if not value > 0:
        raise OutskirtsError(
            f"The detector '{who}' with level=published needs {what} above 0, but on these training images it is "
            f"{float(value):.3g}: all logits are low. No softmax depends on that; choose {who}:level=centered."
        )
