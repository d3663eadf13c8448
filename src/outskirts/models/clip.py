"""CLIP from a local Hugging Face folder: the image tower as a backbone, the text tower as class prototypes.

References:
    | Learning Transferable Visual Models From Natural Language Supervision (Radford et al., 2021)
    | https://arxiv.org/abs/2103.00020
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..data.transform import Transform
from ..errors import MissingExtra, OutskirtsError, loading
from ..files import digest, is_file, load_json
from ..paths import home_expanded
from .classifier import Backbone
from .vocabulary import require_known_tokens

__all__ = [
    "PREFIX",
    "PROCESSOR",
    "RESAMPLE",
    "ClipTower",
    "clip_backbone",
    "clip_folder",
    "clip_size",
    "prompts",
    "reading_folder",
    "text_prototypes",
]

#: Begins the name of a backbone that is read from a CLIP folder.
PREFIX = "clip:"

_KINDS = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
_SIZES = ("small", "big")
_ARTICLES = ("a", "the")

#: Prompts by name: the 18 that NPOS averages, and the one of MCM.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "ensemble": (
        *(f"a {kind}photo of {article} {{}}." for kind in _KINDS for article in _ARTICLES),
        *(f"a photo of {article} {size} {{}}." for size in _SIZES for article in _ARTICLES),
    ),
    "photo": ("a photo of a {}",),
}

#: What makes an image tower; the library's own configuration holds much beside it.
_SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "num_channels",
    "projection_dim",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
)
#: What is read of the file of an image processor: a side is a number, or a number by the name of the side.
PROCESSOR: dict[str, Any] = {
    **dict.fromkeys(("size", "crop_size"), (int, {str: int}, None)),
    **dict.fromkeys(("image_mean", "image_std"), ([float], None)),
    **dict.fromkeys(("do_center_crop", "do_normalize"), (bool, None)),
    "resample": (int, None),
    "crop_pct": (float, None),
}
#: Pillow's numbers of the ways to resize.
RESAMPLE: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}


class ClipTower(nn.Module):
    """CLIP's image tower: a frozen trunk, and a tail that is trained.

    The trunk is the embedding of the patches and the first blocks. It is never trained and never in training mode,
    so what it says of an image can be computed once; see `outskirts.data.sources.token_set`. The tail is the other
    blocks, the last normalisation of the class token and its projection.

    Arguments:
        model: The image tower with its projection, of the library transformers.
        frozen: Blocks in the trunk; all but the last two unless given.
        folder: Where the text tower is.
    """

    def __init__(self, model: Any, frozen: int | None, folder: Path) -> None:
        super().__init__()
        vision = model.vision_model
        blocks = vision.encoder.layers
        self.frozen = max(0, len(blocks) - 2) if frozen is None else frozen
        self.folder = folder
        if not 0 <= self.frozen <= len(blocks):
            raise OutskirtsError(f"{folder} is a CLIP model of {len(blocks)} blocks; {frozen} cannot be frozen.")
        self.shape = {name: getattr(vision.config, name) for name in _SHAPE}
        self.trunk = nn.ModuleDict(
            {
                "embeddings": vision.embeddings,
                "norm": vision.pre_layrnorm,
                "blocks": _encoder(vision, blocks[: self.frozen]),
            }
        ).requires_grad_(False)
        self.blocks = _encoder(vision, blocks[self.frozen :])
        self.norm = vision.post_layernorm
        self.projection = model.visual_projection

    @property
    def name(self) -> str:
        """Rebuilds the tower, without weights, where its folder may be gone."""
        return PREFIX + json.dumps({"folder": str(self.folder), "frozen": self.frozen, "vision": self.shape})

    @property
    def trunk_name(self) -> str:
        """Names the trunk by its weights: equal names mean equal tokens."""
        state = self.trunk.state_dict()
        shape = json.dumps(self.shape, sort_keys=True)
        return (
            f"{self.frozen} blocks of {digest(shape, *(part for key in sorted(state) for part in (key, state[key])))}"
        )

    def tokens(self, images: Tensor) -> Tensor:
        """What the trunk says of normalised images [B, 3, H, W]: [B, 1, L, D], the class token first."""
        trunk = self.trunk
        return trunk["blocks"](inputs_embeds=trunk["norm"](trunk["embeddings"](images))).last_hidden_state[:, None]

    def forward(self, images: Tensor) -> Tensor:
        """Image embeddings [B, d], not normalised, of images [B, 3, H, W] or of their tokens [B, 1, L, D]."""
        tokens = (images if images.shape[1] == 1 else self.tokens(images)).squeeze(1)
        return self.projection(self.norm(self.blocks(inputs_embeds=tokens).last_hidden_state[:, 0]))

    def train(self, mode: bool = True) -> Self:
        if mode and any(parameter.requires_grad for parameter in self.trunk.parameters()):
            raise OutskirtsError(
                f"The first {self.frozen} blocks of this CLIP model are frozen; to train more of them, "
                f"name the backbone {PREFIX}{self.folder}?frozen=N with a smaller N."
            )
        super().train(mode)
        self.trunk.eval()
        return self


def _encoder(vision: Any, blocks: nn.ModuleList) -> nn.Module:
    """The library's encoder over some of its blocks: how a block is called differs between its versions."""
    config = copy.deepcopy(vision.config)
    config.num_hidden_layers = 0
    encoder = type(vision.encoder)(config)
    encoder.layers = blocks
    return encoder


