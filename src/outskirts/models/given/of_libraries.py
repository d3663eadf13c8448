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
    transform = _of_channels(spec, library_transform(name, spec.number("size", int), weights))
    classes = library_classes(name, weights) if weights is True or weights in published_weights(name) else ()
    return _opened(spec, name, weights, transform, classes)


def _of_channels(spec: ModelSpec, known: Transform) -> Transform:
    """What a library does to colour images, or for a network of other channels what the text states of them."""
    channels = spec.number("channels", int) or known.channels
    if channels == known.channels:
        return known
    mean, std = spec.channel_values("mean"), spec.channel_values("std")
    if mean is None or std is None:
        raise OutskirtsError(
            f"The mean and standard deviation that belong to '{spec.kind}:{spec.where}' are of {known.channels} "
            f"channels; state those of {channels}: mean= and std=, such as mean=0.5&std=0.5."
        )
    return replace(known, channels=channels, mean=mean, std=std)


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
    channels = transform.channels
    # These networks of outskirts have no head.
    if (own := name == "fast" or name.startswith("wrn")) or spec.options.get("head") == "none":
        told = [f"{key}={spec.options[key]}" for key in ("head", "output", "features") if key in spec.options]
        if own and told not in ([], ["head=none"]):
            raise OutskirtsError(f"The network '{name}' gives features alone; leave out {' and '.join(told)}.")
        backbone, _ = build_split(name, channels, transform.size, weights)
        return Opened(None, transform, split=(backbone, NoHead()))
    model = build_model(name, channels, transform.size, weights)
    return Opened(model, transform, classes, headless=is_headless(model))
