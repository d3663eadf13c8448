"""Networks that a user's own function or class makes."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path

import torch
from torch import nn

from ...data.transform import Transform
from ...errors import OutskirtsError, reason, unknown
from ..weights import fitted, load_weights, read_state, require_fit
from .opened import Opened
from .spec import ModelSpec

__all__ = ["open_function"]


def open_function(spec: ModelSpec) -> Opened:
    """Call ``package.file:name`` without arguments, and load weights into the network that it returns.

    The module is looked for as Python does, in the working folder too. Naming it runs it: it is the user's own code.
    """
    where, colon, name = spec.where.partition(":")
    if not (colon and name):
        raise OutskirtsError(f"'{spec}' names no function; write module:package.file:name.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(where)
    except (Exception, SystemExit) as error:  # It is other people's code, which may fail in any way.
        missing = isinstance(error, ModuleNotFoundError) and error.name == where.partition(".")[0]
        advice = " Start in the folder that it lies in, or put that folder on PYTHONPATH." if missing else ""
        raise OutskirtsError(f"The module {where} cannot be imported ({reason(error)}).{advice}") from error
    finally:
        sys.path.pop(0)
    if not hasattr(module, name):
        raise unknown("function", name, [one for one in dir(module) if not one.startswith("_")], f"in {where}")
    try:
        model = getattr(module, name)
        # A network is taken apart in place; the next who names it shall find it whole.
        model = copy.deepcopy(model) if isinstance(model, nn.Module) else model()
    except (Exception, SystemExit) as error:
        raise OutskirtsError(f"{where}:{name} cannot be called without arguments ({reason(error)}).") from error
    if not isinstance(model, nn.Module):
        raise OutskirtsError(f"{where}:{name} returns {type(model).__name__}, not a torch.nn.Module.")
    model = getattr(model, "_orig_mod", model)  # What torch.compile has wrapped.
    if file := spec.options.get("weights"):
        state = fitted(model.state_dict(), read_state(file))
        require_fit(model.state_dict(), state, f"The weights {file} do not fit {where}:{name}")
        load_weights(model, state, strict=False)
    kinds = {str(one.dtype) for one in (*model.parameters(), *model.buffers()) if one.is_floating_point()}
    others = sorted(kinds - {str(torch.float32)})
    note = f"The weights of {where}:{name} are of {', '.join(others)}; they are taken as {torch.float32}."
    model = model.float() if others else model
    transform = getattr(model, "transform", None)
    classes = getattr(model, "classes", ())
    return Opened(
        model,
        transform if isinstance(transform, Transform) else None,
        tuple(classes) if isinstance(classes, list | tuple) and all(isinstance(one, str) for one in classes) else (),
        notes=(note,) if others else (),
    )
