"""Networks in files of ``torch.jit.save`` and ``torch.export.save``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...errors import OutskirtsError, cause, reason, unknown
from ...files import require_file
from ...seeding import generator
from ..affine import close
from ..answer import entries, find_answer, require_finite
from ..classifier import Backbone
from ..heads import CarriedHead, LinearHead, NoHead
from ..tapped import pooled
from .opened import Opened, input_shape
from .pickles import require_harmless
from .spec import ModelSpec

__all__ = ["open_exported", "open_torchscript"]

_WRITERS = {"torchscript": "torch.jit.save", "pt2": "torch.export.save"}


def open_torchscript(spec: ModelSpec) -> Opened:
    """A network of TorchScript. Its layers cannot be seen: its features are the output that is named, if any."""
    program = _read(spec, lambda path: torch.jit.load(path, map_location="cpu"))
    returned, logits = _shown(spec, program, input_shape(spec, (None, None, None)))
    features = spec.options.get("features")
    if features is not None and features not in entries(returned):
        raise unknown("output", features, entries(returned), f"of {spec.where}")
    width = 0 if features is None else pooled(entries(returned)[features]).shape[1]
    return _carried(spec, Program(program, [features, logits] if features else [logits]), width, returned, logits)


def open_exported(spec: ModelSpec) -> Opened:
    """A program of ``torch.export``. Its features are what its last linear layer takes, or the node that is named."""
    program = _read(spec, _exported)
    graph = program.graph
    inputs = next(node for node in graph.nodes if node.op == "placeholder").meta["val"].shape
    channels, height, width = (size if isinstance(size, int) else None for size in inputs[1:])
    shape = input_shape(spec, (channels, height, width))
    returned, logits = _shown(spec, program, shape)
    end = next(node for node in graph.nodes if node.op == "output")
    leaves = list(end.args[0])
    place = 0 if logits is None else list(entries(returned)).index(logits)
    named, last = spec.options.get("features"), leaves[place]
    nodes = {node.name: node for node in graph.nodes if node.op == "call_function"}
    if named is not None and named not in nodes:
        raise unknown("node", named, nodes, f"of {spec.where}")
    layer = _arguments(last) if last.target == torch.ops.aten.linear.default else {}
    taken = nodes[named] if named is not None else layer.get("input")
    if taken is None or spec.options.get("head") == "none":
        return _carried(spec, Program(program, [logits]), 0, returned, logits)
    # What is computed, such as a weight of rows of length 1, is no parameter.
    whole = all(one is None or one.op == "get_attr" for one in (layer.get("weight"), layer.get("bias")))
    linear = _linear(program, layer) if layer.get("input") is taken and whole else None
    with graph.inserting_before(end):
        flat = graph.call_function(pooled, (taken,))
        leaves[place] = flat if linear is not None else graph.call_function(torch.cat, ([flat, last], 1))
    end.args = (tuple(leaves),)
    program.recompile()
    network, known = Program(program, [logits]), _tensor(returned, logits).flatten(1)
    made = network(_noise(shape))
    head = CarriedHead(made.shape[1] - known.shape[1]) if linear is None else LinearHead(linear)
    if not close(head(made), known):
        raise OutskirtsError(
            f"{spec.where} gives other logits when it is taken apart; name the features (features=NODE), or report it."
        )
    return Opened(None, split=(Backbone(network, made.shape[1], spec.file_name), head))


def _exported(path: str) -> nn.Module:
    require_harmless(Path(path))
    return torch.export.load(path).module()


class Program(nn.Module):
    """Some of what a compiled network returns, side by side, [B, sum of their widths], in single precision.

    Arguments:
        program: Cannot change between training and evaluation.
        names: Names of tensors; maps are averaged over their positions. None stands for the only one.
    """

    def __init__(self, program: nn.Module, names: Sequence[str | None]) -> None:
        super().__init__()
        self.program = program
        self.names = tuple(names)

    def forward(self, images: Tensor) -> Tensor:
        returned = self.program(images)
        return torch.cat([pooled(_tensor(returned, name)) for name in self.names], 1)

    def train(self, mode: bool = True) -> Self:
        self.training = mode
        return self


def _tensor(returned: Any, name: str | None) -> Tensor:
    return (returned if name is None else entries(returned)[name]).float()


def _carried(spec: ModelSpec, network: nn.Module, width: int, returned: Any, logits: str | None) -> Opened:
    classes = _tensor(returned, logits).flatten(1).shape[1]
    if spec.options.get("head") == "none":
        return Opened(None, split=(Backbone(network, classes, spec.file_name), NoHead()))
    return Opened(None, split=(Backbone(network, width + classes, spec.file_name), CarriedHead(width)))


def _arguments(node: Any) -> dict[str, Any]:
    """What a linear layer is called with, by name; versions of torch write it differently."""
    return {**dict(zip(("input", "weight", "bias"), node.args)), **node.kwargs}


def _linear(program: Any, given: dict[str, Any]) -> nn.Linear:
    weight = program.get_parameter(given["weight"].target).detach()
    bias = None if given.get("bias") is None else program.get_parameter(given["bias"].target).detach()
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return linear


def _last(error: Exception) -> str:
    """What is wrong; of TorchScript, without the code that stands before it."""
    lines = str(error).strip().splitlines()
    return reason(RuntimeError(lines[-1])) if "TorchScript" in lines[0] else reason(error)


def _shown(spec: ModelSpec, program: nn.Module, shape: tuple[int, int, int]) -> tuple[Any, str | None]:
    """What a network returns for two images of noise, and the name of the logits in it."""
    images = _noise(shape)
    try:
        with torch.no_grad():
            returned = program(images)
    except Exception as error:  # Its own checks raise anything.
        raise OutskirtsError(
            f"{spec.where} cannot take two images of shape {shape} ({_last(error)}). Say their size (size=) and their "
            "channels (mean= and std= with a value for each), and save it for batches of any size."
        ) from error
    logits = find_answer(returned, spec.options.get("output"), spec.where)
    require_finite(_tensor(returned, logits), images, spec.where)
    return returned, logits


def _noise(shape: tuple[int, int, int]) -> Tensor:
    """Two images."""
    return torch.randn(2, *shape, generator=generator(0, "given"))


@contextmanager
def _unlogged() -> Iterator[None]:
    """A block in which torch logs nothing: of a file that it cannot read, it shows the trace."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _read(spec: ModelSpec, reader: Callable[[str], Any]) -> Any:
    path = Path(spec.where)
    require_file(path, f"The file {path} does not exist.")
    try:
        with warnings.catch_warnings(), _unlogged():
            warnings.simplefilter("ignore", FutureWarning)
            return reader(str(path))
    except OutskirtsError:
        raise
    except Exception as error:  # What is no such file makes the reader fail in any way.
        writer = _WRITERS[spec.kind]
        raise OutskirtsError(f"{path} cannot be read as a file of {writer} ({reason(error)}).") from cause(error)
