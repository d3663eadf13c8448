"""Values that people or programs have written, in files and on command lines: they may be of any kind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import yaml

from .errors import OutskirtsError
from .texts import KINDS

__all__ = ["misfit", "plain_value", "read_yaml", "written_value"]

#: Values that a YAML text may stand for, those that it repeats by aliases counted each time.
_MOST = 1_000_000

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


def read_yaml(text: str) -> Any:
    """What a YAML text stands for.

    Raises:
        ValueError: If it is not YAML, gives a name twice, or holds far more than is written, by aliases such as ``*a``.

    >>> read_yaml("{a: &a [1, 2], b: *a}")
    {'a': [1, 2], 'b': [1, 2]}
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if twice := _twice(node, set()):
            raise ValueError(f"it has the name '{twice}' twice")
        tree = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if _size(tree, {}) > _MOST:
        raise ValueError(f"with its aliases it holds more than {_MOST:,} values")
    return tree


def _twice(node: yaml.Node | None, seen: set[int]) -> str:
    """A name that a mapping gives twice, of which the library would drop one without a word; empty if there is none."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return ""
    seen.add(id(node))
    inner, names = node.value, []
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        inner = [one for pair in node.value for one in pair]
    own = next((name for place, name in enumerate(names) if name in names[:place]), "")
    return own or _first(_twice(one, seen) for one in inner)


def _size(tree: Any, known: dict[int, float]) -> float:
    """How many values a tree holds; infinitely many where one holds itself."""
    if not isinstance(tree, dict | list):
        return 1
    if id(tree) not in known:
        known[id(tree)] = math.inf
        known[id(tree)] = 1 + sum(_size(one, known) for one in (tree.values() if isinstance(tree, dict) else tree))
    return known[id(tree)]


def plain_value(text: str) -> Any:
    """The number, list or other value that a text on a command line stands for, as in YAML; else the text.

    Raises:
        OutskirtsError: If the text begins as a list or the like, and does not end.

    >>> plain_value("0.5"), plain_value("[1, 2]"), plain_value("head")
    (0.5, [1, 2], 'head')
    """
    try:
        return read_yaml(text)
    except (ValueError, RecursionError) as error:
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
