"""What the commands share: options from dataclasses, progress bars, sentences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..errors import OutskirtsError

__all__ = ["console", "options", "pairs", "training_progress"]

T = TypeVar("T")

#: Progress and remarks; results go to standard output.
console = Console(stderr=True, highlight=False)


def options(kind: type[T], command: str, arguments: Sequence[str], default: T | None = None) -> T:
    """Read a dataclass from the command line; wrong options end in tyro's message and exit code 2."""
    with warnings.catch_warnings():
        # A default outside a field's type is how required options are told apart from given ones.
        warnings.simplefilter("ignore")
        return tyro.cli(
            kind,
            prog=f"outskirts {command}",
            args=list(arguments),
            default=default,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )


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
        TextColumn("{task.description}"),
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
    """A bar on a terminal; a line for each validation elsewhere."""
    with bar() as progress:
        task = progress.add_task(title, total=None, figures="")
        reported = -1

        def update(step: int, steps: int, latest: dict[str, Any]) -> None:
            nonlocal reported
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
                console.print(f"{title}: step {step} of {steps}  {figures}")

        yield update
