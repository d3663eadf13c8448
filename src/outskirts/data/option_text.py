"""Options of a spec as text; what parts them is written as ``%26``, or in quotes, where it belongs to a value."""

from __future__ import annotations

import re
from typing import NewType
from urllib.parse import unquote

from ..errors import OutskirtsError

__all__ = ["Listing", "decoded", "encoded", "encoded_item", "items", "parse_options"]

#: Values parted by commas, each of them encoded; see `items`.
Listing = NewType("Listing", str)

_QUOTED = re.compile(r'(?<=[=,:])"([^"]*)"(?=[,&]|$)')
#: A per cent sign that two such digits do not follow stands for itself, as in ``part=0-60%``.
_CODE = r"%(?=[0-9A-Fa-f]{2})"
_SPECIAL = re.compile(rf'&|^"|{_CODE}')
_SPECIAL_IN_ITEMS = re.compile(rf'[&,"]|{_CODE}')


def parse_options(query: str, text: str) -> dict[str, str]:
    """The options of a query such as ``classes=cat,dog&limit=2``, still encoded.

    Arguments:
        query: What follows the question mark. What is in double quotes stands for itself.
        text: All of the spec, for errors.

    >>> parse_options('classes="salt & pepper",dog&part=0-60%', "")
    {'classes': 'salt %26 pepper,dog', 'part': '0-60%'}
    """
    query = _QUOTED.sub(lambda found: encoded_item(found[1]), query)
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise OutskirtsError(
                f"'{pair}' in '{text}' is not an option of the form KEY=VALUE; in a value, & is written as %26."
            )
        if key in options or key == "where":
            raise OutskirtsError(f"The option {key} is given twice in '{text}'.")
        options[key] = value
    return options


def decoded(text: str) -> str:
    """A value without codes.

    >>> decoded("salt %26 pepper"), decoded("0-60%")
    ('salt & pepper', '0-60%')
    """
    return unquote(text, errors="surrogateescape")


def encoded(value: str) -> str:
    """A value with codes where it would be read otherwise.

    >>> encoded("salt & pepper"), encoded("0-60%"), encoded("100%25")
    ('salt %26 pepper', '0-60%', '100%2525')
    """
    return _SPECIAL.sub(_code, value)


def encoded_item(value: str) -> str:
    """One of several values that commas part, with codes where it would be read otherwise.

    >>> encoded_item("cats, dogs")
    'cats%2C dogs'
    """
    return _SPECIAL_IN_ITEMS.sub(_code, value)


def items(listing: str) -> list[str]:
    """The values that commas part.

    >>> items("cats%2C dogs,owl")
    ['cats, dogs', 'owl']
    """
    return [decoded(item) for item in listing.split(",")]


def _code(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"
