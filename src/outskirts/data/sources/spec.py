"""The texts that name image sets, such as ``parquet:birds.parquet?classes=0-5&limit=2000``.

A source is a function that returns an `ImageSet`; its signature is its grammar. A parameter `where` is what
follows the colon, a parameter `root` what follows an ``@``, and the other parameters are options after the
``?``, converted to their annotated type. The options in `VIEW` belong to every source that has no such
parameter of its own. How a value is written that holds what parts options: `option_text`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from ...errors import OutskirtsError, unknown
from ...paths import home_expanded
from ...texts import counted, joined
from ..catalogue import entries
from ..corruptions import CHANGES
from ..imageset import SUBSET, ImageSet
from ..option_text import Listing, decoded, encoded, parse_options
from .grouping import by_path
from .labels import IN_PATH
from .splits import ALL

__all__ = [
    "SOURCES",
    "Spec",
    "brief",
    "data_folder",
    "open",
    "open_split",
    "parse_spec",
    "placed",
    "reopen",
    "resolve",
    "source",
]

Opener = Callable[..., ImageSet]

SOURCES: dict[str, Opener] = {}

#: By source, what it chooses where a text leaves it open; the canonical text of what was opened says it.
_CHOICES: dict[str, Callable[..., dict[str, Any]]] = {}

#: Options of every source, in the order in which they apply; `seed` is that of `correlation`, `part` and `limit`.
VIEW: dict[str, Any] = {
    "expect": int,
    "positions": str,
    "classes": Listing,
    "group": str,
    "correlation": int,
    "part": str,
    "limit": int,
    "seed": int,
    **dict.fromkeys(CHANGES, int),
}

_LISTINGS = (Listing, Listing | None)

#: The source of a path that is written without one.
_BY_SUFFIX = {"": "folder", ".parquet": "parquet", ".npz": "npz", ".npy": "npy"}


def data_folder() -> Path:
    """Where sets lie that are called by their bare names: ``$OUTSKIRTS_DATA``, or ``~/.cache/outskirts/data``."""
    return home_expanded(os.environ.get("OUTSKIRTS_DATA") or "~/.cache/outskirts/data")


def placed(path: Path | str) -> Path:
    """Where an image set is written: a path as it is; a text that names no folder, in the `data_folder`."""
    bare = isinstance(path, str) and Path(path).name == path
    return ((data_folder() if bare else Path()) / home_expanded(path)).absolute()


def source(name: str, choose: Callable[..., dict[str, Any]] | None = None) -> Callable[[Opener], Opener]:
    """Register a function as the source called `name`.

    Arguments:
        name: Name of the source.
        choose: Called with the split that is needed and the arguments of a text; returns those that it leaves open.
    """

    def add(function: Opener) -> Opener:
        SOURCES[name] = function
        if choose is not None:
            _CHOICES[name] = choose
        return function

    return add


@dataclass(frozen=True)
class Spec:
    """A parsed spec: the source's name, its arguments, the options in `VIEW`, and whether a colon follows the name."""

    source: str
    arguments: dict[str, Any]
    view: dict[str, Any]
    colon: bool

    def __str__(self) -> str:
        where = f":{self.arguments.get('where', '')}" if self.colon else ""
        kinds = _kinds(self.source)
        texts = {
            key: str(value) if kinds[key] in _LISTINGS else encoded(str(value))
            for key, value in (self.arguments | self.view).items()
            if key != "where"
        }
        options = "&".join(f"{key}={text}" for key, text in texts.items())
        return self.source + where + (f"?{options}" if options else "")

    def completed(self, split: str) -> Spec:
        """The same with what its source chooses where it is open, such as this split of a folder that has some."""
        choose = _CHOICES.get(self.source)
        return self if choose is None else replace(self, arguments=self.arguments | choose(split, **self.arguments))


def open(spec: str | Path | ImageSet) -> ImageSet:
    """The image set that a text names; one that is open already is returned as it is.

    Arguments:
        spec: An image set, or a text: a bare name (``cifar10``, ``mnist5k``, ``textures``, …, or that of a file or
            folder of images in `data_folder`; with a colon, ``textures:``, where a folder is called so, too),
            ``folder:DIR``, ``parquet:FILE|URL``, ``hf:DIR``, ``imglist:FILE@ROOT``, ``csv:FILE@ROOT``, ``npz:FILE``,
            ``npy:FILE``, ``wds:FILE``, ``zip:FILE``, ``tokens:DIR``, ``pool:DIR``, or just the path of a folder or of
            an .npz, .npy or .parquet file. Options follow a ``?``, parted by ``&``: ``expect=10000``, which refuses any
            other number of images, ``positions=0-499``, consecutive images, ``classes=0-5,8``, ``group=path:PATTERN``,
            which keeps images of one patient or place in one part, ``correlation=80`` (see `ImageSet.correlated`),
            ``part=0-60%``, ``limit=2000``, ``seed=0`` (applied in this order), ``contrast=50``, ``noise=10``,
            ``through=24`` and ``jpeg=75``, which show the images otherwise (see `outskirts.data.corruptions`), and
            those of the source, such as ``split=test``.
            In a value, ``%26`` stands for ``&``, ``%2C`` for a comma that parts nothing, and what is in double quotes
            for itself: ``classes="salt & pepper",bread``. Of a folder with sub-folders such as train, val and test, the
            images of train are opened unless ``split`` says otherwise.

    Returns:
        The set. Its `spec` is canonical: paths are absolute, so it can be reopened from anywhere.

    Raises:
        OutskirtsError: saying what is wrong with the text or with what it names.
    """
    return open_split(spec, "train")


