"""How work that takes long tells what it does: in sentences, and by how much of it is done."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "Say", "nobody", "silence"]

#: Called with a sentence.
Say = Callable[[str], None]

#: Called with what is being done, how much of it is done, and how much there is; None if that is not known.
Progress = Callable[[str, int, "int | None"], None]


def silence(sentence: str) -> None:
    """A `Say` that says nothing."""


def nobody(what: str, done: int, total: int | None) -> None:
    """A `Progress` that nobody watches."""
