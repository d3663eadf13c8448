"""Backbones by name."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from ..errors import OutskirtsError, unknown
from . import clip
from .adapter import adapt
from .classifier import Backbone
from .fast import FastNet
from .weights import read_state, require_fit
from .wide import wide_resnet

__all__ = ["build_backbone", "known_backbones", "native_size"]

_CIFAR = ("resnet18", "resnet34", "resnet50", "resnet101")
_WIDE = ("wrn28-10-cifar", "wrn40-2-cifar")
#: These return further logits in training, which no method asks for.
_AUXILIARY = ("googlenet", "inception_v3")


def known_backbones() -> list[str]:
    """The backbones of outskirts; ``clip:DIR`` and every torchvision and timm name work beside them."""
    return ["fast", *(f"{name}-cifar" for name in _CIFAR), *_WIDE]


def build_backbone(name: str, channels: int, size: int, pretrained: bool | str = False) -> Backbone:
    """Build a network without its head.

    Arguments:
        name: ``fast``; ``resnet18-cifar`` and its like (3×3 stem, no pooling, for small images); ``wrn28-10-cifar``, a
            wide ResNet of depth 28 and width 10, or others; ``clip:DIR``, a local CLIP model, see
            `outskirts.models.clip`; or the name of a torchvision or timm model, with ``torchvision:`` or ``timm:``
            before it where both have it. After any but CLIP's, ``-rectified512`` adds a linear layer to 512 features
            and their rectification.
        channels: Channels of the images, 1 or 3.
        size: Side of the images, in pixels.
        pretrained: True for the library's own weights, by its own cache; the name of some of torchvision's, such as
            ``IMAGENET1K_V1``, for those; or the path of a local state dict.

    Raises:
        OutskirtsError: If the name is unknown, or the weights cannot be fetched or do not fit.
    """
    if name.startswith(clip.PREFIX):
        if pretrained:
            raise OutskirtsError("A CLIP folder brings its own weights; leave out pretrained.")
        return clip.clip_backbone(name, size)
    if match := re.fullmatch(r"(.+)-rectified(\d+)", name):
        inner = build_backbone(match[1], channels, size, pretrained)
        outer = nn.Sequential(inner.network, nn.Linear(inner.dim, int(match[2])), nn.ReLU())
        return Backbone(outer, int(match[2]), name)
    own = FastNet(channels, size) if name == "fast" else wide_resnet(name, channels)
    if own is not None:
        if pretrained is True:
            raise OutskirtsError(f"The backbone '{name}' has no published weights; pass the path of a state dict.")
        if pretrained:
            _load(own, Path(pretrained))
        return Backbone(own, own.dim, name)
    named = pretrained in _published_weights(name)
    try:
        model = _library_model(name, channels, size, pretrained if named else pretrained is True)
    except OSError as error:
        raise OutskirtsError(
            f"The weights of '{name}' cannot be fetched ({error}); fetch them elsewhere and pass the file's path."
        ) from error
    whole = set(model.state_dict())
    backbone, _ = adapt(model, torch.zeros(2, channels, size, size), name=name)
    if isinstance(pretrained, str) and pretrained and not named:
        _load(backbone.network, Path(pretrained), head=whole - set(model.state_dict()))
    return backbone


def native_size(name: str) -> int | None:
    """The only side, in pixels, of the images that a backbone takes; None if it takes others too."""
    return clip.clip_size(name) if name.startswith(clip.PREFIX) else None


def _published_weights(name: str) -> list[str]:
    """The names of the weights that torchvision has of a model, if it is one of its own."""
    library, _, bare = name.rpartition(":")
    if library not in ("", "torchvision") or bare not in torchvision.models.list_models(module=torchvision.models):
        return []
    return list(torchvision.models.get_model_weights(bare).__members__)


def _library_model(name: str, channels: int, size: int, pretrained: bool | str) -> nn.Module:
    library, _, bare = name.rpartition(":")
    arguments: dict[str, Any]
    if bare.removesuffix("-cifar") in _CIFAR and bare.endswith("-cifar"):
        if pretrained:
            raise OutskirtsError(f"'{name}' has no published weights; pass the path of a state dict.")
        model = torchvision.models.get_model(bare.removesuffix("-cifar"))
        model.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
        return model
    classifiers = torchvision.models.list_models(module=torchvision.models)
    if library in ("", "torchvision") and bare in classifiers:
        if channels != 3:
            raise OutskirtsError(f"torchvision's '{bare}' takes colour images; set channels to 3.")
        arguments = {"weights": "DEFAULT" if pretrained is True else pretrained or None}
        if bare in _AUXILIARY:
            arguments |= {"aux_logits": False, "init_weights": not pretrained}
        return torchvision.models.get_model(bare, **arguments)
    if library in ("", "timm") and timm.is_model(bare):
        arguments = {"in_chans": channels, "pretrained": pretrained}
        try:
            return timm.create_model(bare, img_size=size, **arguments)
        except TypeError:  # Only models with position embeddings know an image size.
            return timm.create_model(bare, **arguments)
    if library not in ("", "timm", "torchvision"):
        raise unknown("model library", library, ["timm", "torchvision"])
    raise unknown("backbone", bare, {*known_backbones(), *classifiers, *timm.list_models()})


def _load(network: nn.Module, path: Path, head: Container[str] = ()) -> None:
    """Load a state dict, but for the weights of the head, of whatever classes."""
    state = {key: value for key, value in read_state(path).items() if key not in head}
    require_fit(network.state_dict(), state, f"The weights {path} do not fit the backbone")
    network.load_state_dict(state, strict=False)
