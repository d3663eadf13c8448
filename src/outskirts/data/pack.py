"""An image set as one Parquet file of smaller images, in the layout of Hugging Face."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import MissingExtra, OutskirtsError
from ..files import atomic
from .decode import picture, scaled
from .imageset import ImageSet

__all__ = ["pack"]

_BLOCK = 1000


def pack(
    images: ImageSet,
    out: Path,
    *,
    side: int = 0,
    quality: int = 0,
    progress: Callable[[int], object] = lambda done: None,
) -> None:
    """Write a set as a Parquet file: columns ``image``, ``label`` and that of its attribute, names in the metadata.

    Images keep their files' names, as far as they have some. The file appears when it is whole.

    Arguments:
        images: The set.
        out: The file; an error if it is there.
        side: Pixels to which the shorter side is brought, bilinear; 0 leaves images as they are.
        quality: Quality of JPEG files, from 1 to 95; 0 writes lossless files.
        progress: Told how many images are done.

    Raises:
        OutskirtsError: If the file is there, or an image cannot be decoded.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtra("A Parquet file", "parquet") from error
    if out.exists():
        raise OutskirtsError(f"{out} is there already; choose another name, or remove it.")
    if not 0 <= quality <= 95:
        raise OutskirtsError(f"The quality of a JPEG image must be from 1 to 95, or 0 for none, not {quality}.")
    if side < 0:
        raise OutskirtsError(f"side must be a number of pixels, or 0, not {side}.")
    known = images.attribute
    names = {"label": list(images.classes)} | ({known.name: list(known.values)} if known else {})
    columns = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    schema = pa.schema([*columns, *((name, pa.int64()) for name in names)], {"huggingface": _metadata(names)})
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out) as scratch, pq.ParquetWriter(scratch, schema) as file:
        for start in range(0, len(images), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(images)))
            table: dict[str, Any] = {
                "image": [_entry(images, i, side, quality) for i in rows],
                "label": images.labels[rows.start : rows.stop].numpy(),
            }
            if known:
                table[known.name] = known.index[rows.start : rows.stop].numpy()
            file.write_table(pa.table(table, schema))
            progress(rows.stop)


def _entry(images: ImageSet, i: int, side: int, quality: int) -> dict[str, Any]:
    shown = picture(images.image(i))
    shown = scaled(shown, side) if side else shown
    content = io.BytesIO()
    if quality:
        shown.save(content, "jpeg", quality=quality)
    elif shown.mode == "L":  # WebP has no grey images.
        shown.save(content, "png")
    else:
        shown.save(content, "webp", lossless=True)
    name = images.name(i)
    return {"bytes": content.getvalue(), "path": f"{i}" if name.startswith("row ") else Path(name).name}


def _metadata(names: dict[str, list[str]]) -> str:
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {name: {"_type": "ClassLabel", "names": values} for name, values in names.items()}
    return json.dumps({"info": {"features": features}})
