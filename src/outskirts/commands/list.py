"""``outskirts list``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import tyro
from rich.table import Table

from ..errors import unknown
from ..listing import Kind, available
from .console import Command, parse, show

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True)
class List(Command):
    """List the methods, detectors, presets, backbones, generators and benchmarks that are available."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts list detectors",)

    kind: tyro.conf.Positional[Kind | Literal["all"]] = "all"
    """What to list: all, or one of these kinds."""

    def __call__(self) -> None:
        for kind, rows in available(None if self.kind == "all" else self.kind).items():
            table = Table(title=kind, title_justify="left", show_header=False, box=None, pad_edge=False)
            for row in rows:
                table.add_row(*row)
            show(table)


COMMAND = List


def main(arguments: Sequence[str]) -> None:
    """Print one table per kind."""
    kinds = (*get_args(Kind), "all")
    if arguments and not arguments[0].startswith("-") and arguments[0] not in kinds:
        raise unknown("kind of part", arguments[0], kinds)
    parse(List, "list", arguments)()
