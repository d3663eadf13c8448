"""Tables in the layout of Hugging Face: Parquet files, and folders written by `save_to_disk`."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from torch import Tensor

from ...errors import MissingExtra, OutskirtsError, loading, unknown
from ...files import reading
from ..attribute import Attribute
from ..decode import CorruptImage, Item
from ..imageset import ImageSet
from .grouping import by_column
from .labels import IN_PATH, class_indices, finder, named
from .spec import source

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["hf", "parquet"]


@source("parquet")
def parquet(
    where: Path | str,
    image: str = "image",
    label: str = "label",
    attribute: str | None = None,
    group: str | None = None,
) -> ImageSet:
    """A Parquet file, a folder of them or a pattern such as ``train-*.parquet``, read in alphabetical order.

    The encoded images are held in memory, as they are in the file. A set that does not fit is better kept as
    a folder of files or in the form that ``hf:`` maps into memory.

    Arguments:
        where: The file, folder or pattern, or a URL of one that fsspec knows, such as ``s3://bucket/train-*.parquet``.
        image: The column of images: struct of bytes and path, or just bytes.
        label: The column of labels, whole numbers or names; ``none`` for images without labels. Names of
            numbered classes come from the schema's metadata. ``path:PATTERN`` reads them from the images' file
            names: the first group of a regular expression, such as ``path:(.+)_[0-9]+.jpg``.
        attribute: A column of what else is known of each image, such as where it was taken.
        group: A column of what each image is of, such as a patient; or ``path:PATTERN``, see `by_path`.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtra("A Parquet file", "parquet") from error
    shards = _shards(where)
    if not shards:
        raise OutskirtsError(f"There is no Parquet file {where}.")
    tables = []
    for shard, opening in shards.items():
        try:
            # By an open file, as PyArrow takes no path that is not in UTF-8.
            with opening() as stream, pq.ParquetFile(stream) as file:
                tables.append(file.read(_checked(image, label, attribute, group, file.schema_arrow.names, shard)))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise OutskirtsError(f"{shard} is damaged or not a Parquet file ({error}).") from error
    if any(table.schema != tables[0].schema for table in tables):
        raise OutskirtsError(
            f"The files of {where} have different columns; name only files that have the same columns."
        )
    first = next(iter(shards))
    base = first.parent if isinstance(first, Path) else None
    return _image_set(pa.concat_tables(tables), image, label, attribute, group, base, f"parquet:{where}")


def _shards(where: Path | str) -> dict[Path | str, Callable[[], AbstractContextManager[Any]]]:
    """The files of a table in alphabetical order, and what opens each."""
    if isinstance(where, Path):
        found = sorted(map(Path, glob.glob(str(where / "*.parquet" if where.is_dir() else where))))
        return {shard: partial(_opened, shard) for shard in found}
    import fsspec  # It comes with torch.

    with loading(f"{where} cannot be read"):
        files, root = fsspec.core.url_to_fs(where)
        pattern = f"{root.rstrip('/')}/*.parquet" if files.isdir(root) else root
        return {shard: partial(_remote, files, shard) for shard in sorted(files.glob(pattern))}


@contextmanager
def _opened(shard: Path) -> Iterator[BinaryIO]:
    with reading(shard), shard.open("rb") as stream:
        yield stream


@contextmanager
def _remote(files: Any, shard: str) -> Iterator[BinaryIO]:
    """A file of a file system of fsspec, whose errors are of any kind."""
    with loading(f"{shard} cannot be read"), files.open(shard, "rb") as stream:
        yield stream


