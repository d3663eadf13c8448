"""NPOS's checkpoints, https://github.com/deeplearning-wisc/npos."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...data.transform import IMAGENET
from ...errors import OutskirtsError
from .layout import CIFAR100, Pairs, Published, encoder, named, pixels, projection, prototypes, resnet

__all__ = ["npos", "npos_clip"]

_CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
#: Of OpenAI's CLIP, by which its ResNet-101 for ImageNet-100 is trained and evaluated, too.
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def npos(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """An encoder, a projection and a network φ; the prototypes lie beside the state dict, if anywhere."""

    def rename(name: str, value: Tensor) -> Pairs | None:
        part, _, rest = name.partition(".")
        if part == "encoder":
            return encoder(rest, value)
        if part == "model":
            # The large network brings the linear layer of torchvision, unused.
            return [] if rest.startswith("fc.") else encoder(rest, value)
        if part == "head":
            return [(f"head.projection.{rest}", value)]
        if part == "proj":
            return [(f"backbone.1.{rest.removeprefix('0.')}", value)]
        if part in ("mlp", "outlier_MLP"):
            return [(f"head.ood_head.network.{rest}", value)]
        # Neither this layer nor the prototypes that are a parameter take part in any loss.
        return [] if part in ("fc", "prototypes") else None

    state, left = named(checkpoint, rename)
    if "backbone.1.weight" in state:
        return _large(state, left, backbone)
    backbone = backbone or resnet(state)
    settings = projection(state)
    state |= prototypes(checkpoint, "criterion_disp", "dis_state_dict")
    small = CIFAR100 if classes == 100 else _CIFAR10
    return Published("npos", backbone, state, pixels(backbone, small, classes), settings, left)


def _large(state: Mapping[str, Tensor], left: tuple[str, ...], backbone: str) -> Published:
    """The ResNet-101 for ImageNet-100, whose rectified projection is what its evaluation takes for features."""
    units, hidden = state["backbone.1.weight"], state.get("head.ood_head.network.0.weight")
    if units.ndim != 2 or hidden is None:
        raise OutskirtsError(
            "The checkpoint has a projection proj.0, but not the outlier_MLP of NPOS's network for ImageNet-100 beside "
            "it; check the layout's name."
        )
    settings = {"projection": "none", "embedding": len(units), "ood_head_hidden": len(hidden)}
    note = (
        "NPOS's own evaluation squeezes images to a square of 224 pixels, and here their centre is cut out; its "
        "features are the rectified projection."
    )
    backbone = backbone or f"{resnet(state)}-rectified{len(units)}"
    # The encoder comes first, and then the projection.
    inside = {re.sub(r"^backbone\.(?!1\.)", "backbone.0.", name): value for name, value in state.items()}
    return Published("npos", backbone, inside, _CLIP, settings, left, note=note)


def npos_clip(checkpoint: Mapping[str, Any], backbone: str, classes: int) -> Published:
    """The last blocks of CLIP's image tower, and a network φ."""
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

    state, left = named(checkpoint, rename)
    own = ("backbone.trunk.", "head.prototypes")
    return Published("npos-clip", backbone, state, IMAGENET, {}, left, own)
