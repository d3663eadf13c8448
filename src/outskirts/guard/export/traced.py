"""A graph of a guard's computation, for images of any size and batches of any number."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from ...errors import OutskirtsError, reason
from .graph import GuardGraph

__all__ = ["AXES", "quiet", "traced", "translating"]

#: Names of the axes of the input that may have any length.
AXES = ("batch", "height", "width")


def traced(graph: GuardGraph) -> ExportedProgram:
    """The graph as torch holds it.

    Raises:
        OutskirtsError: If the network decides by what it sees which operations it computes.
    """
    axes = {place: Dim(name) for place, name in enumerate(AXES)}
    with quiet(), translating("torch cannot make a graph of it"), torch.no_grad():
        program = torch.export.export(graph.eval(), (graph.example(),), dynamic_shapes=(axes,), strict=False)
    # Where in which file of this machine each operation was called is nobody's business.
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


@contextmanager
def translating(what: str) -> Iterator[None]:
    """A block in which the first cause of whatever a library raises becomes a sentence."""
    try:
        yield
    except (OutskirtsError, MemoryError):
        raise
    except Exception as error:  # Exporters raise errors of every kind.
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        raise OutskirtsError(f"This guard cannot be exported: {what} ({reason(first)}).") from error


@contextmanager
def quiet() -> Iterator[None]:
    """A block without the warnings of exporters, which speak to those who write them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