def clip_backbone(name: str, size: int | None = None) -> Backbone:
    """An image tower with its transform.

    Arguments:
        name: ``clip:DIR`` for the folder's weights, ``clip:DIR?frozen=N`` with a trunk of N blocks, or the name of a
            tower, which is rebuilt without weights.
        size: Side of the images, in pixels; the model's own unless given.

    Raises:
        OutskirtsError: If the folder is missing, damaged or of another kind, or the model takes other sizes.
    """
    if name.startswith(f"{PREFIX}{{"):
        known = json.loads(name.removeprefix(PREFIX))
        library = _transformers()
        model = library.CLIPVisionModelWithProjection(library.CLIPVisionConfig(**known["vision"]))
        tower = ClipTower(model, known["frozen"], Path(known["folder"]))
        return Backbone(tower, tower.shape["projection_dim"], tower.name)
    folder, frozen = clip_folder(name)
    own = clip_size(name)
    if size is not None and size != own:
        raise OutskirtsError(f"The CLIP model in {folder} takes images of {own} pixels, not of {size}; leave out size.")
    tower = ClipTower(_loaded("CLIPVisionModelWithProjection", folder), frozen, folder.absolute())
    return Backbone(tower, tower.shape["projection_dim"], tower.name, _transform(folder, own, tower.trunk_name))


def clip_size(name: str) -> int:
    """The side, in pixels, of the images that a CLIP folder's model takes."""
    folder, _ = clip_folder(name)
    with reading_folder(folder) as library:
        return library.CLIPConfig.from_pretrained(folder, local_files_only=True).vision_config.image_size


def prompts(classes: Sequence[str], templates: str = "ensemble") -> list[list[str]]:
    """The prompts of each class.

    Arguments:
        classes: Names of the classes; underscores stand for spaces.
        templates: A name in `TEMPLATES`, or one's own texts with ``{}`` where the name goes, parted by ``|``.

    >>> prompts(["polar_bear"], "a drawing of a {}.|a {} at night.")
    [['a drawing of a polar bear.', 'a polar bear at night.']]
    """
    texts = TEMPLATES.get(templates) or tuple(text.strip() for text in templates.split("|"))
    for text in texts:
        if text.count("{}") != 1:
            raise OutskirtsError(
                f"The template '{text}' must have one {{}} where the class name goes; "
                f"write 'a photo of a {{}}.', or choose one of: {', '.join(TEMPLATES)}."
            )
    return [[text.replace("{}", name.replace("_", " ")) for text in texts] for name in classes]