def open_split(spec: str | Path | ImageSet, split: str) -> ImageSet:
    """What `open` returns; but where a text leaves open which split is meant, this one if there is such a split.

    Arguments:
        spec: An image set, or a text.
        split: The split: ``train``, ``val`` or ``test``.
    """
    if isinstance(spec, ImageSet):
        return spec
    parsed = parse_spec(spec)
    complete = parsed.completed(split)
    image_set = _opened(complete)
    if (chosen := complete.arguments.get("split")) != parsed.arguments.get("split"):
        said = f"Of the parts of the set, these are the images of '{chosen}'; another is chosen with ?split=."
        image_set.note = joined(said, image_set.note)
    return image_set


def _opened(parsed: Spec) -> ImageSet:
    image_set = SOURCES[parsed.source](**parsed.arguments)
    seed, expected = parsed.view.get("seed", 0), parsed.view.get("expect")
    if expected is not None and len(image_set) != expected:
        raise OutskirtsError(
            f"'{parsed}' holds {counted(len(image_set), 'image')} instead of {expected:,}. Some are missing, or it is "
            "another set."
        )
    if "positions" in parsed.view:
        image_set = image_set.between(parsed.view["positions"])
    if "classes" in parsed.view:
        image_set = image_set.select_classes(parsed.view["classes"])
    group = parsed.arguments.get("group") or parsed.view.get("group", "")
    # A source with columns has looked up its own.
    if "group" in parsed.view or group.startswith(IN_PATH):
        image_set = by_path(image_set, group, _top(parsed, image_set))
    if "correlation" in parsed.view:
        image_set = image_set.correlated(parsed.view["correlation"], seed)
    if "part" in parsed.view:
        image_set = image_set.part(parsed.view["part"], seed)
    if "limit" in parsed.view:
        image_set = image_set.limit(parsed.view["limit"], seed)
    if not len(image_set):
        raise OutskirtsError(
            f"'{parsed}' selects no image; choose more with ?positions=, ?classes=, ?part=, ?limit= or ?rows=."
        )
    for name, change in CHANGES.items():
        if name in parsed.view:
            image_set = image_set.changed(change(image_set.items, parsed.view[name]))
    image_set.spec = str(parsed)
    return image_set


def _top(parsed: Spec, images: ImageSet) -> Path | None:
    """The folder that the paths of a set start from: that of its split, so that paths in two splits can be equal."""
    arguments = parsed.arguments
    top = arguments.get("root", arguments.get("where"))
    if not isinstance(top, Path):  # Of a URL, paths are as the files have them.
        return None
    if parsed.source == "folder" and arguments.get("split", ALL) != ALL:
        # All images of a split lie in one folder.
        return top / Path(images.items[0]).relative_to(top).parts[0]
    return top


def reopen(spec: str) -> ImageSet:
    """The image set of a canonical text, such as a run or a benchmark holds: a folder of the working folder that is
    called as a set is not meant.
    """
    return _opened(parse_spec(spec, canonical=True))


def brief(spec: str) -> str:
    """A canonical text as short as it opens here: bare names for what lies in the `data_folder`."""
    body, question, options = spec.partition("?")
    kind, colon, where = body.partition(":")
    path = Path(where)
    if colon and path.parent == data_folder().absolute() and _BY_SUFFIX.get(path.suffix) == kind:
        body = path.stem
    return body + question + options


def resolve(spec: str | Path, base: Path | None = None, split: str | None = None) -> str:
    """The canonical text of a spec; opens nothing.

    Arguments:
        spec: The text.
        base: Folder that relative paths start from; the working folder unless given.
        split: The split that is meant where the text leaves it open and its source has some; see `open_split`.
    """
    parsed = parse_spec(spec, base)
    chosen = parsed.completed(split).arguments.get("split") if split else None
    return str(replace(parsed, arguments=parsed.arguments | {"split": chosen}) if chosen else parsed)


