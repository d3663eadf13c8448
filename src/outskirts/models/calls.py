"""What a network made of one batch, and each of its modules."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from torch import Tensor, nn

__all__ = ["Call", "Seen", "look"]


class Call(NamedTuple):
    """One call of a module.

    Arguments:
        path: Dotted name of the module; empty for the network itself.
        module: The module.
        given: The first argument.
        made: What it returned.
    """

    path: str
    module: nn.Module
    given: Tensor
    made: Tensor

    @property
    def learned(self) -> bool:
        """Whether the module has weights."""
        return next(self.module.parameters(), None) is not None

    @property
    def whole(self) -> bool:
        """Whether the module has no parts."""
        return next(self.module.children(), None) is None


class Seen(NamedTuple):
    """A network, in evaluation mode, and what it made of a batch.

    Arguments:
        model: The network.
        kind: What it is called, for messages.
        images: [B, C, H, W].
        logits: [B, classes].
        calls: In the order in which they end: a part before the whole that it is in. Modules that are called more than
            once are left out.
    """

    model: nn.Module
    kind: str
    images: Tensor
    logits: Tensor
    calls: list[Call]
    last: str


def look(model: nn.Module, images: Tensor, kind: str) -> Seen:
    """Send a batch through a network that returns one tensor, and watch."""
    calls: list[Call] = []
    times: Counter[nn.Module] = Counter()

    def note(path: str, module: nn.Module, given: tuple[object, ...], made: object) -> None:
        times[module] += 1
        if given and isinstance(given[0], Tensor) and isinstance(made, Tensor):
            # A layer in place, such as ReLU(inplace=True), changes what the one before it made. Maps are large, and
            # never taken for logits.
            rows = made.ndim > 1 and made.numel() == made.shape[0] * made.shape[1]
            calls.append(Call(path, module, given[0], made.clone() if rows else made))

    handles = [
        module.register_forward_hook(lambda module, given, made, path=path: note(path, module, given, made))
        for path, module in model.named_modules()
    ]
    try:
        logits = model(images)
    finally:
        for handle in handles:
            handle.remove()
    last = next((call.path for call in reversed(calls) if call.learned and call.whole), "")
    return Seen(model, kind, images, logits, [call for call in calls if times[call.module] == 1], last)
