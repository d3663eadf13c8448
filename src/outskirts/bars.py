"""A progress bar for calls that take ``progress=``, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Told", "bar", "figures", "progress"]

#: What a bar tells of the latest record of a training: what it is called, its name there, and how it is written.
_FIGURES = (
    ("epoch", "epoch", ".1f"),
    ("loss", "loss", ".3f"),
    ("accuracy", "accuracy", ".3f"),
    ("images/s", "images_per_second", ",.0f"),
)


class Told:
    """What `progress` gives: called as any function of outskirts calls its ``progress=``.

    Numbers are what is done and, if it is known, of how much. A text is what is worked on. A mapping is the latest
    record of a training.
    """

    def __init__(self, bar: Progress, title: str) -> None:
        self.bar, self.title = bar, title
        self.task = bar.add_task(title, total=None, figures="")

    def __call__(self, *told: object) -> None:
        for one in told:
            if isinstance(one, str):
                self.bar.update(self.task, description=" ".join(filter(None, [self.title, one])))
            elif isinstance(one, Mapping):
                self.bar.update(self.task, figures=figures(one))
        match [one for one in told if isinstance(one, int)]:
            case [done, total]:
                self.bar.update(self.task, completed=done, total=total)
            case [done]:
                self.bar.update(self.task, completed=done)


def bar(console: Console, *, disable: bool, transient: bool = False) -> Progress:
    """What all bars show: what is done, how much of it, the time that is left, and figures."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        disable=disable,
        transient=transient,
    )


def figures(latest: Mapping[str, Any]) -> str:
    """What is told of the latest record of a training.

    >>> figures({"kind": "train", "epoch": 0.3, "loss": 0.5})
    'epoch 0.3  loss 0.500'
    """
    return "  ".join(f"{name} {latest[key]:{form}}" for name, key, form in _FIGURES if key in latest)


@contextmanager
def progress(title: str = "", console: Console | None = None) -> Iterator[Told]:
    """A progress bar for any call that takes ``progress=``.

    It is silent where nobody watches, such as in a log file. In a notebook it needs ``pip install ipywidgets``.

    Arguments:
        title: Stands before the bar.
        console: Where to draw it; standard error, unless given.

    >>> with progress("training") as told:  # doctest: +SKIP
    ...     osk.train("ascood", "cifar10:train", progress=told)
    >>> with progress("test images") as told:  # doctest: +SKIP
    ...     osk.extract(classifier, osk.open("cifar10:test"), progress=told)
    """
    console = console or Console(stderr=True, highlight=False)
    with bar(console, disable=not (console.is_terminal or console.is_jupyter)) as shown:
        yield Told(shown, title)
