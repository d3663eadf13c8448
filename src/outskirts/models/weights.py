"""State dicts from elsewhere: read without running anything that is in them, and compared name by name."""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import OutskirtsError, cause, reason, unknown
from ..files import reading, require_file

__all__ = ["fitted", "load_weights", "misfits", "read_checkpoint", "read_state", "require_fit"]

#: Faults that an error lists.
_LISTED = 10
#: How deep in a file weights lie, and how long the names are that wrappers put before those of a network.
_DEPTH = 3


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a file of tensors holds: a state dict, or a mapping of several and of plain numbers and texts."""
    require_file(path, f"The weights {path} do not exist.")
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


def read_state(file: Path | str) -> dict[str, Tensor]:
    """The state dict of a file: the whole of it, or the one part of it that is one, whatever its name.

    Arguments:
        file: A path. ``FILE#PART`` names the part of a file that holds several, such as weights and their average.

    Raises:
        OutskirtsError: If the file holds none, or several and no part is named.
    """
    path, part = Path(file), ""
    if not path.exists() and "#" in path.name:
        whole, _, part = str(file).rpartition("#")
        path = Path(whole)
    states = dict(_states(read_checkpoint(path)))
    if part and part not in states:
        raise unknown("part", part, states, f"of {path} that holds weights")
    if not states:
        raise OutskirtsError(f"{path} is not a state dict: it does not hold named tensors only.")
    if not part and len(states) > 1:
        raise OutskirtsError(
            f"{path} holds weights in several parts: {', '.join(states)}. Name one: {path}#{next(iter(states))}."
        )
    return states[part or next(iter(states))]


def _states(content: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Mappings of tensors alone, by their dotted names."""
    if content and all(isinstance(value, Tensor) for value in content.values()):
        # The number of models in an average of them is no weight.
        yield name, {key: value for key, value in content.items() if key != "n_averaged"}
    elif name.count(".") < _DEPTH:
        for key, value in content.items():
            if isinstance(value, Mapping) and all(isinstance(inner, str) for inner in value):
                yield from _states(value, f"{name}.{key}" if name else key)


def fitted(own: Collection[str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict by the names of a network: what wrappers put before all of them, such as ``module.``, is changed.

    >>> list(fitted(["fc.weight"], {"module.fc.weight": torch.zeros(1), "module.fc.bias": torch.zeros(1)}))
    ['fc.weight', 'fc.bias']
    """

    def before(names: Collection[str]) -> set[str]:
        parts = [name.split(".") for name in names]
        return {
            "",
            *(".".join(one[:depth]) + "." for one in parts for depth in range(1, min(_DEPTH, len(one) - 1) + 1)),
        }

    def right(theirs: str, ours: str) -> int:
        return sum(name.startswith(ours) and theirs + name.removeprefix(ours) in state for name in own)

    pairs = [("", ""), *((theirs, "") for theirs in before(state)), *(("", ours) for ours in before(own))]
    theirs, ours = max(sorted(set(pairs), key=lambda pair: (len("".join(pair)), pair)), key=lambda pair: right(*pair))
    if right(theirs, ours) < len(own) / 2:  # Of another network, whose parts may be called alike.
        return dict(state)
    return {
        ours + name.removeprefix(theirs) if name.startswith(theirs) else name: value for name, value in state.items()
    }


def misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor], left: Collection[str] = ()) -> list[str]:
    """What is missing in a state dict, left over, or of another shape than in the network that has `own`."""
    # Files of early versions of torch lack this counter, which does not change what a network computes.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    over = [*left, *(key for key in state if key not in own)]

    def nearest(key: str) -> str:
        found = difflib.get_close_matches(key, over, n=1)
        return f" (the file has {found[0]})" if found else ""

    return [
        *(f"{key} is missing{nearest(key) if place < _LISTED else ''}" for place, key in enumerate(missing)),
        *(f"{key} is left over" for key in over),
        *(
            f"{key} has shape {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ),
    ]


def require_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], whose: str, left: Collection[str] = ()) -> None:
    """Raise unless a state dict has what a network has, and nothing else.

    Arguments:
        own: Tensors of the network, by name.
        state: State dict to load into it.
        whose: Begins the error, such as "The weights FILE do not fit the backbone".
        left: What is left over besides.
    """
    if wrong := misfits(own, state, left):
        more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise OutskirtsError(f"{whose}: {'; '.join(wrong[:_LISTED])}{more}.")


def load_weights(network: nn.Module, state: Mapping[str, Tensor], strict: bool = True) -> None:
    """Load a state dict that has been through a file, which does not keep the versions of layers.

    Some layers ask for them (MNASNet): those of the network itself stand in.

    Arguments:
        network: Gets the weights.
        state: Tensors by name.
        strict: Whether all names must be the same.
    """
    versioned = OrderedDict(state)
    versioned._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(versioned, strict=strict)
