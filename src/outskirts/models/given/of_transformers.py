"""Image classifiers of the library transformers, and zero-shot classifiers of CLIP, from local folders."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ...errors import OutskirtsError
from ...files import is_file, load_json
from ..clip import PREFIX, ClipTower, clip_backbone, reading_folder, text_prototypes
from ..heads import PrototypeHead
from .opened import Opened
from .processors import processor_transform
from .spec import ModelSpec

__all__ = ["hf_from_config", "open_clip", "open_hf"]


def open_hf(spec: ModelSpec) -> Opened:
    """A folder that ``save_pretrained`` wrote: the network and its image processor. No code in it is run."""
    folder = Path(spec.where)
    if not is_file(folder / "config.json"):
        raise OutskirtsError(f"{folder} is not a folder of transformers: it has no config.json.")
    kinds = load_json(folder / "config.json", {"architectures": ([str], None)}).get("architectures") or [""]
    classifies = kinds[0].endswith(("ForImageClassification", "ForImageClassificationWithTeacher"))
    with reading_folder(folder, "folder") as library:
        maker = library.AutoModelForImageClassification if classifies else library.AutoModel
        model, loaded = maker.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    # Without a pooler, the features are those of the class token.
    pooler = not any("pooler" in name for name in loaded["missing_keys"])
    if loaded["missing_keys"] and pooler:
        raise OutskirtsError(f"The weights in {folder} lack {', '.join(sorted(loaded['missing_keys'])[:3])}.")
    names = model.config.id2label if classifies else {}
    classes = tuple(str(names[place]) for place in range(len(names)) if place in names)
    transform = processor_transform(folder, spec)
    entry = None if classifies else "pooler_output" if pooler else "last_hidden_state"
    known = classes if len(classes) == len(names) else ()
    # The attention is computed in one of several ways, which differ in their last bits.
    about = {"config": model.config.to_dict(), "entry": entry, "attention": model.config._attn_implementation}
    return Opened(_Pixels(model.float().eval(), entry), transform, known, headless=not classifies, about=about)


def hf_from_config(config: Mapping[str, Any], entry: str | None, attention: str | None) -> tuple[nn.Module, bool]:
    """A network of transformers with random weights, and whether it returns features, not logits.

    Arguments:
        config: Configuration of the network.
        entry: Name of the tensor that it returns; None for logits.
        attention: Name of the way in which the library computes the attention; its own unless given.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        with reading_folder(Path(folder), "folder") as library:
            known = library.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            maker = library.AutoModel if entry else library.AutoModelForImageClassification
            model = maker.from_config(known, attn_implementation=attention)
    return _Pixels(model.float().eval(), entry), entry is not None


class _Pixels(nn.Module):
    """A network of transformers that takes images as its first argument, and returns one tensor where it is named."""

    def __init__(self, model: nn.Module, entry: str | None) -> None:
        super().__init__()
        self.model = model
        self.entry = entry

    def forward(self, images: Any) -> Any:
        returned = self.model(pixel_values=images)
        if self.entry is None:
            return returned.logits
        value = getattr(returned, self.entry, None)
        value = returned.last_hidden_state if value is None else value
        return value[:, 0] if value.ndim == 3 else value.flatten(1)


def open_clip(spec: ModelSpec, classes: tuple[str, ...]) -> Opened:
    """A CLIP model whose logits are cosines to the texts of the classes, over its own temperature.

    Arguments:
        spec: May have ``words=``, one for each class, and ``template=``.
        classes: Names of the classes; they are the words unless others are given.

    References:
        | Delving into Out-of-Distribution Detection with Vision-Language Representations (Ming et al., 2022)
        | https://arxiv.org/abs/2211.13445
    """
    words = tuple(word.strip() for word in spec.options["words"].split(",")) if "words" in spec.options else classes
    if not words:
        raise OutskirtsError(f"'{spec}' needs words for its classes; add words=cat,dog or pass training images.")
    if classes and len(words) != len(classes):
        raise OutskirtsError(f"There are {len(classes)} classes and {len(words)} words in '{spec}'.")
    backbone = clip_backbone(f"{PREFIX}{spec.where}")
    tower = backbone.network
    assert isinstance(tower, ClipTower)
    with reading_folder(tower.folder) as library:
        scale = library.CLIPModel.from_pretrained(tower.folder, local_files_only=True).logit_scale.exp().item()
    head = PrototypeHead(nn.Identity(), len(words), backbone.dim, temperature=1 / scale)
    head.prototypes.copy_(text_prototypes(tower.folder, words, spec.options.get("template", "ensemble")))
    about = {"tower": tower.name, "temperature": head.temperature}
    return Opened(None, backbone.transform, classes or words, split=(backbone, head), about=about)
