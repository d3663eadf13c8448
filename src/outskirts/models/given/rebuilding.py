"""The network of a classifier that was trained elsewhere, built again where its weights are known."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...data.transform import Transform
from ...seeding import generator
from ..backbones import build_model, build_split
from ..classifier import Backbone
from ..clip import clip_backbone
from ..heads import NoHead, PrototypeHead, both_sides
from ..libraries import is_headless
from ..seams import UNKNOWN, Seam
from .of_functions import open_function
from .of_onnx import open_onnx
from .of_torch_files import open_exported, open_torchscript
from .of_transformers import hf_from_config
from .opened import Opened
from .parting import parted
from .spec import ModelSpec, parse_model

__all__ = ["FILES", "rebuilt_network"]

#: Kinds that are a file: it is all that there is to keep of them.
FILES: Mapping[str, Callable[[ModelSpec], Opened]] = {
    "onnx": open_onnx,
    "torchscript": open_torchscript,
    "pt2": open_exported,
}


def rebuilt_network(
    built_from: Mapping[str, Any],
    transform: Transform,
    classes: int,
    file: bytes | None = None,
    seam: Seam = UNKNOWN,
) -> tuple[Backbone, nn.Module]:
    """A backbone and a head with whatever weights; those of a file have its own.

    Arguments:
        built_from: What `Classifier.built_from` is of a classifier that was trained elsewhere.
        transform: Tells the shape of the images.
        classes: Number of logits.
        file: Content of the file, for a kind in `FILES`.
        seam: What is known of its head.
    """
    spec = parse_model(built_from["model"])
    if spec.kind == "clip":
        backbone = clip_backbone(built_from["tower"])
        return backbone, PrototypeHead(nn.Identity(), classes, backbone.dim, temperature=built_from["temperature"])
    if spec.kind in FILES:
        assert file is not None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(spec.where).name
            path.write_bytes(file)
            split = FILES[spec.kind](replace(spec, where=str(path))).split
        assert split is not None
        return split[0], both_sides(split[1], split[0].dim)
    model, headless = _model(spec, built_from, transform, classes)
    if isinstance(model, Backbone):
        return model, NoHead()
    if seam.head is None:
        _vary(model)
    backbone, head = parted(model, spec, transform, headless, seam)
    return backbone, both_sides(head, backbone.dim)


def _model(
    spec: ModelSpec, built_from: Mapping[str, Any], transform: Transform, classes: int
) -> tuple[nn.Module | Backbone, bool]:
    """A whole network, or a backbone where there is no head; and whether it returns features, not logits."""
    if spec.kind == "module":
        opened = open_function(replace(spec, options={k: v for k, v in spec.options.items() if k != "weights"}))
        assert opened.model is not None
        return opened.model, False
    if spec.kind == "hf":
        return hf_from_config(built_from["config"], built_from["entry"], built_from["attention"])
    name = spec.where if spec.kind == "backbone" else f"{spec.kind}:{spec.where}"
    if spec.options.get("head") == "none" or name == "fast" or name.startswith("wrn"):
        return build_split(name, transform.channels, transform.size)[0], True
    model = build_model(name, transform.channels, transform.size, classes=classes)
    return model, is_headless(model)


def _vary(model: nn.Module) -> None:
    """Give random values to weights that are all equal: what a layer of zeros makes tells nothing of its place."""
    draws = generator(0, "rebuilt")
    with torch.no_grad():
        for weights in model.parameters():
            if weights.is_floating_point() and bool((weights == weights.flatten()[:1]).all()):
                weights.add_(0.1 * torch.randn(weights.shape, generator=draws).to(weights))
