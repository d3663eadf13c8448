"""Backbones by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import torch
import torchvision
from torch import Tensor, nn

from ..errors import OutskirtsError
from . import clip
from .adapter import adapt, without_logits
from .classifier import Backbone
from .fast import FastNet
from .heads import NoHead
from .libraries import is_headless, library_model, published_weights, with_weights
from .seams import UNKNOWN, Seam, cut
from .weights import fitted, load_weights, misfits, read_state, require_fit
from .wide import wide_resnet

__all__ = ["build_backbone", "build_model", "build_split", "known_backbones", "native_size"]

_CIFAR = ("resnet18", "resnet34", "resnet50", "resnet101")
_WIDE = ("wrn28-10-cifar", "wrn40-2-cifar")
#: Those of torchvision's networks, of which another number would change their first random weights.
_CLASSES = 1000


def known_backbones() -> list[str]:
    """The backbones of outskirts; ``clip:DIR`` and every torchvision and timm name work beside them."""
    return ["fast", *(f"{name}-cifar" for name in _CIFAR), *_WIDE]


def build_backbone(
    name: str, channels: int, size: int, pretrained: bool | str = False, seam: Seam = UNKNOWN
) -> Backbone:
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
        seam: What is known of its head, for one without pretrained weights.

    Raises:
        OutskirtsError: If the name is unknown, or the weights cannot be fetched or do not fit.
    """
    return build_split(name, channels, size, pretrained, seam)[0]


def build_split(
    name: str, channels: int, size: int, pretrained: bool | str = False, seam: Seam = UNKNOWN
) -> tuple[Backbone, nn.Module | None]:
    """Build a network, and the head that its weights bring; None where they bring none.

    Arguments and errors are those of `build_backbone`.
    """
    if name.startswith(clip.PREFIX):
        if pretrained:
            raise OutskirtsError("A CLIP folder brings its own weights; leave out pretrained.")
        return clip.clip_backbone(name, size), None
    if match := re.fullmatch(r"(.+)-rectified(\d+)", name):
        inner = build_backbone(match[1], channels, size, pretrained, seam)
        outer = nn.Sequential(inner.network, nn.Linear(inner.dim, int(match[2])), nn.ReLU())
        return Backbone(outer, int(match[2]), name), None
    own = FastNet(channels, size) if name == "fast" else wide_resnet(name, channels)
    if own is not None:
        return _with_file(Backbone(own, own.dim, name), pretrained), None
    if seam.head is not None:
        return cut(_model(name, channels, size, False, None), seam.head, name)
    side = seam.side or size
    example = torch.zeros(2, channels, side, side)
    if _is_file(name, pretrained):
        return _of_file(partial(_model, name, channels, size, False), example, name, str(pretrained))
    backbone, head = _adapted(build_model(name, channels, size, pretrained), example, name)
    return backbone, head if pretrained and not isinstance(head, NoHead) else None


def build_model(
    name: str, channels: int, size: int, pretrained: bool | str = False, classes: int | None = None
) -> nn.Module:
    """A whole classifier by the name of its backbone, other than ``fast`` and ``clip:DIR``, for as many classes as its
    weights are of, or for `classes` where it has no weights.

    Other arguments and errors are those of `build_backbone`.
    """
    if not _is_file(name, pretrained):
        return _model(name, channels, size, pretrained, classes)
    make = partial(_model, name, channels, size, False)
    return with_weights(make(None), make, read_state(str(pretrained)), str(pretrained))


def _is_file(name: str, pretrained: bool | str) -> bool:
    return isinstance(pretrained, str) and bool(pretrained) and pretrained not in published_weights(name)


def _with_file(backbone: Backbone, pretrained: bool | str) -> Backbone:
    """A network of ours, with the weights of a file, if there is any."""
    if pretrained is True:
        raise OutskirtsError(f"The backbone '{backbone.name}' has no published weights; pass the path of a state dict.")
    if pretrained:
        own = backbone.network.state_dict()
        state = fitted(own, read_state(pretrained))
        require_fit(own, state, f"The weights {pretrained} do not fit the network")
        load_weights(backbone.network, state, strict=False)
    return backbone


def _of_file(
    make: Callable[[int | None], nn.Module], example: Tensor, name: str, file: str
) -> tuple[Backbone, nn.Module | None]:
    """A backbone with the weights of a file, and the head that is in it; None if it has none."""
    model, state = make(None), read_state(file)
    whole = model.state_dict()
    if not whole.keys() <= fitted(whole, state).keys():
        backbone, _ = _adapted(model, example, name)
        own = backbone.network.state_dict()
        if len(own) < len(whole) and not misfits(own, weights := fitted(own, state)):
            load_weights(backbone.network, weights, strict=False)
            return backbone, None
        model = make(None)  # The other was taken apart.
    backbone, head = _adapted(with_weights(model, make, state, file), example, name)
    return backbone, None if isinstance(head, NoHead) else head


def _adapted(model: nn.Module, example: Tensor, name: str) -> tuple[Backbone, nn.Module]:
    """A backbone that gives features alone, and the head, if any."""
    backbone, head = adapt(model, example, "none" if is_headless(model) else None, name)
    return without_logits(backbone, head), head


def native_size(name: str) -> int | None:
    """The only side, in pixels, of the images that a backbone takes; None if it takes others too."""
    return clip.clip_size(name) if name.startswith(clip.PREFIX) else None


def _model(name: str, channels: int, size: int, weights: bool | str, classes: int | None) -> nn.Module:
    bare = name.rpartition(":")[2]
    if bare not in known_backbones():
        return library_model(name, channels, size, weights, classes, known_backbones())
    if weights:
        raise OutskirtsError(f"'{name}' has no published weights; pass the path of a state dict.")
    model = torchvision.models.get_model(bare.removesuffix("-cifar"), num_classes=classes or _CLASSES)
    model.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model
