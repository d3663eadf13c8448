"""``outskirts list``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import tyro
from rich.table import Table

from .console import Command, parse, show

__all__ = ["COMMAND", "main"]

Kind = Literal["all", "methods", "detectors", "presets", "backbones", "generators", "benchmarks"]


@dataclass(frozen=True)
class List(Command):
    """List the methods, detectors, presets, backbones, generators and benchmarks that are available."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts list detectors",)

    kind: tyro.conf.Positional[Kind] = "all"
    """What to list: all, or one of these kinds."""

    def __call__(self) -> None:
        for name, rows in _TABLES.items():
            if self.kind in ("all", name):
                table = Table(title=name, title_justify="left", show_header=False, box=None, pad_edge=False)
                for row in rows():
                    table.add_row(*row)
                show(table)


COMMAND = List


def main(arguments: Sequence[str]) -> None:
    """Print one table per kind."""
    parse(List, "list", arguments)()


def _first_sentence(part: type) -> str:
    paragraph = (inspect.getdoc(part) or "").partition("\n\n")[0]
    return " ".join(paragraph.split()).partition(". ")[0].removesuffix(".") + "."


def _methods() -> list[tuple[str, ...]]:
    from ..methods import registry

    return [(name, _first_sentence(registry[name])) for name in registry.names()]


def _presets() -> list[tuple[str, ...]]:
    from ..methods import registry

    return [
        (name, preset, "  ".join(f"{key}={value}" for key, value in options.items()))
        for name in registry.names()
        for preset, options in registry[name].presets.items()
    ]


def _detectors() -> list[tuple[str, ...]]:
    from ..detectors import create, registry

    return [
        (
            one.name,
            _first_sentence(type(one)),
            "needs " + ", ".join([*sorted(one.needs), *{probe.cost for probe in one.probes}]),
            f"fitted on {one.fit_on}" if one.fit_on else "",
        )
        for one in map(create, registry.names())
    ]


def _backbones() -> list[tuple[str, ...]]:
    from ..models.backbones import known_backbones

    return [
        *((name,) for name in known_backbones()),
        ("clip:DIR, a local CLIP folder",),
        ("every torchvision and timm model",),
    ]


def _generators() -> list[tuple[str, ...]]:
    from ..generation.generators import registry

    return [(name, _first_sentence(registry[name])) for name in registry.names()]


def _benchmarks() -> list[tuple[str, ...]]:
    from ..data.benchmark import benchmarks, describe_benchmark

    return [(name, describe_benchmark(name)["description"]) for name in benchmarks()]


_TABLES: dict[str, Callable[[], list[tuple[str, ...]]]] = {
    "methods": _methods,
    "presets": _presets,
    "detectors": _detectors,
    "backbones": _backbones,
    "generators": _generators,
    "benchmarks": _benchmarks,
}
