"""State dicts from elsewhere: read without running anything that is in them, and compared name by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import OutskirtsError, cause, reason
from ..files import is_file, reading

__all__ = ["read_checkpoint", "read_state", "require_fit"]


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a file of tensors holds: a state dict, or a mapping of several and of plain numbers and texts."""
    if not is_file(path):
        raise OutskirtsError(f"The weights {path} do not exist.")
    try:
        with reading(path):
            if path.suffix == ".safetensors":
                return load_file(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OutskirtsError:
        raise
    except Exception as error:  # What is no pickle makes the reader fail in any way.
        other = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it holds {other[1]}" if other else reason(error)
        raise OutskirtsError(
            f"{path} is not a state dict that can be read safely ({why}); save the weights alone: "
            "torch.save(model.state_dict(), FILE)."
        ) from cause(error)
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise OutskirtsError(f"{path} is not a state dict: it does not hold named tensors only.")
    return content


def read_state(path: Path) -> Mapping[str, Tensor]:
    """A state dict, be it the whole file or its part of that name."""
    checkpoint = read_checkpoint(path)
    state = checkpoint.get("state_dict", checkpoint)
    named = isinstance(state, Mapping) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise OutskirtsError(f"{path} is not a state dict: it does not hold named tensors only.")
    return state


def require_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], whose: str, left: Collection[str] = ()) -> None:
    """Raise unless a state dict has what a network has, and nothing else.

    Arguments:
        own: Tensors of the network, by name.
        state: State dict to load into it.
        whose: Begins the error, such as "The weights FILE do not fit the backbone".
        left: What is left over besides.
    """
    # Files of early versions of torch lack this counter, which does not change what a network computes.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [
        *(f"{key} is missing" for key in missing),
        *(f"{key} is left over" for key in (*left, *(key for key in state if key not in own))),
        *(
            f"{key} has shape {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ),
    ]
    if wrong:
        shown = "; ".join(wrong[:8]) + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise OutskirtsError(f"{whose}: {shown}.")
