"""Benchmarks: which images a classifier learns from, and which it is tried on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from ..errors import OutskirtsError, unknown
from .sources import resolve

__all__ = ["Benchmark", "benchmarks", "load_benchmark"]

_SHIPPED = Path(str(files("outskirts.data"))) / "benchmarks"


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
        recipes: Options of the trainings by method, ``preset`` among them; those of ``all`` are of every method.
        variants: Options by name that every method may be trained with besides, such as ``synthetic``.
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


def benchmarks() -> list[str]:
    """The names of the benchmarks that ship with the package, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_benchmark(benchmark: str | Path) -> Benchmark:
    """A benchmark by its name, or from one's own YAML file.

    Arguments:
        benchmark: A shipped name such as ``"mnist5k"``, or a path that ends in ``.yaml`` or ``.yml``.
            Relative paths in the file start from its folder.

    Raises:
        OutskirtsError: naming the file and what is wrong in it.

    >>> load_benchmark("mnist5k").ood["near"]
    mappingproxy({'digits6-9': 'mnist5k?classes=6-9'})
    """
    path = Path(benchmark).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        if str(benchmark) not in benchmarks():
            raise unknown("benchmark", str(benchmark), benchmarks())
        path = _SHIPPED / f"{benchmark}.yaml"
    content = _read(path)
    known = [one.name for one in fields(Benchmark)]
    for key in content:
        if key not in known:
            raise unknown(f"key of a benchmark (in {path})", str(key), known)
    content = {"name": path.stem} | content
    missing = [key for key in ("train", "test", "ood") if not content.get(key)]
    if missing:
        raise OutskirtsError(f"The benchmark {path} lacks {' and '.join(missing)}.")

    def spec(key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise OutskirtsError(f"In the benchmark {path}, {key} is {value!r} where a spec such as cifar10 is due.")
        try:
            return resolve(value, path.parent)
        except OutskirtsError as error:
            raise OutskirtsError(f"In the benchmark {path}, {key}: {error}") from error

    for key in ("train", "val", "test", "tune_on"):
        if content.get(key) is not None:
            content[key] = spec(key, content[key])
    content["ood"] = MappingProxyType(
        {
            group: MappingProxyType({name: spec(f"ood.{group}.{name}", value) for name, value in sets.items()})
            for group, sets in _mapping(content["ood"], "ood", path).items()
            for sets in [_mapping(sets, f"ood.{group}", path)]
        }
    )
    for key in ("recipes", "variants"):
        if key in content:
            given = _mapping(content[key], key, path)
            content[key] = {name: _options(_mapping(own, f"{key}.{name}", path), path) for name, own in given.items()}
    return Benchmark(**content)


def _options(given: dict[str, Any], path: Path) -> dict[str, Any]:
    """Options of a training, those of specs taken from the benchmark's folder."""
    return {
        name: resolve(value, path.parent) if name in ("synthetic", "outlier_images") and value else value
        for name, value in given.items()
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as stream:
            content = yaml.safe_load(stream)
    except (OSError, UnicodeDecodeError) as error:
        raise OutskirtsError(f"The benchmark {path} cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise OutskirtsError(f"The benchmark {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    return _mapping(content, "its content", path)


def _mapping(value: Any, key: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise OutskirtsError(f"In the benchmark {path}, {key} is {value!r} where names with values are due.")
    return value
