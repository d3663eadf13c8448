"""Tokens: what a network's frozen trunk says of each image, kept on disk in place of the image.

A folder of shards (`outskirts.data.shards`) has the columns ``tokens`` [n, L, D] in half precision, ``labels`` [n] and
``keys`` [n, 16], by which images are recognised. An extraction that was stopped goes on where it was. Nothing about an
image can be augmented any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from ...contents import misfit
from ...devices import sent
from ...errors import OutskirtsError
from ...files import digest
from ..imageset import ImageSet
from ..loading.ahead import batches
from ..reading import Reading
from ..shards import ShardKind, Shards
from ..threads import Done
from ..transform import Transform
from .spec import source

__all__ = ["DType", "TokenSet", "open_tokens", "write_tokens"]

DType: TypeAlias = Literal["float16", "bfloat16"]

#: The format is raised when folders of an earlier version can no longer be read.
_KIND = ShardKind(
    content="tokens",
    stem="tokens",
    sizes="shards",
    format=2,
    resume="give the same command outskirts data extract again",
    remake="extract again",
)
#: What is read of the manifest.
_ABOUT = {"classes": [str], "note": str, "dtype": str, "precision": str, "transform": dict}


def write_tokens(
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
    progress: Done = lambda done: None,
) -> None:
    """Write the tokens of every image, or those that an earlier call did not come to.

    Arguments:
        trunk: Maps normalised images [B, 3, H, W] to tokens [B, 1, L, D].
        transform: With the trunk's name.
        images: None of them corrupt.
        folder: New, empty, or begun with the same arguments.
        dtype: Number format of the tokens in the files.
        precision: Precision of the frozen trunk.
        shard: Images per file.
        batch_size: Images per forward pass.
        device: Where the trunk runs.
        progress: Called with the number of images done.

    Raises:
        OutskirtsError: If the folder holds anything else, or an image cannot be decoded.
    """
    if not images.pictures:
        raise OutskirtsError(f"{images.spec} holds tokens already.")
    about = {
        "transform": transform.to_json(),
        "dtype": dtype,
        "precision": precision,
        "data": images.spec,
        "note": images.note,
        "fingerprint": images.fingerprint,
        "classes": images.classes,
    }
    shards = Shards.begin(folder, _KIND, len(images), shard, about, free=("data", "note", "classes"))
    where = torch.device(device)
    done = 0
    for number, size in enumerate(shards.sizes):
        if shards.lacks(number):
            part = images.subset(shards.rows(number))
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
            shards.write(number, {"tokens": tokens, "labels": part.labels, "keys": keys})
        done += size
        progress(done)


class _Rows:
    """The tokens of a folder, read when asked for."""

    def __init__(self, shards: Shards) -> None:
        self.shards, self.folder, self.about = shards, shards.folder, shards.about
        self.shape = shards.gather("tokens", torch.arange(0)).shape[1:]
        self.labels, self.keys = shards.columns("labels", "keys")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Tensor:
        """The tokens of one image, [1, L, D]."""
        return self.shards.row("tokens", row)

    def gather(self, rows: Tensor) -> Tensor:
        """The tokens of many images, [N, 1, L, D], each file opened once."""
        return self.shards.gather("tokens", rows)[:, None]


class TokenSet(ImageSet):
    """An image set whose images are tokens, half precision [1, L, D], for the network that they were made with."""

    pictures: ClassVar[bool] = False
    items: _Rows

    @property
    def reading(self) -> Reading:
        """How the pixels behind the tokens were read."""
        return Transform.from_json(self.items.about["transform"]).reading

    def image(self, i: int, reading: Reading | None = None) -> Tensor:
        """The tokens of image `i`, [1, L, D], whose pixels were read before."""
        return self.items[int(self.index[i])]

    def nbytes(self, transform: Transform, room: bool = False) -> int:
        """The bytes that `resident` would take."""
        self._require(transform)
        length, width = self.items.shape
        return 2 * len(self) * length * width

    def _read(self, transform: Transform, *_: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """All tokens [N, 1, L, D] and labels [N]; an error unless they were made with this transform and its trunk."""
        self._require(transform)
        return self.items.gather(self.index), self.labels

    @cached_property
    def keys(self) -> list[str]:
        """The keys of the images that the tokens are of."""
        return [bytes(key).hex() for key in self.items.keys[self.index].numpy()]

    @property
    def first_keys(self) -> list[str]:
        """An error: what version 0.1 called the images is not known any more."""
        raise OutskirtsError(
            f"The images behind the tokens in {self.items.folder} cannot be compared with those that version 0.1 of "
            "outskirts has used; pass the images themselves."
        )

    def _fingerprint(self, keys: Sequence[str]) -> str:
        # Another than that of the images themselves.
        about = self.items.about
        return digest("tokens", about["dtype"], about["precision"], "".join(keys), self.labels)

    def _require(self, transform: Transform) -> None:
        made, own = Transform.from_json(self.items.about["transform"]).to_json(), transform.to_json()
        for name, value in own.items():
            if made.get(name) != value:
                raise OutskirtsError(
                    f"The tokens in {self.items.folder} were made with another {name}: "
                    f"{made.get(name) or 'none'}, but the network has {value or 'none'}; extract them again with "
                    "the --backbone of this network."
                )


@source("tokens")
def open_tokens(where: Path) -> TokenSet:
    """The tokens in a folder; an error if their extraction is not finished."""
    shards = Shards.open(where, _KIND)
    if clause := misfit(shards.about, _ABOUT):
        raise OutskirtsError(f"{where} is damaged: its manifest does not fit, as {clause}; extract the tokens again.")
    rows = _Rows(shards)
    return TokenSet(rows, rows.labels, rows.about["classes"], f"tokens:{where}", rows.about["note"])
