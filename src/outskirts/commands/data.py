"""``outskirts data``: what is done to image sets before a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ..data.benchmark import benchmarks, described
from ..data.catalogue import RECORD, Entry, catalogue, fetch, known, verify
from ..data.pack import pack
from ..data.sources import open as open_images
from ..data.sources.pool import verify_pool
from ..data.sources.spec import data_folder
from ..data.sources.token_set import DType, extract_tokens
from ..data.sources.torchvision_sets import SETS
from ..devices import resolve_device
from ..errors import OutskirtsError, unknown
from ..models.clip import PREFIX, ClipTower, clip_backbone
from .console import bar, options, say

__all__ = ["main"]


@dataclass(frozen=True)
class Extract:
    """Compute once what the frozen blocks of a CLIP model say of each image, to train and evaluate the others from.

    Stopped, it goes on where it was when called again. Open the result as tokens:DIR.
    """

    backbone: str = ""
    """The CLIP folder as clip:DIR, or clip:DIR?frozen=N; all but the last two blocks are frozen unless given."""
    data: str = ""
    """Images, as a spec such as folder:photos/train."""
    out: str = ""
    """Where the tokens go."""
    dtype: DType = "float16"
    """Of the tokens in the files."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the network."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
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


def main(arguments: Sequence[str]) -> None:
    """Run one of the commands below."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: outskirts data COMMAND [OPTIONS]\n")
        print("\n".join(f"  {name}  {what}" for name, (what, _) in _COMMANDS.items()))
        return
    if arguments[0] not in _COMMANDS:
        raise unknown("command of data", arguments[0], _COMMANDS)
    _COMMANDS[arguments[0]][1](arguments[1:])


def _extract(arguments: Sequence[str]) -> None:
    given = options(Extract, "data extract", arguments)
    if not (given.backbone and given.data and given.out):
        raise OutskirtsError("Pass the network, the images and a folder: --backbone clip:DIR --data SPEC --out DIR.")
    if not given.backbone.startswith(PREFIX):
        raise OutskirtsError(f"Only CLIP models have frozen blocks to extract; pass --backbone {PREFIX}DIR.")
    images = open_images(given.data)
    if given.skip_corrupt:
        images = images.decodable()
    backbone, out = clip_backbone(given.backbone), Path(given.out).absolute()
    tower, transform = backbone.network, backbone.transform
    assert isinstance(tower, ClipTower) and transform is not None
    device = resolve_device(given.device)
    with bar() as progress:
        task = progress.add_task("extracting", total=len(images), figures="images")
        extract_tokens(
            tower.to(device).tokens,
            transform,
            images,
            out,
            dtype=given.dtype,
            precision=given.precision,
            shard=given.shard,
            batch_size=given.batch_size,
            device=device,
            progress=lambda done: progress.update(task, completed=done),
        )
    if images.skipped:
        say(f"{len(images.skipped)} images could not be decoded and were left out, such as {images.skipped[0]}.")
    say(f"{len(images):,} images in {out}; open them as tokens:{out}")


@dataclass(frozen=True)
class Backgrounds:
    """Cut out of images what is around their object, as OOD images that only the surroundings speak for.

    Of eight windows along the border, the one in which a classifier of ImageNet sees least of the object.
    """

    data: str = ""
    """Images, as a spec such as folder:photos/test; with an attribute, each of its values gets a folder."""
    out: str = ""
    """Where the cut-outs go; a bare name goes into the folder of all sets, and is opened by it."""
    objects: str = ""
    """The object among ImageNet's categories, by names or numbers such as 7-24,80-100,127-146 for birds."""
    network: str = "mobilenet_v2"
    """One of torchvision's classifiers."""
    weights: str = "IMAGENET1K_V1"
    """Which of its published weights."""
    share: float = 0.4
    """Side of the windows, as a share of the image's shorter side."""
    most: float = 0.05
    """Images are left out if more of the object is seen in every window, as a probability."""


def _backgrounds(arguments: Sequence[str]) -> None:
    from ..synthesis.backgrounds import backgrounds, imagenet_sight, save_backgrounds

    given = options(Backgrounds, "data backgrounds", arguments)
    if not (given.data and given.out and given.objects):
        raise OutskirtsError("Pass the images, their object and a folder: --data SPEC --objects 7-24 --out DIR.")
    images, out = open_images(given.data), _placed(given.out)
    sight = imagenet_sight(given.objects, given.network, given.weights)
    about = {name: getattr(given, name) for name in ("objects", "network", "weights", "share", "most")}
    with bar() as progress:
        task = progress.add_task("cutting out", total=len(images), figures="images")
        found = backgrounds(images, sight, share=given.share, most=given.most)
        count = save_backgrounds(images, found, out, about, lambda done: progress.update(task, completed=done))
    say(f"{count:,} of {len(images):,} images gave a background: {out}")


