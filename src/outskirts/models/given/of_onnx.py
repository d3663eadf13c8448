"""Classifiers in ONNX files, run by ONNX Runtime.

References:
    | ONNX: Open Neural Network Exchange (2017)
    | https://onnx.ai
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import MissingExtra, OutskirtsError, loading, reason, unknown
from ...files import reading, require_file
from ...seeding import generator
from ..affine import close
from ..answer import require_finite
from ..classifier import Backbone
from ..heads import CarriedHead, LinearHead, NoHead
from ..tapped import pooled
from .opened import Opened, input_shape
from .spec import ModelSpec

__all__ = ["OnnxNetwork", "open_onnx"]


def open_onnx(spec: ModelSpec) -> Opened:
    """The logits of an ONNX file, and its features: what its last linear layer takes, or the node that is named."""
    path = Path(spec.where)
    require_file(path, f"The ONNX file {path} does not exist.")
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra("An ONNX file", "onnx") from error
    with reading(path):
        content = path.read_bytes()
    # What is no such file makes the reader fail in any way.
    with loading(f"{path} cannot be read as an ONNX file"):
        graph = onnx.load_model_from_string(content)
        if any(one.data_location == onnx.TensorProto.EXTERNAL for one in graph.graph.initializer):
            raise OutskirtsError(
                f"{path} keeps its weights in another file. Write both into one: onnx.save(onnx.load({path.name!r}), "
                "'one.onnx')."
            )
        onnx.checker.check_model(graph)
    return _split(onnx, spec, graph)


def _split(onnx: Any, spec: ModelSpec, graph: Any) -> Opened:
    """The network up to its features, and its head; what cannot be told apart goes together."""
    outputs = [one.name for one in graph.graph.output]
    if not outputs:
        raise OutskirtsError(f"{spec.where} gives nothing; an ONNX file of a classifier has an output of logits.")
    logits = spec.options.get("output", outputs[0])
    if logits not in outputs:
        raise unknown("output", logits, outputs, f"of {spec.where}")
    if len(outputs) > 1 and not {"output", "features"} & spec.options.keys():
        raise OutskirtsError(f"{spec.where} has several outputs: {', '.join(outputs)}. Name the logits: output=NAME.")
    made = [name for node in graph.graph.node for name in node.output]
    features = spec.options.get("features") or _before_last(graph, logits)
    if features is not None and features not in made:
        raise unknown("node", features, made, f"of {spec.where}")
    with loading(f"{spec.where} cannot be read as an ONNX file"):
        linear = None if features is None else _weights(onnx, graph, features, logits)
    headless = spec.options.get("head") == "none"
    if features is not None and features not in outputs:
        graph.graph.output.append(onnx.ValueInfoProto(name=features))
    content, name = graph.SerializeToString(), spec.file_name
    network = OnnxNetwork(content, [logits] if headless or features is None else [features, logits])
    *taken, known = network.shown(spec)
    width = sum(one.shape[1] for one in (*taken, known))
    if headless:
        return Opened(None, split=(Backbone(network, width, name), NoHead()))
    # Which layer is the last is a guess until it gives the same logits.
    if features is not None and linear is not None and close(linear(taken[0]), known):
        network = OnnxNetwork(content, [features])
        return Opened(None, split=(Backbone(network, linear.in_features, name), LinearHead(linear)))
    return Opened(None, split=(Backbone(network, width, name), CarriedHead(width - known.shape[1])))


class OnnxNetwork(nn.Module):
    """Some outputs of an ONNX graph, side by side: [B, sum of their widths].

    Arguments:
        content: The file.
        names: Outputs; maps are averaged over their positions.
    """

    def __init__(self, content: bytes, names: Sequence[str]) -> None:
        super().__init__()
        import onnxruntime

        self.names = list(names)
        # Among the weights, so that another file is another classifier.
        self.register_buffer("content", torch.frombuffer(bytearray(content), dtype=torch.uint8))
        # It would write files of its own about this machine.
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # What it would print of an error is in the exception.
        options.log_severity_level = 4
        with loading("The ONNX file cannot be run"):
            providers = onnxruntime.get_available_providers()
            self.session = onnxruntime.InferenceSession(content, options, providers=providers)

    def shown(self, spec: ModelSpec) -> list[Tensor]:
        """The outputs for an image of noise."""
        taken = self.session.get_inputs()
        if len(taken) != 1 or len(taken[0].shape) != 4 or "float" not in taken[0].type:
            raise OutskirtsError(f"{spec.where} takes something else than images [batch, channels, height, width].")
        known = [one if isinstance(one, int) else None for one in taken[0].shape[1:]]
        shape = input_shape(spec, (known[0], known[1], known[2]))
        images = torch.randn(1, *shape, generator=generator(0, "given"))
        made = self._run(images.numpy())
        require_finite(torch.cat(made, 1), images, spec.where)
        return made

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            raise OutskirtsError("An ONNX file gives no gradients.")
        values = images.detach().cpu().numpy()
        batch = self.session.get_inputs()[0].shape[0]
        # A graph for batches of one size takes them one after the other.
        parts = np.split(values, len(values) // batch) if isinstance(batch, int) and batch < len(values) else [values]
        rows = [torch.cat(self._run(part), 1) for part in parts]
        return torch.cat(rows).to(images.device)

    def _run(self, values: np.ndarray[Any, Any]) -> list[Tensor]:
        given = self.session.get_inputs()[0]
        kind = np.float16 if "float16" in given.type else np.float32
        try:
            made = self.session.run(self.names, {given.name: values.astype(kind)})
            rows = [torch.from_numpy(np.asarray(one)).float() for one in made]
        except Exception as error:  # ONNX Runtime has errors of its own.
            raise OutskirtsError(
                f"The ONNX file cannot take images of shape {values.shape[1:]} ({reason(error)})."
            ) from error
        for name, one in zip(self.names, rows):
            if one.ndim < 2 or len(one) != len(values):
                raise OutskirtsError(
                    f"'{name}' of the ONNX file is a tensor of shape {tuple(one.shape)} for {len(values)} images; it "
                    "must be [batch, width], or maps."
                )
        return [pooled(one) for one in rows]


def _before_last(graph: Any, logits: str) -> str | None:
    """What the linear layer takes whose output is the logits."""
    node = _maker(graph, logits)
    return node.input[0] if node is not None and node.op_type == "Gemm" else None


def _weights(onnx: Any, graph: Any, features: str, logits: str) -> nn.Linear | None:
    """The linear layer between two nodes, if it is all that there is."""
    node = _maker(graph, logits)
    if node is None or node.op_type != "Gemm" or node.input[0] != features:
        return None
    constants = {
        one.name: onnx.numpy_helper.to_array(one) for one in graph.graph.initializer if one.name in node.input[1:]
    }
    options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    weight = constants.get(node.input[1])
    bias = constants.get(node.input[2]) if len(node.input) > 2 else None
    if weight is None or weight.ndim != 2 or (len(node.input) > 2 and bias is None) or options.get("transA"):
        return None
    weight = (weight if options.get("transB") else weight.T) * options.get("alpha", 1.0)
    # It may be one number, or a row of a matrix.
    if bias is not None and bias.shape not in ((), (1,), (len(weight),), (1, len(weight))):
        return None
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        linear.bias.copy_(
            torch.zeros(len(weight)) if bias is None else torch.from_numpy(bias.reshape(-1) * options.get("beta", 1.0))
        )
    return linear


def _maker(graph: Any, name: str) -> Any:
    return next((node for node in graph.graph.node if name in node.output), None)
