"""Errors are sentences: what is wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["MissingExtra", "MissingPackage", "OutskirtsError", "cause", "loading", "reason", "unknown"]


_LISTED = 100
#: What libraries advise that helps nobody, such as to trust a file that is not safe, and what is said instead.
_ADVICE = {
    "weights_only": "it holds more than weights, or is damaged",
    "trust_remote_code": "it asks to run code of its own",
    "check the warnings above": "it is damaged, or of another version of torch",
}


class OutskirtsError(Exception):
    """Something the user can mend; the command line prints its sentence and exits with its code."""

    exit_code = 2


class MissingExtra(OutskirtsError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': python -m pip install 'outskirts[{extra}]'.")


class MissingPackage(OutskirtsError):
    """A package that a single call needs, and that no extra is for, is not installed."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(f"{what} needs {package}: python -m pip install {package}.")


def reason(error: BaseException, most: int = 300) -> str:
    """What a library says is wrong, in one line, without advice to run what came with a file.

    >>> reason(ValueError("no such\\n   key"))
    'no such key'
    """
    said = " ".join(str(error).split())
    return next((plain for advised, plain in _ADVICE.items() if advised in said), said[:most])


def cause(error: BaseException) -> BaseException | None:
    """The error to raise a sentence from: none where a trace would show advice to run what came with a file."""
    link: BaseException | None = error
    while link is not None:
        if any(advised in str(link) for advised in _ADVICE):
            return None
        link = link.__cause__ or link.__context__
    return error


@contextmanager
def loading(clause: str) -> Iterator[None]:
    """A block in which a library reads what others wrote: whatever it raises is a sentence.

    Arguments:
        clause: What the sentence begins with, such as ``"The model in DIR cannot be loaded"``.
    """
    try:
        yield
    except (OutskirtsError, MemoryError):
        raise
    # On folders that are incomplete, damaged or of something else, libraries raise errors of every kind.
    except Exception as error:
        raise OutskirtsError(f"{clause} ({reason(error)}).") from cause(error)


def unknown(kind: str, name: str, known: Iterable[str], among: str = "") -> OutskirtsError:
    """An error for a mistyped name that suggests the nearest known one.

    Arguments:
        kind: What the name should be of, such as ``"detector"``.
        name: The name.
        known: All names that there are.
        among: Where they are looked for, if that needs saying, such as ``"of the method 'ce'"``.

    >>> print(unknown("detector", "knm", ["knn", "msp"]))
    There is no detector 'knm'; did you mean 'knn'? Known: knn, msp.
    >>> print(unknown("preset", "quick", [], "of the method 'ce'"))
    There is no preset 'quick' of the method 'ce'. It has none.
    """
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    # Nobody reads a list of a thousand names.
    listed = " It has none." if among else " There are none."
    if known:
        listed = f" Known: {', '.join(known)}." if len(known) <= _LISTED else f" {len(known)} are known."
    return OutskirtsError(f"There is no {kind} '{name}'{among and f' {among}'}{hint}{listed}")
