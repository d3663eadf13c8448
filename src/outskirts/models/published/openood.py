"""OpenOOD's checkpoints, https://github.com/Jingkang50/OpenOOD: plain classifiers, and networks about a backbone.

Which network it is, its parts tell; the file does not name it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...errors import OutskirtsError
from .layout import Layout, Pairs, Published, bare, classifier, encoder, named, pixels, projection, resnet, tensors

__all__ = ["ascood", "openood"]

#: OpenOOD takes the 50th neighbour unless it chooses another on its validation images.
_NEIGHBOURS = 50
#: T2FNorm's networks for so many classes are fine-tuned ones, whose scores OpenOOD does not divide by τ.
_FINE_TUNED = 1000

_ALIKE = (
    "CIDERNet and PALMNet save the same tensors: the detector knn is published with CIDER, and mahalanobis with PALM, "
    "whose several prototypes of a class are not in the file."
)


def openood(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """Any network of OpenOOD that is read."""
    parts = _parts(checkpoint)
    for needed, reader in _READERS.items():
        if parts.issuperset(needed):
            return reader(checkpoint, backbone, classes)
    if "backbone" in parts:
        shown = ", ".join(sorted(parts))
        raise OutskirtsError(
            f"The checkpoint is of a network of OpenOOD that is not read; it has the parts {shown}. CIDERNet, NPOSNet, "
            "PALMNet, GodinNet, T2FNormNet, RotNet, ASCOODNet, WideResNet and plain ResNets are read. ConfBranchNet, "
            "CSINet, MCDNet and UDGNet are scored by parts that no detector here reads."
        )
    return _plain(checkpoint, backbone, classes)


def ascood(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """ASCOODNet, whose linear layer is the backbone's, on standardised features."""
    if "sigma" not in _parts(checkpoint):
        raise OutskirtsError(
            "The checkpoint has no 'sigma', which every checkpoint of ASCOOD has; check the layout's name."
        )

    def rename(name: str, value: Tensor) -> Pairs | None:
        if name == "sigma":
            return [("head.inputs.sigma", value)]
        return classifier(name.removeprefix("backbone."), value) if name.startswith("backbone.") else None

    return _classifier("ascood", checkpoint, backbone, classes, rename)


def _t2fnorm(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """T2FNormNet, whose linear layer is the backbone's."""

    def rename(name: str, value: Tensor) -> Pairs | None:
        if name == "tau":
            return [("head.inputs.temperature", torch.ones_like(value) if classes == _FINE_TUNED else value)]
        return classifier(name.removeprefix("backbone."), value) if name.startswith("backbone.") else None

    return _classifier("t2fnorm", checkpoint, backbone, classes, rename)


def _embedding(method: str, note: str, checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """CIDERNet, PALMNet and NPOSNet; their prototypes are in no file."""

    def rename(name: str, value: Tensor) -> Pairs | None:
        part, _, rest = name.partition(".")
        if part == "backbone":
            return encoder(rest, value)
        if part == "head":
            return [(f"head.projection.{rest}", value)]
        if part == "mlp":
            return [(f"head.ood_head.network.{rest}", value)]
        # NPOSNet's parameter of this name takes part in no loss.
        return [] if part == "prototypes" else None

    state, left = named(checkpoint, rename)
    hidden = state.get("head.ood_head.network.0.weight")
    settings = {**projection(state), "neighbours": _NEIGHBOURS}
    if hidden is not None:
        settings["ood_head_hidden"] = len(hidden)
    backbone = backbone or resnet(state)
    return Published(method, backbone, state, pixels(backbone, None, classes), settings, left, note=note)


def _godin(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """GodinNet with cosines, which OpenOOD trains unless told otherwise."""

    def rename(name: str, value: Tensor) -> Pairs | None:
        part, _, rest = name.partition(".")
        if part == "backbone":
            return encoder(rest, value)
        if part == "g":
            return [(f"head.divisor.{rest}", value)]
        if name == "h.h.bias":
            raise OutskirtsError(
                "The checkpoint is of a GodinNet whose numerator is an inner product (h.h.bias); one with cosines, "
                "OpenOOD's own choice, is read."
            )
        return [("head.weight", value)] if name == "h.h.weight" else None

    return _classifier("godin", checkpoint, backbone, classes, rename)


def _rotation(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """RotNet, with a linear layer for classes and one for rotations."""

    def rename(name: str, value: Tensor) -> Pairs | None:
        part, _, rest = name.partition(".")
        if part == "backbone":
            # Where the backbone's own linear layer is still there, it takes no part.
            return [] if rest.startswith("fc.") else encoder(rest, value)
        heads = {"fc": "head.linear", "rot_fc": "head.rotation"}
        return [(f"{heads[part]}.{rest}", value)] if part in heads else None

    return _classifier("rotpred", checkpoint, backbone, classes, rename)


def _wide(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """WideResNet, of any depth and width."""

    def rename(name: str, value: Tensor) -> Pairs | None:
        if match := re.fullmatch(r"block(\d)\.layer\.(.*)", name):
            return [(f"backbone.layer{match[1]}.{match[2].replace('convShortcut', 'shortcut')}", value)]
        return classifier(name, value)

    def architecture(state: Mapping[str, Tensor]) -> str:
        blocks = len({key.split(".")[2] for key in state if key.startswith("backbone.layer1.")})
        first = state.get("backbone.layer1.0.conv1.weight")
        if first is None or first.ndim != 4:
            raise OutskirtsError("The checkpoint does not hold a WideResNet; check the layout's name.")
        return f"wrn{6 * blocks + 4}-{len(first) // 16}-cifar"

    return _classifier("ce", checkpoint, backbone, classes, rename, architecture)


def _plain(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """A ResNet and its linear layer."""
    return _classifier("ce", checkpoint, backbone, classes, classifier)


def _classifier(
    method: str,
    checkpoint: Mapping[str, Any],
    backbone: str,
    classes: int,
    rename: Callable[[str, Tensor], Pairs | None],
    architecture: Callable[[Mapping[str, Tensor]], str] = resnet,
) -> Published:
    state, left = named(checkpoint, rename)
    backbone = backbone or architecture(state)
    return Published(method, backbone, state, pixels(backbone, None, classes), {}, left)


def _parts(checkpoint: Mapping[str, Any]) -> set[str]:
    return {bare(name).partition(".")[0] for name in tensors(checkpoint)}


#: By the parts that a network needs to have; the first that has all of them.
_READERS: Mapping[tuple[str, ...], Layout] = {
    ("backbone", "sigma"): ascood,
    ("backbone", "tau"): _t2fnorm,
    ("backbone", "h", "g"): _godin,
    ("backbone", "head", "mlp"): partial(_embedding, "npos", ""),
    ("backbone", "head"): partial(_embedding, "cider", _ALIKE),
    ("backbone", "fc", "rot_fc"): _rotation,
    ("block1",): _wide,
}
