"""Where the head of a network begins, kept so that the network is built again without looking for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .classifier import Backbone
from .heads import LinearHead

__all__ = ["UNKNOWN", "Seam", "blank", "cut"]


class Seam(NamedTuple):
    """What is known of where a network ends and its head begins.

    Arguments:
        side: Side of the images by which the head is found, in pixels; that of the images it takes unless given.
            Smaller ones are quicker, for networks that take images of any size.
        head: Dotted name of a linear layer that is the head, of a network that gives the features without it. No image
            is looked at then.
    """

    side: int | None = None
    head: str | None = None


UNKNOWN = Seam()


def cut(model: nn.Module, path: str, name: str) -> tuple[Backbone, LinearHead]:
    """The network without a linear layer, and this layer.

    Arguments:
        model: A classifier; changed in place.
        path: Dotted name of the layer.
        name: What to call the architecture.
    """
    layer = model.get_submodule(path)
    assert isinstance(layer, nn.Linear)
    model.set_submodule(path, nn.Identity())
    return Backbone(model, layer.in_features, name, cut=path), LinearHead(layer)


@contextmanager
def blank(known: bool, filled: bool) -> Iterator[None]:
    """A block in which new networks draw no random weights, if theirs are known: those stand for them later.

    Arguments:
        known: Whether they are.
        filled: Fill them with NaN meanwhile, by which those are found that get none. Otherwise they are what is there.
    """
    if not known:
        yield
        return
    with _Undrawn(filled):
        yield


class _Undrawn(TorchFunctionMode):
    """Spares random numbers."""

    def __init__(self, filled: bool) -> None:
        super().__init__()
        self.filled = filled

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if self.filled:
                tensor.detach().fill_(torch.nan)
            return tensor
        return func(*args, **(kwargs or {}))


_DRAWS = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)
