"""Numbers and lists in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

__all__ = [
    "KINDS",
    "SEPARATED",
    "CommaSeparated",
    "comma_separated",
    "counted",
    "in_unicode",
    "joined",
    "listed",
    "verb",
]

#: What sentences call the kinds of plain values.
KINDS: Mapping[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}

#: Marks the type of an option that takes several values in one text, with commas between.
SEPARATED = "separated by commas"

CommaSeparated: TypeAlias = Annotated[str, SEPARATED]

_OF_ONE = {"are": "is", "have": "has", "look": "looks", "lose": "loses", "were": "was"}


def comma_separated(text: str | None) -> list[str]:
    """What a text lists, without the spaces around; nothing if there is no text.

    >>> comma_separated("layer3, layer4,")
    ['layer3', 'layer4']
    """
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def counted(number: int, noun: str) -> str:
    """A number with its noun, which is in the plural unless the number is 1.

    >>> counted(1, "image"), counted(2000, "image"), counted(2, "class")
    ('1 image', '2,000 images', '2 classes')
    """
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def in_unicode(name: str) -> str:
    r"""A name as files and pages can hold it: bytes of it that are in no encoding are written as codes.

    >>> print(in_unicode("gr\udcfcn.png"))
    gr\udcfcn.png
    """
    return name.encode("utf-8", "backslashreplace").decode()


def joined(*sentences: str) -> str:
    """Sentences with spaces between; empty ones are left out.

    >>> joined("One.", "", "Two.")
    'One. Two.'
    """
    return " ".join(filter(None, sentences))


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first names, and how many there are besides.

    >>> listed(["cat", "dog", "owl"], most=2)
    'cat, dog and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def verb(number: int, plural: str) -> str:
    """A verb in the plural, or what it is with the number 1.

    >>> verb(1, "are"), verb(2, "are")
    ('is', 'are')
    """
    return _OF_ONE[plural] if number == 1 else plural
