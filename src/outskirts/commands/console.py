"""What the commands share: options from dataclasses, progress bars, sentences."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..errors import OutskirtsError

__all__ = ["bar", "console", "merged", "options", "pairs", "say", "show", "training_progress", "value"]

T = TypeVar("T")

#: Progress and remarks; results go to standard output. Names may hold brackets and colons, so no markup. Of several
#: processes, the first one speaks for all.
console = Console(stderr=True, highlight=False, markup=False, emoji=False, quiet=os.environ.get("RANK", "0") != "0")


def say(sentence: str) -> None:
    """Print a remark in one piece, so that a path or a command in it can be copied."""
    console.print(sentence, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table to standard output."""
    Console(highlight=False, markup=False, emoji=False).print(table)


def options(kind: type[T], command: str, arguments: Sequence[str]) -> T:
    """Read a dataclass from the command line; wrong options end in tyro's message and exit code 2."""
    return tyro.cli(kind, prog=f"outskirts {command}", args=list(arguments), config=(tyro.conf.OmitArgPrefixes,))


def merged(arguments: Sequence[str], *flags: str) -> list[str]:
    """The same with the values of a flag that is given several times put together.

    >>> merged(["run", "--far", "a=x", "--test", "t", "--far", "b=y", "c=z"], "--far")
    ['run', '--test', 't', '--far', 'a=x', 'b=y', 'c=z']
    """
    rest: list[str] = []
    values: dict[str, list[str]] = {}
    into = rest
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in flags:
            into = values.setdefault(flag, [])
            into += [value] * bool(equals)
            continue
        if argument.startswith("-"):
            into = rest
        into.append(argument)
    return rest + [word for flag, several in values.items() for word in (flag, *several)]


def value(arguments: Sequence[str], flag: str) -> str:
    """What follows a flag, which decides which options there are; empty if it is not given."""
    for place, argument in enumerate(arguments):
        if argument == flag and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
    return ""


def pairs(group: str, entries: Sequence[str]) -> dict[str, ImageSet]:
    """Open image sets given as NAME=SPEC."""
    sets: dict[str, ImageSet] = {}
    for entry in entries:
        name, equals, spec = entry.partition("=")
        if not equals or not name or not spec:
            raise OutskirtsError(f"--{group} takes NAME=SPEC, such as svhn=folder:data/svhn, not '{entry}'.")
        if name in sets:
            raise OutskirtsError(f"--{group} names the set '{name}' twice.")
        sets[name] = open_images(spec)
    return sets


def bar() -> Progress:
    """A progress bar that is silent where nobody watches."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


@contextmanager
def training_progress(title: str) -> Iterator[Callable[[int, int, dict[str, Any]], None]]:
    """A bar on a terminal; a line for each validation elsewhere. A warning is printed when it begins."""
    with bar() as progress:
        task = progress.add_task(title, total=None, figures="")
        reported = -1
        warned = False

        def update(step: int, steps: int, latest: dict[str, Any]) -> None:
            nonlocal reported, warned
            # Its numbers change with every step, so that its text would tell nothing.
            warning = latest.get("warning", "")
            if warning and not warned:
                say(f"{title}: warning at step {step} of {steps}: {warning}")
            warned = bool(warning)
            figures = "  ".join(
                f"{name} {latest[key]:{form}}"
                for name, key, form in (
                    ("epoch", "epoch", ".1f"),
                    ("loss", "loss", ".3f"),
                    ("accuracy", "accuracy", ".3f"),
                    ("images/s", "images_per_second", ",.0f"),
                )
                if key in latest
            )
            progress.update(task, completed=step, total=steps, figures=figures)
            if latest.get("kind") == "val" and latest["step"] != reported and not console.is_terminal:
                reported = latest["step"]
                say(f"{title}: step {step} of {steps}  {figures}")

        yield update