@torch.no_grad()
def text_prototypes(folder: Path, classes: Sequence[str], templates: str = "ensemble") -> Tensor:
    """The text embedding of each class, [C, d]: normalised, averaged over its prompts, and normalised again.

    Arguments:
        folder: Folder of a CLIP model and its tokenizer.
        classes: Names of the classes.
        templates: A name in `TEMPLATES`, or your own texts with ``{}`` where the name goes, separated by ``|``.
    """
    if not (is_file(folder / "tokenizer.json") or is_file(folder / "vocab.json")):
        raise OutskirtsError(
            f"The CLIP folder {folder} has no tokenizer, which reads the class names; put the model's tokenizer.json, "
            "or vocab.json and merges.txt, into it."
        )
    model = _loaded("CLIPTextModelWithProjection", folder)
    with reading_folder(folder) as library:
        tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    most = model.config.max_position_embeddings
    embeddings = []
    for texts in prompts(classes, templates):
        with reading_folder(folder):  # It may be of another kind, or have no token to fill texts up with.
            words = tokenizer(texts, padding=True, return_tensors="pt")
        if words.input_ids.shape[1] > most:
            raise OutskirtsError(f"'{max(texts, key=len)}' is too long for this CLIP model, which reads {most} tokens.")
        require_known_tokens(tokenizer, words.input_ids.unique().tolist(), model.config.vocab_size)
        embedded = model(input_ids=words.input_ids, attention_mask=words.attention_mask).text_embeds
        embeddings.append(normalize(embedded, dim=1).mean(0))
    return normalize(torch.stack(embeddings), dim=1)


def clip_folder(name: str) -> tuple[Path, int | None]:
    """The folder of a backbone ``clip:DIR`` or ``clip:DIR?frozen=N``, and the number of frozen blocks.

    Raises:
        OutskirtsError: If there is no such folder, or it holds a model of another kind.
    """
    where, _, option = name.removeprefix(PREFIX).partition("?")
    key, _, number = option.partition("=")
    if option and (key != "frozen" or not number.isdecimal()):
        raise OutskirtsError(
            f"'{option}' in '{name}' is not an option of a CLIP backbone; write {PREFIX}DIR?frozen=10."
        )
    folder = home_expanded(where)
    if not where or not folder.is_dir():
        raise OutskirtsError(f"There is no CLIP folder '{where}'; write {PREFIX}DIR with the folder of the model.")
    kind = load_json(folder / "config.json", dict).get("model_type")
    if kind != "clip":
        raise OutskirtsError(f"{folder} holds a model of the kind '{kind}'; a CLIP folder's is 'clip'.")
    return folder, int(number) if option else None


def _transform(folder: Path, size: int, trunk: str) -> Transform:
    """What the folder says is done to an image before its model."""
    file = folder / "preprocessor_config.json"
    about = load_json(file, {**PROCESSOR, "image_mean": [float], "image_std": [float]})
    resize, crop, resample = about.get("size", size), about.get("crop_size", size), about.get("resample", 3)
    resize = resize.get("shortest_edge") if isinstance(resize, dict) else resize
    sides = set(crop.values()) if isinstance(crop, dict) else {crop}
    if resize is None or resample not in RESAMPLE or sides != {size} or not about.get("do_center_crop", True):
        raise OutskirtsError(
            f"{file} asks for a preprocessing that is not known here. It must resize the shorter side "
            f"(bilinear or bicubic), then crop the centre to the {size} pixels of the model."
        )
    return Transform(size, 3, tuple(about["image_mean"]), tuple(about["image_std"]), resize, RESAMPLE[resample], trunk)


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtra("A CLIP model", "clip") from error
    return transformers


def _loaded(kind: str, folder: Path) -> Any:
    """One of a folder's towers, in float32 and evaluation mode."""
    with reading_folder(folder) as library:
        model, loading_info = getattr(library, kind).from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    if loading_info["missing_keys"]:
        raise OutskirtsError(f"The weights in {folder} lack {', '.join(sorted(loading_info['missing_keys'])[:3])}.")
    return model.float().eval()


@contextmanager
def reading_folder(folder: Path, called: str = "CLIP folder") -> Iterator[Any]:
    """The library, quiet, and with what it raises turned into a sentence."""
    library = _transformers()
    log = library.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with loading(f"The {called} {folder} cannot be read"):
            yield library
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
