"""What there is of each kind of part: methods and their presets, detectors, backbones, generators, benchmarks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Literal, TypeAlias

from .arguments import check_arguments
from .errors import unknown

__all__ = ["Kind", "available"]

Kind: TypeAlias = Literal["methods", "presets", "detectors", "backbones", "generators", "benchmarks"]


@check_arguments
def available(kind: Kind | None = None) -> dict[str, list[tuple[str, ...]]]:
    """The methods, presets, detectors, backbones, generators and benchmarks that there are.

    Arguments:
        kind: One of these kinds; all of them unless given.

    Returns:
        By kind, a row of text for each part: its name, and what it is.

    Raises:
        OutskirtsError: If there is no such kind.

    >>> ("ce", "Minimise the cross-entropy of the labels.") in available("methods")["methods"]
    True
    """
    if kind is not None and kind not in _ROWS:
        raise unknown("kind of part", kind, _ROWS)
    return {name: rows() for name, rows in _ROWS.items() if kind in (None, name)}


def _first_sentence(part: type) -> str:
    paragraph = (inspect.getdoc(part) or "").partition("\n\n")[0]
    return " ".join(paragraph.split()).partition(". ")[0].removesuffix(".") + "."


def _methods() -> list[tuple[str, ...]]:
    from .methods import registry

    return [(name, _first_sentence(registry[name])) for name in registry.names()]


def _presets() -> list[tuple[str, ...]]:
    from .methods import registry

    return [
        (name, preset, "  ".join(f"{key}={value}" for key, value in options.items()))
        for name in registry.names()
        for preset, options in registry[name].presets.items()
    ]


def _detectors() -> list[tuple[str, ...]]:
    from .detectors import create, registry

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
    from .models.backbones import known_backbones

    return [
        *((name,) for name in known_backbones()),
        ("clip:DIR, a local CLIP folder",),
        ("every torchvision and timm model",),
    ]


def _generators() -> list[tuple[str, ...]]:
    from .generation.generators import registry

    return [(name, _first_sentence(registry[name])) for name in registry.names()]


def _benchmarks() -> list[tuple[str, ...]]:
    from .data.benchmark import benchmarks, describe_benchmark

    return [(name, describe_benchmark(name)["description"]) for name in benchmarks()]


_ROWS: dict[Kind, Callable[[], list[tuple[str, ...]]]] = {
    "methods": _methods,
    "presets": _presets,
    "detectors": _detectors,
    "backbones": _backbones,
    "generators": _generators,
    "benchmarks": _benchmarks,
}