@dataclass(frozen=True)
class Fetch:
    """Download a set of images, resumably, into the folder of all sets; it is then opened by its name."""

    name: tyro.conf.Positional[str]
    """Its name, or that of a benchmark for all its sets; or list for all there are."""


def _fetch(arguments: Sequence[str]) -> None:
    given = options(Fetch, "data fetch", arguments)
    if given.name == "list":
        for entry in catalogue().values():
            say(f"{entry.name}: {entry.description}. {entry.homepage}; terms: {entry.licence}.")
        say(f"By torchvision, when first opened: {', '.join(sorted(SETS))}.")
    elif given.name in SETS:
        say(f"{len(open_images(given.name)):,} images in {data_folder()}; open them as {given.name}")
    elif given.name in catalogue():
        _fetch_entry(known(given.name))
    elif given.name in benchmarks():
        failed = 0
        for name in described(given.name)["needs"]:
            try:
                _fetch_entry(known(name))
            except OutskirtsError as error:
                failed += 1
                say(str(error))
        if failed:
            raise OutskirtsError(f"{failed} of the sets of '{given.name}' are not there; see above.")
    else:
        raise unknown("image set or benchmark to fetch", given.name, [*catalogue(), *SETS, *benchmarks()])


def _fetch_entry(entry: Entry) -> None:
    with bar() as progress:
        task = progress.add_task(entry.name, total=None, figures="bytes")
        folder = fetch(entry, data_folder(), lambda done, total: progress.update(task, completed=done, total=total))
    opened = "" if entry.folder else f"; open it as {entry.name}"
    say(f"{entry.name} is in {folder}{opened}. Terms: {entry.licence}.")


@dataclass(frozen=True)
class Pack:
    """Write a set of images as one Parquet file of smaller images, which is opened by its name."""

    data: str = ""
    """Images, as a spec such as folder:photos/train."""
    out: str = ""
    """The file; a bare name goes into the folder of all sets, and is opened by it."""
    side: int = 0
    """Pixels of the shorter side; as they are unless given."""
    quality: int = 0
    """Of JPEG files, 1 to 95; lossless unless given."""


def _pack(arguments: Sequence[str]) -> None:
    given = options(Pack, "data pack", arguments)
    if not (given.data and given.out):
        raise OutskirtsError("Pass the images and a file: --data SPEC --out NAME.")
    images, out = open_images(given.data), _placed(given.out).with_suffix(".parquet")
    with bar() as progress:
        task = progress.add_task("packing", total=len(images), figures="images")
        pack(
            images,
            out,
            side=given.side,
            quality=given.quality,
            progress=lambda done: progress.update(task, completed=done),
        )
    say(f"{len(images):,} images in {out}")


def _placed(name: str) -> Path:
    """A path, or a bare name in the folder of all sets."""
    return ((data_folder() if Path(name).name == name else Path()) / name).absolute()


@dataclass(frozen=True)
class Verify:
    """Compare a fetched set, or a pool of synthetic images, with its manifest, byte by byte."""

    folder: tyro.conf.Positional[str]
    """The folder, or the name of a fetched set."""


def _verify(arguments: Sequence[str]) -> None:
    given = options(Verify, "data verify", arguments)
    named = given.folder in catalogue()
    folder = known(given.folder).place(data_folder()) if named else Path(given.folder.removeprefix("pool:")).absolute()
    if named or (folder / RECORD).is_file():
        say(f"{folder} is whole: {verify(folder):,} files, as they were fetched.")
        return
    about = verify_pool(folder)
    made_by = about["generator"]["name"]
    say(f"{given.folder} is whole: {about['count']:,} images of {len(about['classes'])} classes, made by {made_by}.")


_COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "backgrounds": ("cut out of images what is around their object", _backgrounds),
    "extract": ("what the frozen blocks of a CLIP model say of each image, computed once", _extract),
    "fetch": ("download a set of images", _fetch),
    "pack": ("write a set of images as one file of smaller images", _pack),
    "verify": ("whether a fetched set, or a pool of synthetic images, is whole", _verify),
}
