"""What all layouts share: tensors by the names of this package, and what they tell of the network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...data.transform import IMAGENET
from ...errors import OutskirtsError

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "Layout",
    "Pairs",
    "Published",
    "bare",
    "classifier",
    "encoder",
    "named",
    "pixels",
    "projection",
    "prototypes",
    "resnet",
    "tensors",
]

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100 = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))

Pairs = Iterable[tuple[str, Tensor]]


@dataclass(frozen=True)
class Published:
    """A checkpoint in terms of this package.

    Arguments:
        method: With which it was trained, as far as evaluation needs to know.
        backbone: The network's name.
        state: Tensors by the names of `outskirts.models.classifier.Classifier`.
        normalization: Mean and standard deviation of pixels, on the scale of 0 to 1.
        settings: Settings of the method.
        left: Names of the file that the layout does not know.
        own: Beginnings of names that are not in the file, but known otherwise.
        large: Mean and standard deviation of pixels where the same network was trained on large images, if it was; the
            file does not tell.
        note: What the user should know of such a file; a sentence, or nothing.
    """

    method: str
    backbone: str
    state: Mapping[str, Tensor]
    normalization: tuple[tuple[float, ...], tuple[float, ...]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    large: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    note: str = ""


#: From what `outskirts.models.weights.read_checkpoint` finds, the network's name where the file does not tell, and the
#: number of classes, by which CIFAR-100 is known. They raise an `OutskirtsError` for what is clearly of another layout.
Layout = Callable[[Mapping[str, Any], str, int], Published]


def named(
    checkpoint: Mapping[str, Any], rename: Callable[[str, Tensor], Pairs | None]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors by new names, and the old names of those for which there is none."""
    state: dict[str, Tensor] = {}
    left = []
    for name, value in tensors(checkpoint).items():
        pairs = rename(bare(name), value)
        if pairs is None:
            left.append(name)
        else:
            state.update(pairs)
    return state, tuple(left)


def tensors(checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The state dict in a checkpoint, by whatever name it is stored there."""
    nested = next((checkpoint[key] for key in ("state_dict", "model", "net") if key in checkpoint), checkpoint)
    if not isinstance(nested, Mapping) or not all(isinstance(name, str) for name in nested):
        raise OutskirtsError("The checkpoint does not hold tensors by their names; a state dict does.")
    for name, value in nested.items():
        if not isinstance(value, Tensor):
            raise OutskirtsError(f"The checkpoint's '{name}' is not a tensor; a state dict holds tensors only.")
    return nested


def bare(name: str) -> str:
    """A name without what DataParallel adds to it, be it about the whole network or a part."""
    return re.sub(r"(^|\.)module\.", r"\1", name)


def encoder(name: str, value: Tensor) -> Pairs:
    """A part of a ResNet, as torchvision calls it."""
    name = name.replace(".shortcut.", ".downsample.")
    # CIDER's large encoder is a sequence: 0 conv1, 1 bn1, 2 relu, 3 pooling, 4 to 7 the layers.
    places = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    first, dot, rest = name.partition(".")
    return [(f"backbone.{places.get(first, first)}{dot}{rest}", value)]


def classifier(name: str, value: Tensor) -> Pairs:
    """A part of a ResNet, or of the linear layer after it."""
    part, _, rest = name.partition(".")
    return [(f"head.linear.{rest}", value)] if part in ("fc", "linear") else encoder(name, value)


def resnet(state: Mapping[str, Tensor]) -> str:
    """The name of the ResNet whose tensors these are."""
    stem = state.get("backbone.conv1.weight")
    blocks = len({key.split(".")[2] for key in state if key.startswith("backbone.layer3.")})
    wide = "backbone.layer1.0.conv3.weight" in state
    depth = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101, (36, True): 152}.get((blocks, wide))
    if stem is None or stem.ndim != 4 or depth is None:
        raise OutskirtsError("The checkpoint does not hold a ResNet that is known here; check the layout's name.")
    return f"resnet{depth}-cifar" if stem.shape[-1] == 3 else f"torchvision:resnet{depth}"


def pixels(backbone: str, small: Any, classes: int) -> Any:
    """Mean and standard deviation of pixels: ImageNet's, or those of small images, of which there may be two."""
    if not backbone.endswith("-cifar"):
        return IMAGENET
    return small if small is not None else CIFAR100 if classes == 100 else CIFAR10


def projection(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of a projection to the sphere."""
    last = "head.projection.weight" if "head.projection.weight" in state else "head.projection.2.weight"
    if last not in state or not state[last].ndim:
        raise OutskirtsError("The checkpoint has no projection (head.*); check the layout's name.")
    return {"embedding": len(state[last]), "projection": "linear" if last == "head.projection.weight" else "mlp"}


def prototypes(checkpoint: Mapping[str, Any], *parts: str) -> dict[str, Tensor]:
    """The moving averages, which the repositories keep with the loss."""
    for part in parts:
        stored = checkpoint.get(part)
        if isinstance(stored, Mapping) and isinstance(stored.get("prototypes"), Tensor):
            return {"head.prototypes": stored["prototypes"].float()}
    return {}
