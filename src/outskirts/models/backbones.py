"""Backbones by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from ..errors import OutskirtsError, unknown
from ..files import load_tensors
from .adapter import adapt
from .classifier import Backbone
from .fast import FastNet

__all__ = ["build_backbone", "known_backbones"]

_CIFAR = ("resnet18", "resnet34", "resnet50")


def known_backbones() -> list[str]:
    """The backbones of outskirts; every torchvision and timm name works beside them."""
    return ["fast", *(f"{name}-cifar" for name in _CIFAR)]


def build_backbone(name: str, channels: int, size: int, pretrained: bool | str = False) -> Backbone:
    """Build a network without its head.

    Arguments:
        name: ``fast``; ``resnet18-cifar`` and its like (3×3 stem, no pooling, for small images); or the name of a
            torchvision or timm model, with ``torchvision:`` or ``timm:`` before it where both have it.
        channels: Of the images, 1 or 3.
        size: Of the images, in pixels.
        pretrained: True for the library's own weights, by its own cache; or the path of a local state dict.

    Raises:
        OutskirtsError: If the name is unknown or the weights do not fit.
    """
    if name == "fast":
        network = FastNet(channels, size)
        if pretrained is True:
            raise OutskirtsError("The backbone 'fast' has no published weights; pass the path of a state dict.")
        if pretrained:
            _load(network, str(pretrained), skip=())
        return Backbone(network, network.dim, name)
    model = _library_model(name, channels, size, pretrained is True)
    path = pretrained if isinstance(pretrained, str) else None
    backbone, head = adapt(model, torch.zeros(2, channels, size, size), name=name)
    if path is not None:
        # The head was taken away by the split, so its weights, of whatever classes, are not missed.
        _load(backbone.network, path, skip=("fc.", "head.", "classifier.", "linear."))
    return backbone


def _library_model(name: str, channels: int, size: int, pretrained: bool) -> nn.Module:
    library, _, bare = name.rpartition(":")
    if bare.removesuffix("-cifar") in _CIFAR and bare.endswith("-cifar"):
        if pretrained:
            raise OutskirtsError(f"'{name}' has no published weights; pass the path of a state dict.")
        model = torchvision.models.get_model(bare.removesuffix("-cifar"))
        model.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
        return model
    if library in ("", "torchvision") and bare in torchvision.models.list_models(module=torchvision.models):
        if channels != 3:
            raise OutskirtsError(f"torchvision's '{bare}' takes colour images; set channels to 3.")
        return torchvision.models.get_model(bare, weights="DEFAULT" if pretrained else None)
    if library in ("", "timm") and timm.is_model(bare):
        arguments: dict[str, Any] = {"in_chans": channels, "pretrained": pretrained}
        try:
            return timm.create_model(bare, img_size=size, **arguments)
        except TypeError:  # Only models with position embeddings know an image size.
            return timm.create_model(bare, **arguments)
    if library not in ("", "timm", "torchvision"):
        raise unknown("model library", library, ["timm", "torchvision"])
    raise unknown("backbone", bare, [*known_backbones(), *torchvision.models.list_models(), *timm.list_models()])


def _load(network: nn.Module, path: str, skip: tuple[str, ...]) -> None:
    file = Path(path)
    if not file.is_file():
        raise OutskirtsError(f"The weights {path} do not exist.")
    if file.suffix == ".safetensors":
        state = load_tensors(file)[0]
    else:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise OutskirtsError(f"{path} is not a state dict that can be read safely ({error}).") from error
        state = state.get("state_dict", state)
    state = {key: value for key, value in state.items() if not key.startswith(skip)}
    own = network.state_dict()
    wrong = [
        *(f"{key} is missing" for key in own if key not in state),
        *(f"{key} is left over" for key in state if key not in own),
        *(
            f"{key} has shape {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ),
    ]
    if wrong:
        shown = "; ".join(wrong[:8]) + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise OutskirtsError(f"The weights {path} do not fit the backbone: {shown}.")
    network.load_state_dict(state)
