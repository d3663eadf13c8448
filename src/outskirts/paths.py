"""Paths as people write them: with ``~`` for a home folder, and in any bytes."""

from __future__ import annotations

from pathlib import Path

from .errors import OutskirtsError
from .texts import in_unicode

__all__ = ["home_expanded", "output_path", "require_unicode"]


def home_expanded(path: Path | str) -> Path:
    """A path whose ``~`` at the beginning stands for the home folder of a user; an error if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise OutskirtsError(f"{Path(path).parts[0]} stands for the home folder of a user who is not known.") from error


def require_unicode(path: Path) -> None:
    """Raise if a path is not in UTF-8: safetensors writes to such a one, but does not read it."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        # Not every stream could print it.
        raise OutskirtsError(
            f"The path {in_unicode(str(path))} is not in UTF-8, and what is written there could not be read again; "
            "choose another name."
        ) from error


def output_path(path: Path | str) -> Path:
    """The path of what is to be written, its home folder expanded.

    Raises:
        OutskirtsError: If there is no such user, or the path is not in UTF-8.
    """
    path = home_expanded(path)
    require_unicode(path)
    return path
