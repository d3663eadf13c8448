"""Named parts: registered by a decorator in the part's own file, or by a third party's entry point."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from traceback import walk_tb
from typing import Any, Generic, TypeVar

from .errors import OutskirtsError, reason, unknown

__all__ = ["Registry", "foreign_part"]

T = TypeVar("T", bound=type)

#: Parts of other packages, by the top-level names of these.
_FOREIGN: dict[str, str] = {}


def foreign_part(error: BaseException) -> str | None:
    """The part of another package in whose code an error arose, as in "detector 'knn'"; None if it arose elsewhere."""
    packages = (str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(error.__traceback__))
    return next((_FOREIGN[package] for package in packages if package in _FOREIGN), None)


class Registry(Generic[T]):
    """The classes of one kind by name; its package's modules are imported at the first look-up.

    Arguments:
        kind: The noun used in messages, such as ``"detector"``.
        package: The package whose modules hold the parts. Its dotted name is also the group of the
            entry points through which other distributions add theirs.
        base: The class of which all are subclasses.
    """

    def __init__(self, kind: str, package: str, base: type[Any] = object) -> None:
        self.kind = kind
        self.package = package
        self.base = base
        self._parts: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Class decorator that adds the class under `name` and tells the class its name."""

        def add(part: T) -> T:
            known = self._parts.get(name, part)
            # A module that is imported anew brings a new class of the same name; another module's is a stranger.
            if (known.__module__, known.__qualname__) != (part.__module__, part.__qualname__):
                raise OutskirtsError(f"Two {self.kind}s call themselves '{name}': rename one of them.")
            part.name = name  # type: ignore[attr-defined]
            self._parts[name] = part
            return part

        return add

    def __getitem__(self, name: str) -> T:
        parts = self._discover()
        if name not in parts:
            raise unknown(self.kind, name, parts)
        return parts[name]

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._discover())

    def _loaded(self, point: EntryPoint) -> T:
        named = f"The {self.kind} '{point.name}' that another package offers as {point.value}"
        try:
            part = point.load()
        # Whatever a stranger's module does when it is imported.
        except (Exception, SystemExit) as error:
            raise OutskirtsError(
                f"{named} cannot be imported: {reason(error)}. Mend or uninstall that package."
            ) from error
        if not (isinstance(part, type) and issubclass(part, self.base)):
            raise OutskirtsError(f"{named} is no subclass of {self.base.__name__}. Mend or uninstall that package.")
        if lacking := sorted(getattr(part, "__abstractmethods__", ())):
            raise OutskirtsError(f"{named} lacks {' and '.join(lacking)}. Mend or uninstall that package.")
        _FOREIGN[point.module.partition(".")[0]] = f"{self.kind} '{point.name}'"
        return part  # type: ignore[return-value]

    def _discover(self) -> dict[str, T]:
        if not self._discovered:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            for point in entry_points(group=self.package):
                self.register(point.name)(self._loaded(point))
            # Not before, so that a part that cannot be imported says so at every look-up.
            self._discovered = True
        return self._parts
