"""Tokens: what a network's frozen trunk says of each image, kept on disk in place of the image.

A folder holds ``manifest.json``, which says by what and of what the tokens were made, and shards
``tokens-00000.safetensors``, … with the columns ``tokens`` [n, L, D] in half precision, ``labels`` [n] and ``keys``
[n, 16], by which images are recognised. Shards are whole or absent, so an extraction that was stopped goes on where
it was. Nothing about an image can be augmented any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...devices import sent
from ...errors import OutskirtsError
from ...files import digest, load_json, require_alike, require_empty, save_json, save_tensors
from ..imageset import ImageSet
from ..loading.ahead import batches
from ..threads import Progress
from ..transform import Transform
from .spec import source

__all__ = ["DType", "TokenSet", "extract_tokens", "open_tokens"]

DType: TypeAlias = Literal["float16", "bfloat16"]

#: Raised when folders of an earlier version can no longer be read.
FORMAT = 1


def extract_tokens(
    trunk: Callable[[Tensor], Tensor],
    transform: Transform,
    images: ImageSet,
    folder: Path,
    *,
    dtype: DType = "float16",
    precision: Literal["fp32", "bf16"] = "fp32",
    shard: int = 512,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: Progress = lambda done: None,
) -> None:
    """Write the tokens of every image, or those that an earlier call did not come to.

    Arguments:
        trunk: Maps normalised images [B, 3, H, W] to tokens [B, 1, L, D].
        transform: With the trunk's name.
        images: None of them corrupt.
        folder: New, empty, or begun with the same arguments.
        dtype: Of the tokens in the files.
        precision: Of the trunk.
        shard: Images per file.
        batch_size: Images per forward pass.
        device: Where the trunk runs.
        progress: Called with the number of images done.

    Raises:
        OutskirtsError: If the folder holds anything else, or an image cannot be decoded.
    """
    if not images.pictures:
        raise OutskirtsError(f"{images.spec} holds tokens already.")
    sizes = [min(shard, len(images) - start) for start in range(0, len(images), shard)]
    _begin(
        folder,
        {
            "format": FORMAT,
            "transform": transform.to_json(),
            "dtype": dtype,
            "precision": precision,
            "data": images.spec,
            "note": images.note,
            "fingerprint": images.fingerprint,
            "classes": images.classes,
            "shards": sizes,
        },
    )
    where = torch.device(device)
    done = 0
    for number, size in enumerate(sizes):
        file = _shard(folder, number)
        if not file.is_file():
            part = images.subset(torch.arange(done, done + size))
            with (
                torch.no_grad(),
                torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"),
                closing(batches(part, transform, batch_size)) as decoded,
            ):
                # They stay on the device until all are there: none is waited for.
                blocks = [
                    trunk(transform.device(sent(pixels, where)))[:, 0].to(getattr(torch, dtype))
                    for pixels, _ in decoded
                ]
            tokens = torch.cat(blocks).cpu()
            if not tokens.isfinite().all():
                raise OutskirtsError(f"Tokens of {images.spec} exceed the range of {dtype}; choose bfloat16.")
            keys = torch.tensor([list(bytes.fromhex(key)) for key in part.keys], dtype=torch.uint8)
            save_tensors(file, {"tokens": tokens, "labels": part.labels, "keys": keys})
        done += size
        progress(done)


def _begin(folder: Path, about: dict[str, Any]) -> None:
    """Write the manifest, unless it is there and says the same."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        require_empty(folder)
        save_json(manifest, about)
    names = ("format", "fingerprint", "transform", "dtype", "precision", "shards")
    require_alike(str(folder), load_json(manifest), about, *names)


class _Rows:
    """The tokens of a folder, read when asked for."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.sizes: list[int] = about["shards"]
        with _opened(_shard(folder, 0)) as file:
            self.shape: list[int] = file.get_slice("tokens").get_shape()[1:]
        columns = []
        for number, size in enumerate(self.sizes):
            with _opened(_shard(folder, number)) as file:
                columns.append((file.get_tensor("labels"), file.get_tensor("keys")))
            if len(columns[-1][0]) != size:
                raise OutskirtsError(f"{_shard(folder, number)} holds {len(columns[-1][0])} rows instead of {size}.")
        self.labels, self.keys = (torch.cat(column) for column in zip(*columns))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Tensor:
        """The tokens of one image, [1, L, D]."""
        number, at = divmod(row, self.sizes[0])
        with _opened(_shard(self.folder, number)) as file:
            return file.get_slice("tokens")[at : at + 1]

    def gather(self, rows: Tensor) -> Tensor:
        """The tokens of many images, [N, 1, L, D], each file opened once."""
        tokens = torch.empty(len(rows), *self.shape, dtype=getattr(torch, self.about["dtype"]))
        numbers = rows // self.sizes[0]
        for number in numbers.unique().tolist():
            chosen = numbers == number
            with _opened(_shard(self.folder, number)) as file:
                tokens[chosen] = file.get_tensor("tokens")[rows[chosen] - number * self.sizes[0]]
        return tokens[:, None]


class TokenSet(ImageSet):
    """An image set whose images are tokens, half precision [1, L, D], for the network that they were made with."""

    pictures: ClassVar[bool] = False
    items: _Rows

    def image(self, i: int) -> Tensor:
        """The tokens of image `i`, [1, L, D]."""
        return self.items[int(self.index[i])]

    def nbytes(self, transform: Transform, room: bool = False) -> int:
        """The bytes that `resident` would take."""
        self._require(transform)
        length, width = self.items.shape
        return 2 * len(self) * length * width

    def resident(
        self,
        transform: Transform,
        room: bool = False,
        skip_corrupt: bool = False,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All tokens [N, 1, L, D] and labels [N]; an error unless they were made with this transform and its trunk."""
        self._require(transform)
        return self.items.gather(self.index), self.labels

    @cached_property
    def fingerprint(self) -> str:
        """A hash over the images, labels and half precision; another than that of the images themselves."""
        about = self.items.about
        return digest("tokens", about["dtype"], about["precision"], "".join(self.keys), self.labels)

    def _key(self, row: int) -> str:
        return bytes(self.items.keys[row].tolist()).hex()

    def _require(self, transform: Transform) -> None:
        made, own = Transform.from_json(self.items.about["transform"]).to_json(), transform.to_json()
        for name, value in own.items():
            if made[name] != value:
                raise OutskirtsError(
                    f"The tokens in {self.items.folder} were made with another {name}: {made[name] or 'none'}, but the "
                    f"network has {value or 'none'}; extract them again with its own --backbone."
                )


@source("tokens")
def open_tokens(where: Path) -> TokenSet:
    """The tokens in a folder; an error if their extraction is not finished."""
    about = load_json(where / "manifest.json")
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise OutskirtsError(f"{where} holds no tokens that this version of outskirts can read.")
    missing = [number for number in range(len(about["shards"])) if not _shard(where, number).is_file()]
    if missing:
        raise OutskirtsError(
            f"{where} is not finished: {len(missing)} of {len(about['shards'])} shards are missing; "
            "call outskirts data extract again as before, and it goes on."
        )
    rows = _Rows(where, about)
    return TokenSet(rows, rows.labels, about["classes"], f"tokens:{where}", about["note"])


def _shard(folder: Path, number: int) -> Path:
    return folder / f"tokens-{number:05d}.safetensors"


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, "pt") as stream:
            yield stream
    except (SafetensorError, FileNotFoundError) as error:
        raise OutskirtsError(f"{file} is damaged ({error}); delete it and extract again.") from error
