"""What is shown to others: without absolute paths, and without the names of users and of machines."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

__all__ = ["Shareable"]

T = TypeVar("T")

_BEGIN = r"(?:(?<![\w./~…\\<+-])(?:(?<!:)//|/(?!/)|~[\w.-]*/|[A-Za-z]:[\\/])|file://)"
#: A path in a sentence or a command ends at a space; in a value of its own, only where an option follows.
_IN_TEXT = re.compile(_BEGIN + r"[^\s\"'`<>|?*;,()\[\]{}]+")
_QUOTED = re.compile(rf"(?<=['\"]){_BEGIN}[^\n'\"?]+(?=['\"])")
_ALONE = re.compile(_BEGIN + r"[^\n\"'<>|?*;,@]+")
_HOME = re.compile(r"(?:/home|/Users|[\\/]Users)[\\/]([^\s\\/:\"']+)")
#: Accounts and machines whose names identify nobody, and are words of their own.
_COMMON = frozenset(("admin", "docker", "jovyan", "localhost", "nobody", "root", "runner", "test", "ubuntu", "user"))


class Shareable:
    """Texts without what identifies their author: each absolute path gives way to its last part, as ``…/photos``.

    Arguments:
        texts: Texts of a run, some of which name folders and home directories that others mention.
    """

    def __init__(self, *texts: Any) -> None:
        said = list(_texts(texts))
        # Those with spaces are known from where they stand alone.
        found = {path.rstrip("/\\. ") for text in said if _is_spec(text) for path in _ALONE.findall(text)}
        self._known = sorted((path for path in found if " " in path), key=len, reverse=True)
        users = {user for text in said for user in _HOME.findall(text)} | {_user()}
        host = socket.gethostname()
        self._names = {
            **{name: "HOST" for name in (host, host.partition(".")[0]) if _identifies(name)},
            **{name: "USER" for name in users if _identifies(name)},
        }

    def text(self, text: str) -> str:
        """A text without them.

        >>> Shareable().text("12 images of folder:/data/sets/photos?part=0-50% in /tmp/x.")
        '12 images of folder:…/photos?part=0-50% in …/x.'
        """
        for path in self._known:
            text = text.replace(path, _last(path))
        for pattern in (_QUOTED, _IN_TEXT):
            text = pattern.sub(lambda found: _last(found[0]), text)
        for name, shown in sorted(self._names.items(), key=lambda pair: -len(pair[0])):
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown, text)
        return text

    def value(self, value: T) -> T:
        """A value with all texts in it so; a mapping's keys, too."""
        return self._value(value)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(_ALONE.sub(lambda found: _last(found[0]), value) if _is_spec(value) else value)
        if isinstance(value, Mapping):
            return {self._value(key): self._value(of) for key, of in value.items()}
        if isinstance(value, list | tuple):
            made = getattr(value, "_make", type(value))
            return made(map(self._value, value))
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{one.name: self._value(getattr(value, one.name)) for one in fields(value)})
        return value


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _is_spec(text: str) -> bool:
    """Whether a text is a path or an image set's spec, rather than a sentence or a command."""
    return re.match(rf"(?:[\w-]+:)?{_BEGIN}", text) is not None


def _last(path: str) -> str:
    trailing = path[len(path.rstrip(".:")) :]
    path = path.removeprefix("file://").rstrip(".:")
    parts = (PureWindowsPath if re.match(r"[A-Za-z]:", path) else PurePosixPath)(path).parts
    # A home directory is its user's name.
    whole = len(parts) < 2 or (len(parts) == 3 and parts[1] in ("home", "Users"))
    return ("…" if whole else f"…/{parts[-1]}") + trailing


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # An account without a name.
        return ""


def _identifies(name: str) -> bool:
    return len(name) > 2 and name.lower() not in _COMMON
