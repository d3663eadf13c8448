"""Whether code asks a device for what it computes, found out without that device.

On torch's device `meta`, tensors have shapes and no numbers. What runs there asks the device for nothing: it would be
refused, as would boolean masks, `item`, `tolist` and the like, for all of which the host waits on a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..seeding import Shared

__all__ = ["META", "WithoutWaiting", "pretending", "refused_waits"]

META = torch.device("meta")


def pretending(device: torch.device) -> Shared:
    """A generator of the host's that says it is another device's."""
    return type("Pretending", (Shared,), {"device": device})()


class WithoutWaiting(TorchFunctionMode):
    """A block in which an `AssertionError` is raised for copies to a device that the host would wait for."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        made = function(*args, **kwargs)
        name = getattr(function, "__name__", "")
        if isinstance(made, Tensor) and made.device == META:
            copied = name in ("to", "copy_") and any(isinstance(a, Tensor) and a.device != META for a in args)
            if name in ("tensor", "new_tensor") or (copied and not kwargs.get("non_blocking")):
                raise AssertionError(f"'{name}' sends numbers to the device and waits until they are there")
        return made


@contextmanager
def refused_waits(device: torch.device, watching: bool = True) -> Iterator[Callable[[bool], None]]:
    """A block in which an `AssertionError` is raised where the host waits for CUDA; on other devices, nothing is.

    Arguments:
        device: Where the work is done.
        watching: Whether from the beginning on; what the block is given begins or ends it.
    """

    def watch(on: bool) -> None:
        if device.type == "cuda":
            with warnings.catch_warnings():  # Torch calls the mode a prototype.
                warnings.simplefilter("ignore")
                torch.cuda.set_sync_debug_mode("error" if on else "default")

    try:
        watch(watching)
        yield watch
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        raise AssertionError(f"The host waits for the device: {error}") from error
    finally:
        watch(False)
