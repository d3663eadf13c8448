"""Benchmarks: which images a classifier learns from, and which it is tried on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml

from ..contents import misfit
from ..errors import OutskirtsError, unknown
from ..files import load_yaml, require_path_part, write_text
from ..paths import home_expanded
from .catalogue import known
from .imageset import ImageSet
from .option_text import encoded_item
from .sources import open as open_images
from .sources import resolve
from .sources.spec import data_folder

__all__ = ["Benchmark", "benchmarks", "describe_benchmark", "how_to_fetch", "load_benchmark", "open_groups", "own_file"]

T = TypeVar("T", bound=ImageSet | str | Path)

_SHIPPED = Path(str(files("outskirts.data"))) / "benchmarks"
_ID = ("train", "val", "test")
_FETCH = " Get the sets of this benchmark: outskirts data fetch {0}. What else it needs: outskirts benchmark show {0}"
#: What else its keys hold, unless specs or options.
_KINDS = {
    **dict.fromkeys(("name", "description", "notes", "source", "preprocessing", "overlap"), (str, None)),
    "classes": (str, [(str, int)], None),
    "needs": ([str], None),
}
#: What the name of a backbone begins with that is a folder.
_CLIP = "clip:"


@dataclass(frozen=True)
class Benchmark:
    """In-distribution sets and named out-of-distribution sets, all as specs.

    Arguments:
        name: What tables call it.
        train: What the classifier learns from.
        test: What it is tried on.
        ood: Specs of out-of-distribution sets by group (``near``, ``far``, ``spurious``, …) and name.
        val: What thresholds and hyper-parameters are chosen on, if there is one.
        description: One sentence on what it is.
        notes: What a reader of its results should know.
        tune_on: Out-of-distribution validation images, to choose detectors and their parameters on.
        recipes: Options of the trainings by method, ``preset`` among them; those of ``all`` are of every method, and
            its preset and its own options override them.
        variants: Options by name that every method may be trained with besides, such as ``synthetic``.
        source: Who published it.
        preprocessing: What is done to an image before the network sees it.
        overlap: What OOD sets share with the ID classes, and what is left out for that.
        needs: Image sets that must be fetched first, as `outskirts.data.catalogue` knows them.
    """

    name: str
    train: str
    test: str
    ood: Mapping[str, Mapping[str, str]]
    val: str | None = None
    description: str = ""
    notes: str = ""
    tune_on: str | None = None
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str = ""
    preprocessing: str = ""
    overlap: str = ""
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # They become names of files and folders.
        require_path_part("A benchmark", self.name)
        for name in (name for sets in self.ood.values() for name in sets):
            require_path_part("An OOD set", name)
        for name in self.variants:
            require_path_part("A variant of a benchmark", name)

    def save(self, file: Path) -> None:
        """Write the YAML file of the same benchmark, with absolute paths."""

        def placed(spec: str) -> str:
            with suppress(OutskirtsError):  # Of images that are gone, the spec stays as it is.
                return resolve(spec)
            return spec

        content = {one.name: getattr(self, one.name) for one in fields(self)}
        for key in (*_ID, "tune_on"):
            content[key] = content[key] and placed(content[key])
        content["ood"] = {
            group: {name: placed(spec) for name, spec in sets.items()} for group, sets in self.ood.items()
        }
        for key in ("recipes", "variants"):
            content[key] = {name: dict(options) for name, options in content[key].items()}
        filled = {key: list(value) if key == "needs" else value for key, value in content.items() if value}
        write_text(file, yaml.safe_dump(filled, sort_keys=False, allow_unicode=True))


def benchmarks() -> list[str]:
    """The names of the benchmarks that ship with the package, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_benchmark(benchmark: str | Path | Benchmark) -> Benchmark:
    """A benchmark by its name, or from one's own YAML file; one that is loaded already is returned as it is.

    A key ``classes`` of the file chooses the ID classes of ``train``, ``val`` and ``test``, in the order given.

    Arguments:
        benchmark: A shipped name such as ``"mnist5k"``, or a path that ends in ``.yaml`` or ``.yml``.
            Relative paths in the file start from its folder; in shipped ones, from that of all sets.

    Raises:
        OutskirtsError: naming the file and what is wrong in it, or the image set that is not there yet.

    >>> load_benchmark("mnist5k").ood["near"]
    mappingproxy({'digits7-9': 'mnist5k?classes=7-9'})
    """
    if isinstance(benchmark, Benchmark):
        return benchmark
    path, content = _content(benchmark)
    shipped = path.parent == _SHIPPED
    base = data_folder() if shipped else path.parent
    remedy = _FETCH.format(path.stem) if shipped else ""
    classes = content.pop("classes", None)

    def spec(key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise OutskirtsError(f"In the benchmark {path}, {key} is {value!r}; it must be a spec such as cifar10.")
        if classes and key in _ID:
            chosen = classes if isinstance(classes, str) else ",".join(encoded_item(str(name)) for name in classes)
            value += f"{'&' if '?' in value else '?'}classes={chosen}"
        try:
            return resolve(value, base, key if key in _ID else "test")
        except OutskirtsError as error:
            raise OutskirtsError(f"In the benchmark {path}, {key}: {error}{remedy}") from error

    for key in (*_ID, "tune_on"):
        if content.get(key) is not None:
            content[key] = spec(key, content[key])
    content["ood"] = MappingProxyType(
        {
            group: MappingProxyType({name: spec(f"ood.{group}.{name}", value) for name, value in sets.items()})
            for group, sets in content["ood"].items()
        }
    )
    for key in ("recipes", "variants"):
        if key in content:
            given = _mapping(content[key], key, path)
            content[key] = {name: _options(_mapping(own, f"{key}.{name}", path), base) for name, own in given.items()}
    return Benchmark(**content)


def own_file(benchmark: str | Path) -> Path | None:
    """The absolute path of a benchmark's YAML file; None for the name of one that ships."""
    path = home_expanded(benchmark)
    return path.absolute() if path.suffix in (".yaml", ".yml") else None


def how_to_fetch(benchmark: Benchmark) -> str:
    """How to get the image sets of a benchmark, to follow an error about them; nothing where all are there."""
    there = all(known(name).place(data_folder()).is_dir() for name in benchmark.needs)
    return "" if there or benchmark.name not in benchmarks() else _FETCH.format(benchmark.name)


def open_groups(
    ood: Mapping[str, Mapping[str, T]], open_set: Callable[[T], ImageSet] = open_images
) -> dict[str, dict[str, ImageSet]]:
    """The image sets behind specs, by group and name, such as those of `Benchmark.ood`.

    Arguments:
        ood: Image sets, or their specs, by group and name.
        open_set: What opens one of them.

    Raises:
        OutskirtsError: If a set cannot be opened.
    """
    return {group: {name: open_set(spec) for name, spec in sets.items()} for group, sets in ood.items()}


def describe_benchmark(benchmark: str | Path) -> Mapping[str, Any]:
    """What the file of a benchmark says, whether its image sets are there or not.

    Arguments:
        benchmark: A shipped name, or the path of a YAML file.

    Returns:
        The content by key: those of `Benchmark`, with specs as they are written, and ``classes``; and ``fetched``,
        those of the image sets in ``needs`` that are there.

    Raises:
        OutskirtsError: If the file cannot be read, or a key is unknown or missing.
    """
    content = _content(benchmark)[1]
    there = tuple(name for name in content["needs"] if known(name).place(data_folder()).is_dir())
    return {**content, "fetched": there}


def _content(benchmark: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file of a benchmark, and what it says, its keys checked."""
    path = home_expanded(benchmark)
    if own_file(path) is None:
        if str(benchmark) not in benchmarks():
            raise unknown("benchmark", str(benchmark), benchmarks())
        path = _SHIPPED / f"{benchmark}.yaml"
    none = f"The benchmark {path} cannot be read: there is no such file."
    content = _mapping(load_yaml(path, none), "its content", path)
    names = [one.name for one in fields(Benchmark)] + ["classes"]
    for key in content:
        if key not in names:
            raise unknown("key", str(key), names, f"of a benchmark (in {path})")
    missing = [key for key in ("train", "test", "ood") if not content.get(key)]
    if missing:
        raise OutskirtsError(f"The benchmark {path} lacks {' and '.join(missing)}.")
    content = {key: value for key, value in content.items() if value is not None}
    if clause := misfit(content, _KINDS):
        raise OutskirtsError(f"In the benchmark {path}, {clause}; put texts that look like numbers in quotes.")
    for group, sets in _mapping(content["ood"], "ood", path).items():
        _mapping(sets, f"ood.{group}", path)
    needs = tuple(content.get("needs", ()))
    for needed in needs:
        known(needed)
    return path, {"name": path.stem, **content, "needs": needs}


def _options(given: dict[str, Any], base: Path) -> dict[str, Any]:
    """Options of a training, relative paths in them taken from a folder."""

    def placed(name: str, value: Any) -> Any:
        if name in ("synthetic", "outlier_images") and value:
            return resolve(value, base)
        if name == "backbone" and str(value).startswith(_CLIP):
            return f"{_CLIP}{base / home_expanded(str(value).removeprefix(_CLIP))}"
        return value

    return {name: placed(name, value) for name, value in given.items()}


def _mapping(value: Any, key: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise OutskirtsError(f"In the benchmark {path}, {key} is {value!r}; it must be names with values.")
    if clause := misfit(value, {str: Any}, key):
        raise OutskirtsError(f"In the benchmark {path}, {clause}; put it in quotes.")
    return value
