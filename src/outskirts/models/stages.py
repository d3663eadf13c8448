"""The stages of any convolutional network: the last of its maps at each resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OutskirtsError

__all__ = ["find_stages", "hooked", "stage"]


def find_stages(network: nn.Module, images: Tensor) -> list[str]:
    """Names of the modules whose output is the last map [B, C, H, W] of its resolution, from first to last.

    Of ResNets these are the four layers, and what precedes the first pooling; of `FastNet` the stem and its blocks.

    Arguments:
        network: Maps images [B, C, H, W] to features; in evaluation mode.
        images: Any that it takes; one is enough.
    """
    seen: list[tuple[str, torch.Size]] = []
    # Nothing can be called inside of compiled ones.
    modules = {name: part for name, part in network.named_modules() if not isinstance(part, torch.jit.ScriptModule)}

    def note(name: str, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2:].numel() == 1:
            return
        # The keys of attention have four dimensions, too, but not the images' proportions.
        down, across = (whole / part for whole, part in zip(images.shape[2:], output.shape[2:]))
        if not 0.5 < down / across < 2:
            return
        inside = [entry for entry in seen if entry[0].startswith(f"{name}.")]
        # What a block computes on its way is no stage; but a whole network may be in one module.
        if not isinstance(modules[name], nn.Sequential) and len({size for _, size in inside}) <= 2:
            seen[:] = [entry for entry in seen if entry not in inside]
        seen.append((name, output.shape[2:]))

    with torch.no_grad(), hooked(network, {name: [note] for name in modules if name}, named=True):
        network(images[:1])
    return list({size: name for name, size in seen}.values())


def stage(known: Sequence[str], place: int) -> str:
    """The name of one of the stages of a network, counted from the last, which is -1.

    Raises:
        OutskirtsError: If there are not so many.
    """
    if -place > len(known):
        raise OutskirtsError(
            f"This network has {len(known)} stages of feature maps [B, C, H, W], but stage {place} is needed, "
            "counted from the end; choose another detector or network."
        )
    return known[place]


@contextmanager
def hooked(
    network: nn.Module, hooks: Mapping[str, Sequence[Callable[..., Tensor | None]]], named: bool = False
) -> Iterator[None]:
    """Call functions with the output of modules inside the block; what they return, if anything, takes its place.

    Arguments:
        network: The network.
        hooks: The functions, by the names of the modules.
        named: Whether to pass the name before the output.
    """
    modules = dict(network.named_modules())
    handles = []
    try:
        for name, functions in hooks.items():
            for function in functions:
                call = partial(function, name) if named else function
                handles.append(modules[name].register_forward_hook(lambda _m, _i, output, call=call: call(output)))
        yield
    finally:
        for handle in handles:
            handle.remove()
