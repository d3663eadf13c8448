"""Classifiers of timm and torchvision, and of the backbones of outskirts, with their own weights or a file's."""

from __future__ import annotations

from dataclasses import replace

from ...data.transform import Transform
from ...errors import OutskirtsError
from ..backbones import build_model, build_split
from ..heads import NoHead
from ..libraries import is_headless, library_classes, library_transform, published_weights
from .opened import Opened
from .spec import ModelSpec

__all__ = ["open_backbone", "open_library"]


def open_library(spec: ModelSpec) -> Opened:
    """A model of a library as it is: with the head of its weights, and the transform that belongs to them."""
    name, weights = f"{spec.kind}:{spec.where}", _weights(spec, "true")
    transform = library_transform(name, spec.number("size", int), weights)
    classes = library_classes(name, weights) if weights is True or weights in published_weights(name) else ()
    return _opened(spec, name, weights, transform, classes)


def open_backbone(spec: ModelSpec) -> Opened:
    """A network of outskirts with the weights of a file; nothing tells what happens to an image before it."""
    if "size" not in spec.options:
        raise OutskirtsError(f"Nothing tells what images '{spec}' takes; add size=, mean= and std=.")
    shape = Transform(spec.number("size", int), spec.number("channels", int) or 3)
    return replace(_opened(spec, spec.where, _weights(spec, "none"), shape, ()), transform=None)


def _weights(spec: ModelSpec, usual: str) -> bool | str:
    text = spec.options.get("weights", usual)
    return {"true": True, "none": False}.get(text, text)


def _opened(spec: ModelSpec, name: str, weights: bool | str, transform: Transform, classes: tuple[str, ...]) -> Opened:
    channels = spec.number("channels", int) or transform.channels
    # The networks of outskirts have no head.
    if spec.options.get("head") == "none" or name == "fast" or name.startswith("wrn"):
        backbone, _ = build_split(name, channels, transform.size, weights)
        return Opened(None, transform, split=(backbone, NoHead()))
    model = build_model(name, channels, transform.size, weights)
    return Opened(model, transform, classes, headless=is_headless(model))