@source("hf")
def hf(
    where: Path,
    split: str | None = None,
    image: str = "image",
    label: str = "label",
    attribute: str | None = None,
    group: str | None = None,
) -> ImageSet:
    """A folder that the library `datasets` wrote with `save_to_disk`, mapped into memory.

    Arguments:
        where: The folder.
        split: Which set of a `DatasetDict`.
        image: The column of images.
        label: The column of labels, ``path:PATTERN`` or ``none``.
        attribute: A column of what else is known of each image.
        group: A column of what each image is of, or ``path:PATTERN``.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtra("A folder written by the library datasets", "hf") from error
    if not where.is_dir():
        raise OutskirtsError(f"There is no folder {where}.")
    with loading(f"{where} was not written by save_to_disk, or is damaged"):
        stored = datasets.load_from_disk(str(where))
    if isinstance(stored, datasets.DatasetDict):
        if split is None:
            raise OutskirtsError(f"{where} holds several sets; choose one with ?split={'|'.join(stored)}.")
        if split not in stored:
            raise unknown("split", split, stored, f"in {where}")
        stored = stored[split]
    elif split is not None:
        raise OutskirtsError(f"{where} holds a single set; leave out split={split}.")
    columns = _checked(image, label, attribute, group, stored.column_names, where)
    with loading(f"{where} is damaged"):
        table = stored.with_format("arrow")[:].select(columns)
        # A damaged file may say that a value lies where nothing is mapped, and to look there would end the process.
        table.validate(full=True)
    return _image_set(table, image, label, attribute, group, where, f"hf:{where}")


class _Images:
    """A column of images, each read from the table when asked for."""

    def __init__(self, column: pa.ChunkedArray, base: Path | None, where: str) -> None:
        self.column = column
        self.base = base
        self.where = where

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, row: int) -> Item:
        value = self.column[row].as_py()
        content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if content is None and not path:
            raise CorruptImage(f"row {row} of {self.where} holds no image.")
        if content is not None:
            return content
        if self.base is None:
            raise CorruptImage(f"row {row} of {self.where} names a file, which is read beside a table on a disk alone.")
        return self.base / str(path)

    def path(self, row: int) -> str | None:
        """What the table calls the image, if it names any."""
        value = self.column[row]
        return value["path"].as_py() if "path" in getattr(value, "keys", tuple)() else None


def _image_set(
    table: pa.Table, image: str, label: str, attribute: str | None, group: str | None, base: Path | None, spec: str
) -> ImageSet:
    import pyarrow as pa

    kind = table.schema.field(image).type
    has_bytes = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not (has_bytes or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise OutskirtsError(f"The column '{image}' of {spec} holds {kind}; images are struct<bytes, path> or binary.")
    if not len(table):
        raise OutskirtsError(f"{spec} holds no images.")
    items = _Images(table[image], base, spec)
    labels: Tensor | None = None
    classes: list[str] = []
    if label.startswith(IN_PATH):
        labels, classes = named(_matched(table[image], label.removeprefix(IN_PATH), spec))
    elif label != "none":
        labels, classes = _column(table, label, spec)
    known = None
    if attribute:
        index, values = _column(table, attribute, spec)
        if bool((index < 0).any()):
            raise OutskirtsError(
                f"The column '{attribute}' of {spec} has no value for some images; choose a column with a value "
                "for every image."
            )
        known = Attribute(attribute, tuple(values or map(str, range(int(index.max()) + 1))), index)
    return ImageSet(items, labels, classes, spec, attribute=known, group=_groups(table, group, spec))


def _groups(table: pa.Table, name: str | None, spec: str) -> Attribute | None:
    """The groups that a column names; None where a pattern will find them, or none are asked for."""
    if name is None or name.startswith(IN_PATH):
        return None
    names = _names(table.schema, name)
    values = table[name].to_pylist()
    if names:
        values = [None if value is None else names[value] for value in values]
    return by_column(name, ["" if value is None else str(value) for value in values], spec)


def _column(table: pa.Table, name: str, spec: str) -> tuple[Tensor, list[str]]:
    """The numbers in a column, -1 for none, and what they stand for, if it is known."""
    import pyarrow as pa
    import pyarrow.compute as pc

    stored, names = table[name], _names(table.schema, name)
    if pa.types.is_string(stored.type) or pa.types.is_large_string(stored.type):
        names = sorted(stored.unique().drop_null().to_pylist())
        stored = pc.index_in(stored, pa.array(names, stored.type))
    if pa.types.is_integer(stored.type):
        stored = stored.fill_null(-1)
    return class_indices(stored.to_numpy(), len(table), f"The labels in column '{name}' of {spec}"), names


def _matched(images: pa.ChunkedArray, pattern: str, spec: str) -> list[str]:
    """What a pattern finds in the path of each image."""
    expression = finder(pattern)
    if expression.groups != 1:
        raise OutskirtsError(
            f"'{pattern}' has {expression.groups} groups, and must have one; put the part that names the class in "
            "brackets: (.+)."
        )
    class_names = []
    for row, image in enumerate(images):
        value = image.as_py()
        path = value.get("path") if isinstance(value, dict) else None
        match = expression.fullmatch(path or "")
        if match is None:
            raise OutskirtsError(f"'{pattern}' does not match the path of row {row} of {spec}, '{path or ''}'.")
        class_names.append(match[1])
    return class_names


def _checked(
    image: str, label: str, attribute: str | None, group: str | None, known: Sequence[str], where: Path | str
) -> list[str]:
    if image not in known:
        raise OutskirtsError(f"{unknown('column', image, known, f'in {where}')} Choose with ?image=COLUMN.")
    labeled = label != "none" and not label.startswith(IN_PATH)
    if labeled and label not in known:
        raise OutskirtsError(
            f"{unknown('column', label, known, f'in {where}')} Choose with ?label=COLUMN or ?label=none."
        )
    if attribute and attribute not in known:
        raise OutskirtsError(f"{unknown('column', attribute, known, f'in {where}')} Choose with ?attribute=COLUMN.")
    if group and not group.startswith(IN_PATH) and group not in known:
        raise OutskirtsError(f"{unknown('column', group, known, f'in {where}')} Choose with ?group=COLUMN.")
    others = [name for name in (attribute, group) if name and not name.startswith(IN_PATH)]
    return list(dict.fromkeys([image, *[label] * labeled, *others]))


def _names(schema: pa.Schema, label: str) -> list[str]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return features[label]["names"]
    except (KeyError, TypeError, ValueError):
        # Other programs' metadata, or a column that is not a class label: the classes have no names.
        return []