def parse_spec(spec: str | Path, base: Path | None = None, canonical: bool = False) -> Spec:
    """Take a spec apart and check every name in it.

    Arguments:
        spec: The text.
        base: Folder that relative paths start from; the working folder unless given.
        canonical: Whether the text is one that this function has made before, so that a bare name is that of a set.
    """
    text = str(spec)
    if text.endswith(SUBSET):
        raise OutskirtsError(
            f"'{text}' was cut in Python and cannot be reopened; cut it with ?classes=, ?part= or ?limit=."
        )
    body, _, query = text.partition("?")
    name, where = _locate(body, base or Path(), canonical)
    parameters = inspect.signature(SOURCES[name]).parameters
    given = parse_options(query, text)
    if where:
        given["where"] = where
        if "root" in parameters and "root" not in given:
            given["where"], _, given["root"] = where.rpartition("@")
            if not (given["where"] and given["root"]):
                raise OutskirtsError(
                    f"'{text}' does not name the folder that its paths start from; write {name}:FILE@ROOT."
                )
    known = _kinds(name)
    for key in given:
        if key not in known:
            raise unknown("option", key, known.keys() - {"where"}, f"of {name}")
    # In the order of the signature and without defaults, so that equal specs have equal texts.
    defaults = {"seed": 0} | {key: parameter.default for key, parameter in parameters.items()}
    values = {k: _convert(k, given[k], kind, base or Path(), text) for k, kind in known.items() if k in given}
    values = {k: v for k, v in values.items() if k not in defaults or v != defaults[k]}
    arguments = {k: values.pop(k) for k in parameters if k in values}
    return Spec(name, arguments, values, colon=where is not None)


def _locate(body: str, base: Path, canonical: bool) -> tuple[str, str | None]:
    """A source, and the path after its colon; none if there is no colon."""
    name, colon, where = body.partition(":")
    if name in SOURCES:
        takes_path = "where" in inspect.signature(SOURCES[name]).parameters
        if takes_path and not where:
            raise OutskirtsError(f"'{body}' names no path; write {name}:PATH.")
        if where and not takes_path:
            raise OutskirtsError(f"'{body}' names a path, but {name} takes none.")
        ambiguous = not (colon or canonical) and base.absolute() != data_folder().absolute()
        if ambiguous and (base / name).is_dir():
            raise OutskirtsError(
                f"'{name}' is a set that comes with outskirts, and {base / name} is a folder; write ./{name} for the "
                f"folder, or {name}: for the set."
            )
        return name, where if colon else None
    if not body:
        raise OutskirtsError("An empty text does not name an image set; write a spec such as cifar10 or folder:photos.")
    path = base / home_expanded(body)
    if path.exists():
        suffix = "" if path.is_dir() else path.suffix.lower()
        if suffix not in _BY_SUFFIX or (suffix == "" and path.is_file()):
            raise OutskirtsError(
                f"{path} is not a folder, .parquet, .npz or .npy file; say what it is, as SCHEME:PATH."
            )
        is_pool = path.is_dir() and (path / "images.npy").is_file()
        return "pool" if is_pool else _BY_SUFFIX[suffix], body
    # What a colon follows is a path only if it says so, as C:/photos does on Windows.
    kind_of_source = colon and len(name) > 1 and re.fullmatch(r"\w+", name)
    if not kind_of_source and (
        os.sep in body or body.startswith((".", "~")) or path.suffix in (".parquet", ".npz", ".npy")
    ):
        raise OutskirtsError(f"There is no file or folder {path}.")
    for suffix, kind in _BY_SUFFIX.items():
        kept = data_folder() / f"{name}{suffix}"
        if not colon and (kept.is_file() if suffix else kept.is_dir()):
            return kind, str(kept.absolute())
    if not colon and name in entries():
        raise OutskirtsError(f"'{name}' is not in {data_folder()} yet; fetch it: outskirts data fetch {name}")
    raise unknown("kind of source" if colon else "image set", name, SOURCES)


def _kinds(name: str) -> dict[str, Any]:
    """The types of all options of a source, its own and those of every source."""
    parameters = inspect.signature(SOURCES[name], eval_str=True).parameters
    return VIEW | {key: parameter.annotation for key, parameter in parameters.items()}


def _convert(key: str, value: str, kind: Any, base: Path, text: str) -> Any:
    kinds = get_args(kind) or (kind,)
    if Listing in kinds:
        return value
    if str in kinds and Path in kinds and "://" in value:
        return value
    if Path in kinds:
        place = base / home_expanded(value)
        # A folder may be called so, and what follows the colon has no codes.
        kept = key == "where" or os.path.exists(place)
        return Path(os.path.abspath(place if kept else base / home_expanded(decoded(value))))
    value = decoded(value)
    if int in kinds:
        try:
            return int(value)
        except ValueError as error:
            raise OutskirtsError(f"{key}={value} in '{text}' is not a whole number.") from error
    return value
