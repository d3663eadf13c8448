"""An image set as one Parquet file of smaller images, in the layout of Hugging Face."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from ..errors import MissingExtra, OutskirtsError
from ..files import atomic
from ..paths import home_expanded
from ..telling import Progress, Say, nobody, silence
from ..temporary import require_last_name, require_new
from ..texts import counted, in_unicode
from .attribute import Attribute
from .decode import picture, scaled
from .imageset import ImageSet
from .notes import notes_of
from .reading import USUAL
from .sources import open as open_images
from .sources.labels import IN_PATH
from .sources.spec import placed

__all__ = ["pack"]

_BLOCK = 1000


def pack(
    data: ImageSet | str | Path,
    out: Path | str,
    *,
    side: int | None = None,
    quality: int | None = None,
    say: Say = silence,
    progress: Progress = nobody,
) -> ImageSet:
    """Write a set of images as one Parquet file of smaller images.

    Its columns are ``image``, ``label``, and those of the images' attribute and group, with names in the metadata.
    Groups by ``path:PATTERN`` are in the column ``group``. Images keep their files' names, as far as they have some.
    The file appears when it is whole.

    Arguments:
        data: The images, or their spec.
        out: The file, whose name ends in ``.parquet``, and which must be new. A bare name, as text, stands for a
            file beside all fetched sets, and is opened by that name.
        side: Pixels to which the shorter side is brought, bilinear; images stay as they are unless given.
        quality: Quality of JPEG files, from 1 to 95; files are lossless unless given.
        say: Told where the file is.
        progress: Told of the images packed.

    Returns:
        The images of the file.

    Raises:
        OutskirtsError: If the file is there, or an image cannot be decoded.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtra("A Parquet file", "parquet") from error
    require_last_name(home_expanded(out))
    images, out = open_images(data), placed(out).with_suffix(".parquet")
    if not images.pictures:
        raise OutskirtsError(f"{images.spec} holds tokens and no images; pack the images that they were made of.")
    require_new(out)
    if quality is not None and not 1 <= quality <= 95:
        raise OutskirtsError(f"The quality of a JPEG image must be from 1 to 95, not {quality}.")
    if side is not None and side < 1:
        raise OutskirtsError(f"side must be a number of pixels, at least 1, not {side}.")
    known = _known(images)
    names = {"label": list(images.classes)} | {name: list(one.values) for name, one in known.items()}
    columns = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    schema = pa.schema([*columns, *((name, pa.int64()) for name in names)], {"huggingface": _metadata(names)})
    out.parent.mkdir(parents=True, exist_ok=True)
    # By an open file, as PyArrow takes no path that is not in UTF-8.
    with atomic(out) as scratch, scratch.open("wb") as stream, pq.ParquetWriter(stream, schema) as file:
        for start in range(0, len(images), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(images)))
            table: dict[str, Any] = {
                "image": [_entry(images, i, side, quality) for i in rows],
                "label": images.labels[rows.start : rows.stop].numpy(),
            }
            table |= {name: one.index[rows.start : rows.stop].numpy() for name, one in known.items()}
            file.write_table(pa.table(table, schema))
            progress("packing", rows.stop, len(images))
    for sentence in (*notes_of({"Images": images}), f"{counted(len(images), 'image')} in {out}"):
        say(sentence)
    return open_images(out)


def _known(images: ImageSet) -> dict[str, Attribute]:
    """What else is known of each image, by the names of columns."""
    known = {} if images.attribute is None else {images.attribute.name: images.attribute}
    if images.group is not None:
        name = "group" if images.group.name.startswith(IN_PATH) else images.group.name
        # A column that is there already tells the groups, too.
        known |= {name: images.group} if name not in ("label", *known) else {}
    return known


def _entry(images: ImageSet, i: int, side: int | None, quality: int | None) -> dict[str, Any]:
    # The file's images have 8 bits; what has more is refused.
    shown = picture(images.image(i, USUAL))
    shown = shown if side is None else scaled(shown, side)
    content = io.BytesIO()
    if quality is not None:
        shown.save(content, "jpeg", quality=quality)
    elif shown.mode == "L":  # WebP has no grey images.
        shown.save(content, "png")
    else:
        shown.save(content, "webp", lossless=True)
    name = images.name(i)
    path = f"{i}" if name.startswith("row ") else in_unicode(Path(name).name)
    return {"bytes": content.getvalue(), "path": path}


def _metadata(names: dict[str, list[str]]) -> str:
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {name: {"_type": "ClassLabel", "names": values} for name, values in names.items()}
    return json.dumps({"info": {"features": features}})
