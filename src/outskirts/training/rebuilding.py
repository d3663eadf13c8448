"""A classifier from what it was built from, and its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.transform import Transform
from ..errors import OutskirtsError, reason
from ..files import reading
from ..methods import registry
from ..models.backbones import build_backbone
from ..models.classifier import Backbone, Classifier
from ..models.clip import PREFIX
from ..models.given import FILES, NAMED, given_backbone, is_rebuilt, parse_model, rebuilt_network
from ..models.seams import UNKNOWN, Seam, blank
from ..models.weights import load_weights
from ..renamed import weights
from .config import Recipe, resolve_recipe

__all__ = ["assemble", "described", "portable", "rebuild", "restore", "weights_of"]

#: The only tensor of a classifier that is a file.
_FILE = "file"


def assemble(recipe: Recipe, backbone: Backbone, transform: Transform, classes: Sequence[str]) -> Classifier:
    """An untrained classifier with the head of the recipe's method."""
    head = registry[recipe.method].head(recipe.settings, backbone.dim, len(classes))
    return Classifier(backbone, head, transform, classes, described(recipe, backbone.name))


def described(recipe: Recipe, architecture: str) -> dict[str, Any] | None:
    """`Classifier.built_from` of one that was trained here; None for a network that was made in Python."""
    if architecture.startswith("custom:"):
        return None
    return {"backbone": architecture, "method": recipe.method, "options": asdict(recipe.settings)}


def weights_of(classifier: Classifier) -> dict[str, Tensor]:
    """The tensors that make a classifier again, beside what it was built from: its weights, or its file.

    Raises:
        OutskirtsError: If nothing tells how its network is built.
    """
    built_from = classifier.built_from
    if built_from is None:
        raise OutskirtsError(
            f"Nothing tells how the network {classifier.architecture} is built again: it was made in Python. Name the "
            "function that makes it (module:package.file:name), or export the network as an ONNX file (onnx:FILE)."
        )
    if "model" in built_from and (spec := parse_model(built_from["model"])).kind in FILES:
        with reading(path := Path(spec.where)):
            return {_FILE: torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)}
    return classifier.state_dict()


def portable(classifier: Classifier) -> dict[str, Any]:
    """What a classifier is built from, without the folders of this machine; `rebuild` takes it.

    Raises:
        OutskirtsError: If it cannot be built without them.
    """
    built_from = dict(classifier.built_from or {})
    if str(built_from.get("backbone", "")).startswith("hf:"):
        raise OutskirtsError(
            f"The network {classifier.architecture} is read from a folder of transformers, which cannot be kept with "
            "the weights of a run. Save the trained network in such a folder (hf:DIR), or as an ONNX file (onnx:FILE)."
        )
    if "model" in built_from:
        spec = parse_model(built_from["model"])
        options = {name: value for name, value in spec.options.items() if name not in ("weights", "classes")}
        where = spec.where if spec.kind in NAMED else Path(spec.where).name
        built_from["model"] = str(replace(spec, where=where, options=options))
    for name in ("tower", "backbone"):
        if str(built_from.get(name, "")).startswith(f"{PREFIX}{{"):
            tower = json.loads(built_from[name].removeprefix(PREFIX))
            built_from[name] = PREFIX + json.dumps({**tower, "folder": Path(tower["folder"]).name})
    if "config" in built_from:
        built_from["config"] = {k: v for k, v in built_from["config"].items() if k != "_name_or_path"}
    return built_from


def rebuild(
    built_from: Mapping[str, Any],
    transform: Transform,
    classes: Sequence[str],
    tensors: Mapping[str, Tensor],
    source: Path,
    seam: Seam = UNKNOWN,
    tried: bool = False,
) -> Classifier:
    """The classifier that `built_from` and `weights_of` are of, in evaluation mode.

    Arguments:
        built_from: What the network is built from.
        transform: Transform of the classifier.
        classes: Names of the classes.
        tensors: What `weights_of` gave.
        source: Where they were read, for errors.
        seam: What is known of its head.
        tried: Whether it is not yet known that all of its numbers are among the weights; those that are not are NaN.

    Raises:
        OutskirtsError: If the network cannot be built here, or the weights do not fit it.
    """
    file = bytes(tensors[_FILE].numpy()) if _FILE in tensors else None
    with blank(seam.head is not None, tried):
        if "model" in built_from:
            network = rebuilt_network(built_from, transform, len(classes), file, seam)
            classifier = Classifier(*network, transform, classes, built_from)
        else:
            backbone = _backbone(built_from["backbone"], transform, seam)
            recipe = resolve_recipe(built_from["method"], dict(built_from["options"]))
            classifier = assemble(recipe, backbone, transform, classes)
    if file is None:
        restore(classifier, tensors, source)
    return classifier.eval()


def _backbone(architecture: str, transform: Transform, seam: Seam) -> Backbone:
    if is_rebuilt(architecture):
        return given_backbone(architecture, transform, seam)
    return build_backbone(architecture, transform.channels, transform.size, seam=seam)


def restore(classifier: Classifier, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Load weights, or raise an error that says what does not fit.

    Arguments:
        classifier: Gets the weights.
        tensors: The weights.
        source: Where they were read, for errors.
    """
    try:
        load_weights(classifier, weights(dict(tensors)))
    except RuntimeError as error:
        raise OutskirtsError(f"{source} does not fit the network it names ({reason(error, 500)}).") from error
