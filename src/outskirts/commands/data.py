"""``outskirts data``: what is done to image sets before a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import tyro

from ..data.fetch import catalogue, fetch
from ..data.pack import pack
from ..data.sources.token_set import DType
from ..data.verify import verify
from ..extraction.tokens import extract_tokens
from ..synthesis.backgrounds import cut_backgrounds
from .console import Command, choose, show, telling

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
    """Images per forward pass, at least 1."""
    shard: int = 512
    """Images per file, at least 1."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded, and count them."""

    def __call__(self) -> None:
        with telling() as (saying, progress):
            extract_tokens(
                self.backbone,
                self.data,
                self.out,
                dtype=self.dtype,
                precision=self.precision,
                device=self.device,
                batch_size=self.batch_size,
                shard=self.shard,
                skip_corrupt=self.skip_corrupt,
                say=saying,
                progress=progress,
            )


@dataclass(frozen=True, kw_only=True)
class Backgrounds(Command):
    """Cut the surroundings of an object out of images, for use as OOD images.

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
    """Side of a window, as a share of the shorter side of the image, above 0 and at most 0.5."""
    max_probability: float = 0.05
    """Largest probability of the object in the window, from 0 to 1; images in which all windows exceed it are left
    out."""

    def __call__(self) -> None:
        with telling() as (saying, progress):
            cut_backgrounds(
                self.data,
                self.out,
                self.objects,
                network=self.network,
                weights=self.weights,
                share=self.share,
                max_probability=self.max_probability,
                say=saying,
                progress=progress,
            )


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
                show(f"{entry.name}: {entry.description}. {entry.homepage}; terms: {entry.licence}.")
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
    """Shorter side of the images in pixels, at least 1. Default: images keep their size."""
    quality: int | None = None
    """JPEG quality from 1 to 95. Default: images are stored without loss."""

    def __call__(self) -> None:
        with telling() as (saying, progress):
            pack(self.data, self.out, side=self.side, quality=self.quality, say=saying, progress=progress)


@dataclass(frozen=True)
class Verify(Command):
    """Compare a fetched set, or a pool of synthetic images, with its manifest, byte by byte."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts data verify pool:pools/photos",)

    folder: tyro.conf.Positional[str]
    """The folder, or the name of a fetched set."""

    def __call__(self) -> None:
        verify(self.folder, say=show)


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
