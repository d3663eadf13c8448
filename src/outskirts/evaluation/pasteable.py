"""Commands as others can paste them: a path that is only here gives way to a variable, without which a shell stops."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from ..data.sources.spec import brief, parse_spec
from ..errors import OutskirtsError
from ..models.given import KINDS, parse_model
from .shareable import Shareable

__all__ = ["Pasteable"]

#: What comes before the value in a word: ``--out=``, or the name of a set.
_NAMED = re.compile(r"((?:--)?\w[\w.+/-]*=)(.*)", re.DOTALL)
_ABSOLUTE = re.compile(r"(?:^|[:=@])[/~]")
#: A path behind the name of what reads it, with or without options.
_PLACED = re.compile(r"((?:[\w-]+:)?)([/~][^?]*)(.*)", re.DOTALL)


class Pasteable:
    """Writes commands for a shell; all that it has written share their variables.

    Arguments:
        folder: The folder in which the commands were given. Paths inside of it become relative to it.
        typed: The command as it was given; relative paths that it names stay, even if they lead out of the folder.
        hidden: What leaves out the names of users and machines.
        full: Whether every path and name stays as it is.
    """

    def __init__(
        self, folder: str = "", typed: str = "", hidden: Shareable | None = None, *, full: bool = False
    ) -> None:
        self._folder, self._typed, self._full = folder, typed, full
        self._hidden = hidden or Shareable()
        self._variables: dict[str, str] = {}

    def line(self, words: Sequence[str]) -> str:
        """One command.

        >>> given = Pasteable("/home/carl/birds")
        >>> given.line(["outskirts", "train", "ce", "--data", "folder:/home/carl/birds/my photos?limit=9"])
        "outskirts train ce --data 'folder:my photos?limit=9'"
        >>> given.line(["outskirts", "evaluate", "runs/ce", "--test", "folder:/srv/birds/test"])
        'outskirts evaluate runs/ce --test folder:"${PATH_TO_TEST:?}"'
        >>> print(given.line(["--model", "timm:resnet18?weights=/home/carl/birds/my.pt", "onnx:/srv/a.onnx"]))
        --model 'timm:resnet18?weights=my.pt' onnx:"${PATH_TO_A_ONNX:?}"
        """
        return " ".join(self._quoted(word if self._full else self._word(word)) for word in words)

    def text(self, command: str) -> str:
        """One command that is a text already."""
        try:
            return self.line(shlex.split(command))
        except ValueError:  # It is none that a shell takes.
            return command if self._full else self._hidden.text(command)

    def hash_of(self, file: str, sha256: str) -> str:
        """A comment that tells a file from others of its name."""
        return f"# The SHA-256 of {self.line([file])} is {sha256}"

    def script(self, lines: Sequence[str], threads: int | None = None) -> str:
        """Commands written here, below what must be set before them.

        Arguments:
            lines: What `line` and `text` have written, or comments.
            threads: Number of threads of the processor, where results depend on it.
        """
        exported = [] if threads is None else [f"export OMP_NUM_THREADS={threads}"]
        return "\n".join([*self._to_set(), *exported, *lines])

    def _to_set(self) -> list[str]:
        shown = ", ".join(f"{name} for {self._last(path)}" for path, name in self._variables.items())
        return [f"# First set {shown}, as in: export {next(iter(self._variables.values()))}=…"] if shown else []

    def _word(self, word: str) -> str:
        found = _NAMED.fullmatch(word)
        name, value = found.groups() if found else ("", word)
        shown = self._spec(value) if _ABSOLUTE.search(value) else value
        if self._hidden.text(name) == name and self._hidden.value(shown) == shown:
            return name + shown
        return self._variable(word)

    def _spec(self, value: str) -> str:
        """A spec, or another text with a path in it."""
        try:
            spec = parse_spec(value, Path(self._folder), canonical=True)
        except (OutskirtsError, OSError, RuntimeError, ValueError):  # No spec, or no path that a system would have.
            if (model := self._model(value)) is not None:
                return model
            placed = _PLACED.fullmatch(value)
            return f"{placed[1]}{self._path(placed[2])}{placed[3]}" if placed else value
        if (short := brief(str(spec))) != str(spec):
            return short
        for name, argument in spec.arguments.items():
            if isinstance(argument, PurePath):
                spec.arguments[name] = self._path(str(argument))
        return str(spec)

    def _model(self, value: str) -> str | None:
        """The text of a classifier that was trained elsewhere; None if it is none."""
        if value.partition(":")[0] not in KINDS:
            return None
        try:
            spec = parse_model(value)
        except OutskirtsError:  # Backbones have options of their own.
            return None
        options = {name: self._path(one) if os.path.isabs(one) else one for name, one in spec.options.items()}
        where = self._path(spec.where) if os.path.isabs(spec.where) else spec.where
        return str(replace(spec, where=where, options=options))

    def _path(self, path: str) -> str:
        path = os.path.normpath(os.path.expanduser(path))
        relative = os.path.relpath(path, self._folder) if self._folder else path
        inside = not PurePath(relative).is_absolute() and PurePath(relative).parts[:1] != ("..",)
        if (inside or relative in self._typed) and self._hidden.value(relative) == relative:
            return f"./{relative}" if relative.startswith("-") else relative
        return self._variable(path)

    def _variable(self, path: str) -> str:
        if path not in self._variables:
            last = re.sub("[^A-Z0-9]+", "_", self._last(path).rpartition("/")[2].upper()).strip("_")
            name = stem = f"PATH_TO_{last or 'FOLDER'}"
            number = 1
            while name in self._variables.values():
                number += 1
                name = f"{stem}_{number}"
            self._variables[path] = name
        return f"${{{self._variables[path]}:?}}"

    def _last(self, path: str) -> str:
        """What may be shown of a path."""
        return " ".join(self._hidden.value(path).split())

    def _quoted(self, word: str) -> str:
        """A word for a shell, in which only the variables are expanded."""
        known = "|".join(re.escape(f"${{{name}:?}}") for name in self._variables.values())
        parts = re.split(f"({known})", word) if known else [word]
        quoted = (f'"{part}"' if i % 2 else shlex.quote(part) if part else "" for i, part in enumerate(parts))
        return "".join(quoted) or "''"
