"""``outskirts data``: what is done to image sets before a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import tyro

from ..data.catalogue import RECORD, catalogue, known, verify
from ..data.fetch import fetch
from ..data.pack import pack
from ..data.sources import open as open_images
from ..data.sources.pool import verify_pool
from ..data.sources.spec import data_folder
from ..data.sources.token_set import DType, extract_tokens
from ..data.sources.torchvision_sets import SETS
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..models.clip import PREFIX, ClipTower, clip_backbone
from .console import Command, choose, say, telling

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True, kw_only=True)
class Extract(Command):
    """Compute the output of the frozen blocks of a CLIP model for each image, once, to train the other blocks from it.

    A command that was stopped goes on when it is called again. Open the result as tokens:DIR.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts data extract --backbone clip:clip --data folder:photos/train --out tokens/train",
    )

    backbone: str
    """CLIP folder as clip:DIR, or clip:DIR?frozen=N for N frozen blocks. Default: all but the last two are frozen."""
    data: str
    """Images to read, as a spec such as folder:photos/train."""
    out: Path
    """Folder for the tokens."""
    dtype: DType = "float16"
    """Number format of the tokens on disk."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the network."""
    device: str = "auto"
    """Device of the network: auto, cpu, cuda or mps."""
    batch_size: int = 64
    """Images per forward pass."""
    shard: int = 512
    """Images per file."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded, and count them."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "shard"):
            if getattr(self, name) < 1:
                raise OutskirtsError(f"{name} is at least 1, not {getattr(self, name)}.")

    def __call__(self) -> None:
        if not self.backbone.startswith(PREFIX):
            raise OutskirtsError(f"Only CLIP models have frozen blocks to extract; pass --backbone {PREFIX}DIR.")
        images = open_images(self.data)
        if self.skip_corrupt:
            images = images.decodable()
        backbone, out = clip_backbone(self.backbone), self.out.absolute()
        tower, transform = backbone.network, backbone.transform
        assert isinstance(tower, ClipTower) and transform is not None
        device = resolve_device(self.device)
        with telling() as (_, progress):
            extract_tokens(
                tower.to(device).tokens,
                transform,
                images,
                out,
                dtype=self.dtype,
                precision=self.precision,
                shard=self.shard,
                batch_size=self.batch_size,
                device=device,
                progress=lambda done: progress("extracting", done, len(images)),
            )
        if images.skipped:
            say(f"{len(images.skipped)} images could not be decoded and were left out, such as {images.skipped[0]}.")
        say(f"{len(images):,} images in {out}; open them as tokens:{out}")


@dataclass(frozen=True, kw_only=True)
class Backgrounds(Command):
    """Cut the surroundings of an object out of images, to use them as OOD images.

    Of eight windows along the border of an image, the one is taken in which a classifier trained on ImageNet sees the
    least of the object.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts data backgrounds --data folder:photos/test --objects 7-24 --out backgrounds",
    )

    data: str
    """Images, as a spec such as folder:photos/test. Where they have an attribute, each of its values gets a folder."""
    out: str
    """Folder for the cut-outs. A bare name stands for a folder beside all fetched sets, and is opened by that name."""
    objects: str
    """Categories of ImageNet that are the object, by names or numbers: 7-24,80-100,127-146 for birds."""
    network: str = "mobilenet_v2"
    """Name of a classifier of torchvision."""
    weights: str = "IMAGENET1K_V1"
    """Name of the published weights of that classifier."""
    share: float = 0.4
    """Side of a window, as a share of the shorter side of the image, from 0 to 1."""
    max_probability: float = 0.05
    """Largest probability of the object in the window, from 0 to 1; images in which all windows exceed it are left
    out."""

    def __call__(self) -> None:
        from ..synthesis.backgrounds import backgrounds, imagenet_sight, save_backgrounds

        images, out = open_images(self.data), _placed(self.out)
        sight = imagenet_sight(self.objects, self.network, self.weights)
        about = {name: getattr(self, name) for name in ("objects", "network", "weights", "share", "max_probability")}
        with telling() as (_, progress):
            windows = backgrounds(images, sight, share=self.share, max_probability=self.max_probability)
            count = save_backgrounds(
                images, windows, out, about, lambda done: progress("cutting out", done, len(images))
            )
        say(f"{count:,} of {len(images):,} images gave a background: {out}")


@dataclass(frozen=True)
class Fetch(Command):
    """Download a set of images into the folder of all sets. The set is then opened by its name.

    A download that was stopped goes on when the command is called again.
    """

    examples: ClassVar[tuple[str, ...]] = ("outskirts data fetch list", "outskirts data fetch cifar10")

    name: tyro.conf.Positional[str]
    """Name of a set, or of a benchmark for all its sets; or list, to name all there are."""

    def __call__(self) -> None:
        if self.name == "list":
            for entry in catalogue().values():
                say(f"{entry.name}: {entry.description}. {entry.homepage}; terms: {entry.licence}.")
            say(f"By torchvision, when first opened: {', '.join(sorted(SETS))}.")
            return
        with telling() as (saying, progress):
            fetch(self.name, say=saying, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Pack(Command):
    """Write a set of images as one Parquet file of smaller images."""

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts data pack --data folder:photos/train --out ./photos.parquet --side 64",
    )

    data: str
    """Images to read, as a spec such as folder:photos/train."""
    out: str
    """The file to write. A bare name stands for a file beside all fetched sets, and is opened by that name."""
    side: int | None = None
    """Shorter side of the images in pixels. Default: images keep their size."""
    quality: int | None = None
    """JPEG quality from 1 to 95. Default: images are stored without loss."""

    def __call__(self) -> None:
        images, out = open_images(self.data), _placed(self.out).with_suffix(".parquet")
        with telling() as (_, progress):
            pack(
                images,
                out,
                side=self.side or 0,
                quality=self.quality or 0,
                progress=lambda done: progress("packing", done, len(images)),
            )
        say(f"{len(images):,} images in {out}")


@dataclass(frozen=True)
class Verify(Command):
    """Compare a fetched set, or a pool of synthetic images, with its manifest, byte by byte."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts data verify pool:pools/photos",)

    folder: tyro.conf.Positional[str]
    """The folder, or the name of a fetched set."""

    def __call__(self) -> None:
        named = self.folder in catalogue()
        bare = Path(self.folder.removeprefix("pool:")).absolute()
        folder = known(self.folder).place(data_folder()) if named else bare
        if named or (folder / RECORD).is_file():
            say(f"{folder} is whole: {verify(folder):,} files, as they were fetched.")
            return
        about = verify_pool(folder)
        made_by = about["generator"]["name"]
        say(f"{self.folder} is whole: {about['count']:,} images of {len(about['classes'])} classes, made by {made_by}.")


def _placed(name: str) -> Path:
    """A path, or a bare name in the folder of all sets."""
    return ((data_folder() if Path(name).name == name else Path()) / name).absolute()


COMMAND: dict[str, type[Command]] = {
    "backgrounds": Backgrounds,
    "extract": Extract,
    "fetch": Fetch,
    "pack": Pack,
    "verify": Verify,
}


def main(arguments: Sequence[str]) -> None:
    """Run one of the commands above."""
    choose("data", COMMAND, arguments)()
