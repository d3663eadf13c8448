"""Names of OOD sets and of their groups, which tables, commands and files repeat."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..errors import OutskirtsError
from ..files import require_path_part
from .results import ID, MEAN, TUNING

__all__ = ["require_set_names"]

_NAME = re.compile(r"[\w.+-]+")
_ALLOWED = "A name has only letters, digits and . + - _"
_TAKEN = (ID, "train", "val", MEAN)


def require_set_names(groups: Mapping[str, Iterable[str]]) -> None:
    """Raise unless OOD sets and their groups have names that an evaluation can repeat everywhere.

    Arguments:
        groups: The names of the sets by group.

    >>> require_set_names({"far": ["textures"]})
    """
    known: set[str] = set()
    for group, names in groups.items():
        _require_name("A group of OOD sets", group)
        if group == TUNING:
            raise OutskirtsError(f"A group of OOD sets cannot be called '{TUNING}', as results call their parameters.")
        for name in names:
            if name in known:
                raise OutskirtsError(f"Two OOD sets are called '{name}'. Give each set a name of its own.")
            if name in _TAKEN:
                raise OutskirtsError(f"An OOD set cannot be called '{name}': {', '.join(_TAKEN)} are taken.")
            _require_name("An OOD set", name)
            known.add(name)
    if not known:
        raise OutskirtsError("There is no OOD set to evaluate on; pass at least one (--far NAME=SPEC).")


def _require_name(what: str, name: str) -> None:
    if name and not _NAME.fullmatch(name):
        raise OutskirtsError(f"{what} cannot be called '{name[:80]}'. {_ALLOWED}")
    require_path_part(what, name)  # Files of the gallery are called by it.
