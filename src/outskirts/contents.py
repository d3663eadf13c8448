"""Values that people or programs have written, in files and on command lines: they may be of any kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from .errors import OutskirtsError
from .texts import KINDS

__all__ = ["misfit", "plain_value", "written_value"]

_WORDS: dict[Any, str] = {
    **KINDS,
    list: "a list",
    dict: "names with values",
    None: "empty",
}


def misfit(content: Any, kind: Any, name: str = "it") -> str:
    """A clause that says where a content is not of a kind; empty if it is.

    Arguments:
        content: What was read from YAML or JSON.
        kind: ``str``, ``int``, ``float``, ``bool``, ``list``, ``dict``, ``None`` or ``Any``; or, of such kinds,
            ``[kind]`` for a list, ``{str: kind}`` for any names with values, ``{"count": kind}`` for these names at
            least, of which those that may be ``None`` may be missing, and ``(kind, kind)`` for one or the other.
        name: What errors call the content.

    >>> misfit({"count": "many"}, {"count": int})
    "its count is 'many', not a whole number"
    >>> misfit({"classes": ["ant", 7]}, {"classes": [str], "seed": (int, None)})
    'item 2 of its classes is 7, not a text'
    """
    if isinstance(kind, tuple):
        clauses = [misfit(content, one, name) for one in kind]
        return "" if "" in clauses else clauses[0]
    if isinstance(kind, list) and isinstance(content, list):
        return _first(misfit(one, kind[0], f"item {number} of {name}") for number, one in enumerate(content, start=1))
    if isinstance(kind, dict) and isinstance(content, dict):
        if str in kind:
            return _first(
                _other(key, name) or misfit(value, kind[str], _part(key, name)) for key, value in content.items()
            )
        absent = (f"{name} lacks '{key}'" for key, one in kind.items() if key not in content and misfit(None, one))
        parts = (misfit(content.get(key), one, _part(key, name)) for key, one in kind.items())
        return _first(_other(key, name) for key in content) or _first(absent) or _first(parts)
    return "" if kind is Any or _is_plain(content, kind) else f"{name} is {_shown(content)}, not {_words(kind)}"


def _is_plain(content: Any, kind: Any) -> bool:
    if isinstance(kind, list | dict):
        return False
    if isinstance(content, bool):
        return kind is bool
    return content is None if kind is None else isinstance(content, (int, float) if kind is float else kind)


def _other(key: object, name: str) -> str:
    return "" if isinstance(key, str) else f"{name} has {key!r} for a name, not a text"


def _words(kind: Any) -> str:
    return _WORDS[type(kind) if isinstance(kind, list | dict) else kind]


def _shown(content: object) -> str:
    text = repr(content)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _part(key: object, name: str) -> str:
    return f"its {key}" if name == "it" else f"{key} of {name}"


def _first(clauses: Iterable[str]) -> str:
    return next(filter(None, clauses), "")


def plain_value(text: str) -> Any:
    """The number, list or other value that a text on a command line stands for, as in YAML; else the text.

    Raises:
        OutskirtsError: If the text begins as a list or the like, and does not end.

    >>> plain_value("0.5"), plain_value("[1, 2]"), plain_value("head")
    (0.5, [1, 2], 'head')
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OutskirtsError(f"'{text}' is not a value; write a number, a text, or a list such as [1, 2].") from error


def written_value(value: Any) -> str:
    """The text that `plain_value` takes for a value.

    >>> written_value("head"), written_value("0.5"), written_value([1, 2]), written_value(1e-5)
    ('head', "'0.5'", '[1, 2]', '1.0e-05')
    """
    try:
        # As an item of a list, no end of a document follows it.
        return yaml.safe_dump([value], default_flow_style=True, width=10**9, allow_unicode=True).strip()[1:-1]
    except yaml.YAMLError:
        return str(value)
