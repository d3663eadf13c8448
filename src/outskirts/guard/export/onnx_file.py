"""A guard as an ONNX file.

References:
    | ONNX: Open Neural Network Exchange (2017)
    | https://onnx.ai
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import MissingExtra, OutskirtsError
from .graph import INPUT, GuardGraph
from .traced import AXES, quiet, traced, translating
from .verifying import Run, numpy_of

__all__ = ["annotate_onnx", "onnx_runner", "require_onnx", "save_onnx"]


def require_onnx() -> None:
    """Raise unless the packages for ONNX are installed."""
    if any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")):
        raise MissingExtra("An ONNX file", "onnx")
    if not hasattr(torch.onnx.ONNXProgram, "rename_axes"):
        raise OutskirtsError(f"An ONNX file needs a newer torch than {torch.__version__}, which cannot name its axes.")


def save_onnx(graph: GuardGraph, path: Path) -> None:
    """Write the graph to an ONNX file; weights above 2 GB are in another file beside it."""
    from .translations import TRANSLATIONS

    with quiet(), translating("its graph cannot be written as ONNX"):
        program = torch.onnx.export(
            traced(graph),
            dynamo=True,
            input_names=[INPUT],
            output_names=graph.outputs,
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
        assert program is not None
        known: Any = program.model.graph.inputs[0].shape
        program.rename_axes(dict(zip(known, AXES)))
        program.save(path)
    _require_axes(path)


def annotate_onnx(path: Path, entries: Mapping[str, str]) -> None:
    """Put texts into the metadata of an ONNX file, in the place of what its exporter says of each operation."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    # Among it are the paths of this machine, which may have the name of a person in them.
    for graph in (model.graph, *model.functions):
        for part in (graph, *graph.node, *graph.value_info, *getattr(graph, "initializer", ())):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    onnx.helper.set_model_props(model, dict(entries))
    path.write_bytes(model.SerializeToString())


def onnx_runner(path: Path) -> Run:
    """Runs an ONNX file on the CPU."""
    import onnxruntime

    # It would write files of its own about this machine.
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    with translating("ONNX Runtime cannot run it"):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(pixels: Tensor) -> dict[str, Tensor]:
        with translating("ONNX Runtime cannot run it"):
            values: Any = session.run(names, {INPUT: numpy_of(pixels)})
        return {name: torch.from_numpy(value) for name, value in zip(names, values)}

    return run


def _require_axes(path: Path) -> None:
    """Raise unless the batch and the size of images may be any, and are named."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    shapes = [[axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in graph.input]
    firsts = {axis.dim_param for one in graph.output for axis in one.type.tensor_type.shape.dim[:1]}
    if shapes != [[*AXES, 3]] or firsts != {AXES[0]}:
        raise OutskirtsError(
            f"This guard cannot be exported: its graph takes {shapes[0]} and gives {sorted(firsts)}, not batches "
            "of any number of images of any size. The network may have a size of batches written into it."
        )
