"""The logits among whatever a network returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import OutskirtsError, unknown

__all__ = ["Answer", "entries", "find_answer", "require_finite"]

#: What libraries and users call logits.
_LOGITS = ("logits", "out", "output", "pred", "predictions")


class Answer(nn.Module):
    """A network that returns one tensor of all that another one returns.

    Arguments:
        model: Returns a tuple, a mapping, or an object such as those of the library transformers.
        entry: Name of the tensor, or its place in a tuple.
    """

    def __init__(self, model: nn.Module, entry: str) -> None:
        super().__init__()
        self.model = model
        self.entry = entry

    def forward(self, images: Tensor) -> Tensor:
        return entries(self.model(images))[self.entry]


def entries(returned: Any) -> dict[str, Tensor]:
    """The tensors in what a network returned, by name, or by place where they have none.

    >>> list(entries((Tensor(2, 3), {"more": 1})))
    ['0']
    """
    if isinstance(returned, Mapping):
        named = dict(returned)
    elif hasattr(returned, "_asdict"):
        named = returned._asdict()
    elif isinstance(returned, tuple | list):
        named = {str(place): value for place, value in enumerate(returned)}
    else:
        named = dict(getattr(returned, "__dict__", {}))
    return {str(name): value for name, value in named.items() if isinstance(value, Tensor)}


def require_finite(made: Tensor, images: Tensor, kind: str) -> None:
    """Raise if a network gives NaN or infinity.

    Arguments:
        made: What it made of some images of noise, of any shape.
        images: These images, [B, C, H, W].
        kind: What the network is called, for the message.
    """
    if not bool(made.isfinite().all()):
        raise OutskirtsError(
            f"{kind} gives NaN or infinity for images of shape {tuple(images.shape[1:])}. They may be too small for "
            "it, or its weights are damaged; choose another size, or other weights."
        )


def find_answer(returned: Any, entry: str | None, kind: str) -> str | None:
    """The name of the logits in what a network returned; None where it returned them alone.

    Arguments:
        returned: What the network made of a batch of images.
        entry: The name, if it is known.
        kind: What the network is called, for the message.

    Raises:
        OutskirtsError: If it cannot be told which of several tensors the logits are.
    """
    if isinstance(returned, Tensor):
        if entry is not None:
            raise OutskirtsError(f"{kind} returns one tensor, which has no name; leave out output={entry}.")
        return None
    named = entries(returned)
    if entry is not None:
        if entry not in named:
            raise unknown("tensor", entry, named, f"in what {kind} returns")
        return entry
    flat = [name for name, value in named.items() if value.ndim == 2]
    for name in (*(name for name in _LOGITS if name in flat), *(flat if len(flat) == 1 else ())):
        return name
    shapes = ", ".join(f"{name} of shape {tuple(value.shape)}" for name, value in named.items())
    raise OutskirtsError(
        f"{kind} returns {type(returned).__name__}, and which of its tensors has the logits [batch, classes] cannot be "
        f"told; pass output=NAME with one of: {shapes}."
        if named
        else f"{kind} returns {type(returned).__name__} without a tensor; a classifier returns logits [batch, classes]."
    )
