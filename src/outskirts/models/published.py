"""Checkpoints as the published repositories save them, in the names of this package.

Their files are nested, wrapped and named each in its own way, and hold parts that no evaluation uses. What a layout
does not know is left over, which is an error; the originals load what happens to fit, silently.

References:
    | CIDER, https://github.com/deeplearning-wisc/cider
    | NPOS, https://github.com/deeplearning-wisc/npos
    | ASCOOD, https://github.com/sudarshanregmi/ASCOOD, in the layout of OpenOOD, https://github.com/Jingkang50/OpenOOD
    | NCIS, https://github.com/LarsDoorenbos/NCIS
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..data.transform import IMAGENET
from ..errors import OutskirtsError

__all__ = ["LAYOUTS", "Published"]

_CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_NPOS_CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
_CIFAR100 = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
#: CIDER takes one for both, NCIS that of CIFAR-10 for both.
_CIDER, _NCIS = ((0.491, 0.482, 0.447), (0.247, 0.244, 0.262)), ((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616))

Pairs = Iterable[tuple[str, Tensor]]


@dataclass(frozen=True)
class Published:
    """A checkpoint in terms of this package.

    Arguments:
        method: With which it was trained, as far as evaluation needs to know.
        settings: Settings of the method.
        backbone: The network's name.
        state: Tensors by the names of `outskirts.models.classifier.Classifier`.
        left: Names of the file that the layout does not know.
        normalisation: Mean and standard deviation of pixels, on the scale of 0 to 1.
        own: Beginnings of names that are not in the file, but known otherwise.
        large: Mean and standard deviation of pixels where the same network was trained on large images, if it was; the
            file does not tell.
    """

    method: str
    backbone: str
    state: Mapping[str, Tensor]
    normalization: tuple[tuple[float, ...], tuple[float, ...]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    large: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def _named(
    checkpoint: Mapping[str, Any], rename: Callable[[str, Tensor], Pairs | None]
) -> tuple[dict[str, Tensor], Any]:
    """Tensors by new names, and the old names of those for which there is none."""
    nested = next((checkpoint[key] for key in ("state_dict", "model", "net") if key in checkpoint), checkpoint)
    state: dict[str, Tensor] = {}
    left = []
    if not isinstance(nested, Mapping) or not all(isinstance(name, str) for name in nested):
        raise OutskirtsError("The checkpoint does not hold tensors by their names; a state dict does.")
    for name, value in nested.items():
        if not isinstance(value, Tensor):
            raise OutskirtsError(f"The checkpoint's '{name}' is not a tensor; a state dict holds tensors only.")
        # Of DataParallel about the whole, or about a part.
        bare = re.sub(r"(^|\.)module\.", r"\1", name)
        pairs = rename(bare, value)
        if pairs is None:
            left.append(name)
        else:
            state.update(pairs)
    return state, tuple(left)


def _encoder(name: str, value: Tensor) -> Pairs:
    """A part of a ResNet, as torchvision calls it."""
    name = name.replace(".shortcut.", ".downsample.")
    # CIDER's large encoder is a sequence: 0 conv1, 1 bn1, 2 relu, 3 pooling, 4 to 7 the layers.
    places = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    first, dot, rest = name.partition(".")
    return [(f"backbone.{places.get(first, first)}{dot}{rest}", value)]


def _resnet(state: Mapping[str, Tensor]) -> str:
    """The name of the ResNet whose tensors these are."""
    stem = state.get("backbone.conv1.weight")
    blocks = len({key.split(".")[2] for key in state if key.startswith("backbone.layer3.")})
    wide = "backbone.layer1.0.conv3.weight" in state
    depth = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101, (36, True): 152}.get((blocks, wide))
    if stem is None or stem.ndim != 4 or depth is None:
        raise OutskirtsError("The checkpoint does not hold a ResNet that is known here; check the layout's name.")
    return f"resnet{depth}-cifar" if stem.shape[-1] == 3 else f"torchvision:resnet{depth}"


def _pixels(backbone: str, small: Any, classes: int) -> Any:
    if not backbone.endswith("-cifar"):
        return IMAGENET
    return small if small is not None else _CIFAR100 if classes == 100 else _CIFAR10


def _projection(state: Mapping[str, Tensor]) -> dict[str, Any]:
    last = "head.projection.weight" if "head.projection.weight" in state else "head.projection.2.weight"
    if last not in state or not state[last].ndim:
        raise OutskirtsError("The checkpoint has no projection (head.*); check the layout's name.")
    return {"embedding": len(state[last]), "projection": "linear" if last == "head.projection.weight" else "mlp"}


def _prototypes(checkpoint: Mapping[str, Any], *parts: str) -> dict[str, Tensor]:
    """The moving averages, which the repositories keep with the loss."""
    for part in parts:
        stored = checkpoint.get(part)
        if isinstance(stored, Mapping) and isinstance(stored.get("prototypes"), Tensor):
            return {"head.prototypes": stored["prototypes"].float()}
    return {}


def _cider(checkpoint: Mapping[str, Any], backbone: str) -> Published:
    def rename(name: str, value: Tensor) -> Pairs | None:
        part, _, rest = name.partition(".")
        if part == "encoder":
            return _encoder(rest, value)
        if part == "head":
            return [(f"head.projection.{rest}", value)]
        # A linear layer that the losses never reach.
        return [] if part == "fc" else None

    state, left = _named(checkpoint, rename)
    backbone = backbone or _resnet(state)
    settings = _projection(state)
    state |= _prototypes(checkpoint, "dis_state_dict")
    return Published("cider", backbone, state, _pixels(backbone, _CIDER, 0), settings, left)


def _npos(checkpoint: Mapping[str, Any], backbone: str) -> Published:
    def rename(name: str, value: Tensor) -> Pairs | None:
        part, _, rest = name.partition(".")
        if part in ("encoder", "model"):
            # The large network brings the linear layer of torchvision, unused.
            return [] if rest.startswith("fc.") else _encoder(rest, value)
        if part in ("head", "proj"):
            return [(f"head.projection.{rest}", value)]
        if part in ("mlp", "outlier_MLP"):
            return [(f"head.ood_head.network.{rest}", value)]
        # The prototypes that are a parameter take no part in any loss.
        return [] if part in ("fc", "prototypes") else None

    state, left = _named(checkpoint, rename)
    if "head.projection.0.weight" in state and "head.projection.2.weight" not in state:
        raise OutskirtsError(
            "The checkpoint is of NPOS's ResNet-101 for ImageNet-100 (proj.0), whose rectified projection is not read; "
            "its networks for CIFAR are, and those on CLIP by the layout npos-clip."
        )
    backbone = backbone or _resnet(state)
    settings = _projection(state)
    state |= _prototypes(checkpoint, "criterion_disp", "dis_state_dict")
    classes = len(state.get("head.prototypes", ()))
    small = _CIFAR100 if classes == 100 else _NPOS_CIFAR10
    return Published("npos", backbone, state, _pixels(backbone, small, classes), settings, left)


def _npos_clip(checkpoint: Mapping[str, Any], backbone: str) -> Published:
    if not backbone.startswith("clip:"):
        raise OutskirtsError(
            "This layout holds only the last blocks of CLIP; name the folder of the whole model: --backbone clip:DIR"
        )
    parts = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
        "attn.out_proj": "self_attn.out_proj",
    }

    def rename(name: str, value: Tensor) -> Pairs | None:
        value = value.float()
        if name == "proj":
            return [("backbone.projection.weight", value.T.contiguous())]
        if match := re.fullmatch(r"outlier_MLP\.(.*)", name):
            return [(f"head.ood_head.network.{match[1]}", value)]
        if match := re.fullmatch(r"ln_post\.(.*)", name):
            return [(f"backbone.norm.{match[1]}", value)]
        if match := re.fullmatch(r"transformer_resblocks\.block(\d+)\.(.*)", name):
            block = f"backbone.blocks.layers.{match[1]}."
            if third := re.fullmatch(r"attn\.in_proj_(weight|bias)", match[2]):
                return [(f"{block}self_attn.{one}_proj.{third[1]}", part) for one, part in zip("qkv", value.chunk(3))]
            part, _, last = match[2].rpartition(".")
            return [(f"{block}{parts[part]}.{last}", value)] if part in parts else None
        return None

    state, left = _named(checkpoint, rename)
    own = ("backbone.trunk.", "head.prototypes")
    return Published("npos-clip", backbone, state, IMAGENET, {}, left, own)


def _classifier(name: str, value: Tensor) -> Pairs:
    part, _, rest = name.partition(".")
    return [(f"head.linear.{rest}", value)] if part in ("fc", "linear") else _encoder(name, value)


def _ascood(checkpoint: Mapping[str, Any], backbone: str) -> Published:
    def rename(name: str, value: Tensor) -> Pairs | None:
        if name == "sigma":
            return [("head.inputs.sigma", value)]
        return _classifier(name.removeprefix("backbone."), value) if name.startswith("backbone.") else None

    state, left = _named(checkpoint, rename)
    if "head.inputs.sigma" not in state:
        raise OutskirtsError(
            "The checkpoint has no 'sigma', which every checkpoint of ASCOOD has; check the layout's name."
        )
    backbone = backbone or _resnet(state)
    classes = len(state.get("head.linear.weight", ()))
    return Published("ascood", backbone, state, _pixels(backbone, None, classes), {}, left)


def _openood(checkpoint: Mapping[str, Any], backbone: str) -> Published:
    def rename(name: str, value: Tensor) -> Pairs:
        part = name.partition(".")[0]
        if part in ("backbone", "block1"):
            raise OutskirtsError(
                f"The checkpoint has the part '{part}': it is of a network of OpenOOD that is not read (CIDERNet, "
                "NPOSNet, GodinNet, T2FNormNet and PALMNet have a 'backbone', WideResNet a 'block1'). A plain ResNet "
                "is read, and ASCOOD's network by the layout ascood."
            )
        return _classifier(name, value)

    state, left = _named(checkpoint, rename)
    backbone = backbone or _resnet(state)
    classes = len(state.get("head.linear.weight", ()))
    return Published("ce", backbone, state, _pixels(backbone, None, classes), {}, left)


def _ncis(checkpoint: Mapping[str, Any], backbone: str) -> Published:
    def rename(name: str, value: Tensor) -> Pairs:
        return _classifier(name.removeprefix("encoder."), value)

    # How energies were told apart in training takes no part in a score, and is in no file.
    state, left = _named(checkpoint, rename)
    backbone = backbone or _resnet(state)
    # Images of ImageNet go through the same small stem.
    return Published("ce", backbone, state, _pixels(backbone, _NCIS, 0), {}, left, large=IMAGENET)


#: From what `outskirts.models.weights.read_checkpoint` finds, and the network's name where the file does not tell. They
#: raise an `OutskirtsError` for what is clearly of another layout.
LAYOUTS: Mapping[str, Callable[[Mapping[str, Any], str], Published]] = {
    "ascood": _ascood,
    "cider": _cider,
    "ncis": _ncis,
    "npos": _npos,
    "npos-clip": _npos_clip,
    "openood": _openood,
}
