"""A guard as a file of torch.export, which torch runs without outskirts.

References:
    | torch.export
    | https://docs.pytorch.org/docs/stable/export.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .graph import GuardGraph
from .traced import quiet, traced, translating
from .verifying import Run

__all__ = ["METADATA", "annotate_torch", "save_torch", "torch_runner"]

#: Name of the file of metadata within.
METADATA = "metadata.json"


def save_torch(graph: GuardGraph, path: Path) -> None:
    """Write the graph to a file of torch.export."""
    with quiet(), translating("torch cannot write its graph"):
        torch.export.save(traced(graph), path)


def annotate_torch(path: Path, entries: Mapping[str, str]) -> None:
    """Put texts into the file: a JSON object, in the extra file `METADATA`."""
    with quiet():
        program = torch.export.load(path)
        for weight in program.parameters():
            weight.requires_grad_(False)  # Nobody trains it; what it gives is plain numbers then.
        torch.export.save(program, path, extra_files={METADATA: json.dumps(dict(entries))})


def torch_runner(path: Path, outputs: list[str]) -> Run:
    """Runs a file on the CPU.

    Arguments:
        path: The file.
        outputs: Names of what it gives, in order.
    """
    with quiet(), translating("torch cannot read its graph"):
        module = torch.export.load(path).module()

    def run(pixels: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), translating("torch cannot run it"):
            return dict(zip(outputs, module(pixels)))

    return run
