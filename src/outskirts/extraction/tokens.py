"""Tokens of images: the output of the frozen blocks of a CLIP model, computed once for every training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..arguments import check_arguments, require_positive
from ..data.imageset import ImageSet
from ..data.notes import left_out, require_sound
from ..data.sources import open as open_images
from ..data.sources.token_set import DType, write_tokens
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..models.clip import PREFIX, ClipTower, clip_backbone
from ..paths import output_path
from ..telling import Progress, Say, nobody, silence
from ..texts import counted

__all__ = ["extract_tokens"]


@check_arguments
def extract_tokens(
    backbone: str,
    data: ImageSet | str | Path,
    out: Path | str,
    *,
    dtype: DType = "float16",
    precision: Literal["fp32", "bf16"] = "fp32",
    device: str = "auto",
    batch_size: int = 64,
    shard: int = 512,
    skip_corrupt: bool = False,
    say: Say = silence,
    progress: Progress = nobody,
) -> ImageSet:
    """Compute the output of the frozen blocks of a CLIP model for each image, once, to train the other blocks from it.

    A call that was stopped goes on when it is made again.

    Arguments:
        backbone: A CLIP folder as ``clip:DIR``, or ``clip:DIR?frozen=N`` for N frozen blocks; all but the last two
            unless given.
        data: The images, or their spec.
        out: Folder for the tokens: new, empty, or begun with the same arguments.
        dtype: Number format of the tokens on disk.
        precision: Precision of the network.
        device: Device of the network: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        batch_size: Images per forward pass.
        shard: Images per file.
        skip_corrupt: Leave out images that cannot be decoded.
        say: Told how many images were left out, and where the tokens are.
        progress: Told of the images done.

    Returns:
        The tokens, half precision [1, L, D] for each image, as an image set; its `spec` is ``tokens:DIR``.

    Raises:
        OutskirtsError: If the backbone is no CLIP folder, the folder holds anything else, or an image cannot be
            decoded.
    """
    require_positive(batch_size=batch_size, shard=shard)
    if not backbone.startswith(PREFIX):
        raise OutskirtsError(f"Only CLIP models have frozen blocks to extract; pass --backbone {PREFIX}DIR.")
    images, out = open_images(data), output_path(out).absolute()
    built, where = clip_backbone(backbone), resolve_device(device)
    assert isinstance(built.network, ClipTower) and built.transform is not None
    if skip_corrupt:
        sound = images.decodable(built.transform.reading)
        require_sound(images)
        images = sound
    write_tokens(
        built.network.to(where).tokens,
        built.transform,
        images,
        out,
        dtype=dtype,
        precision=precision,
        shard=shard,
        batch_size=batch_size,
        device=where,
        progress=lambda done: progress("extracting", done, len(images)),
    )
    for sentence in left_out(images.skipped):
        say(sentence)
    say(f"{counted(len(images), 'image')} in {out}; open them as tokens:{out}")
    return open_images(f"tokens:{out}")
