"""Options that take several values: where they are parted in another way, an error shows the right words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import tyro

from ..errors import OutskirtsError
from ..texts import SEPARATED

__all__ = ["Detectors", "Entries", "Settings", "require_parted"]


class _Words(NamedTuple):
    """Marks an option that takes several words.

    Arguments:
        what: What sentences call the words.
        begins: Whether what follows a comma is a word of its own, given that and what stands before the comma.
    """

    what: str
    begins: Callable[[str, str], bool]


# What follows imports where it is called: most commands do without.


def _detector(text: str, before: str) -> bool:
    from ..detectors import registry

    # After a colon, commas part the parameters of one detector.
    return ":" not in before or text.partition(":")[0] in registry.names()


def _set(text: str, before: str) -> bool:
    from ..data.catalogue import entries
    from ..data.sources.spec import SOURCES

    spec = text.partition("=")[2]
    return bool(re.match(r"(\w{2,}:|[./~])", spec)) or spec.partition("?")[0] in {*SOURCES, *entries()}


def _setting(text: str, before: str) -> bool:
    from ..methods import registry
    from ..training.config import TrainConfig

    name, equals, _ = text.partition("=")
    parts: list[Any] = [TrainConfig, *(registry[method].Config for method in registry.names())]
    return bool(equals) and any(name.replace("-", "_") == one.name for part in parts for one in fields(part))


Detectors = Annotated[tuple[str, ...], _Words("names", _detector)]
#: Image sets.
Entries = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=SPEC [NAME=SPEC ...]"), _Words("sets", _set)]
#: Options of a training.
Settings = Annotated[
    tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE [NAME=VALUE ...]"), _Words("options", _setting)
]


def require_parted(arguments: Sequence[str], *kinds: type[Any]) -> None:
    """Raise if the values of an option have commas between them where spaces belong, or spaces in the place of commas.

    Arguments:
        arguments: The command line.
        kinds: The dataclasses whose fields are its options.
    """
    first = next((place for place, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    options = [option for kind in kinds for option in _options(kind)]
    # Words that may still stand alone, wherever they do.
    alone = max(0, sum(_POSITIONAL in marks for _, marks in options) - first)
    for flag, marks in options:
        values = _values(arguments, flag)
        for mark in marks:
            if mark == SEPARATED and len(values) > 1 + alone:
                right = ",".join(value.strip(",") for value in values[: len(values) - alone])
                raise OutskirtsError(
                    f"Write commas, and no spaces, between the values of {flag}: {flag} {shlex.quote(right)}"
                )
            if isinstance(mark, _Words) and (right_words := _parted(values, mark)) != values:
                raise OutskirtsError(
                    f"Write spaces, and no commas, between the {mark.what} of {flag}: {flag} {shlex.join(right_words)}"
                )


_POSITIONAL = get_args(tyro.conf.Positional[str])[1]


def _options(kind: type[Any]) -> Iterator[tuple[str, list[object]]]:
    """The options of a dataclass, by their flags, and what their types are marked with."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if is_dataclass(hint):
            yield from _options(hint)  # type: ignore[arg-type]
            continue
        marks = list(_marks(hint))
        named = [given for mark in marks if (given := getattr(mark, "name", None))]
        yield f"--{(named or [name])[0].replace('_', '-')}", marks


def _marks(hint: Any) -> Iterator[object]:
    if get_origin(hint) is Annotated:
        yield from get_args(hint)[1:]
        hint = get_args(hint)[0]
    for part in get_args(hint):
        yield from _marks(part)


def _values(arguments: Sequence[str], flag: str) -> list[str]:
    """The words that follow a flag."""
    values: list[str] = []
    given = False
    for word in arguments:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            given = name.replace("_", "-") == flag
            values += [value] * (given and bool(equals))
        elif given:
            values.append(word)
    return values


def _parted(values: Sequence[str], mark: _Words) -> list[str]:
    """The words as they should have been written."""
    words: list[str] = []
    for value in values:
        word, *rest = value.split(",")
        for text in rest:
            if not text or mark.begins(text, word):
                words.append(word)
                word = text
            else:
                word = f"{word},{text}"
        words.append(word)
    return [word for word in words if word] if "," in "".join(values) else list(values)
