"""Arguments with a fixed choice of values are checked when they are given, not only by a type checker."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import OutskirtsError

__all__ = ["check_literals"]

C = TypeVar("C", bound=Callable[..., Any])


def check_literals(called: C) -> C:
    """A function, or a class, whose arguments of a type `Literal` are checked at each call.

    Arguments:
        called: The function, or the class, whose ``__init__`` is then changed in place.

    >>> @check_literals
    ... def draw(kind: Literal["dots", "lines"] = "dots") -> None: ...
    >>> draw("dotz")
    Traceback (most recent call last):
    outskirts.errors.OutskirtsError: kind must be one of dots, lines, not 'dotz'; did you mean 'dots'?
    """
    if isinstance(called, type):
        if "__init__" not in vars(called):  # What it inherits has been checked, or takes no choice.
            return called
        called.__init__ = _checked(called.__init__, called if is_dataclass(called) else called.__init__)  # type: ignore[misc]
        return called
    return _checked(called, called)


def _checked(function: Any, hinted: Any) -> Any:
    if hasattr(function, "_literals_are_checked"):
        return function
    signature = inspect.signature(function)

    @functools.cache  # When it is first called: until then, names in annotations may not be defined.
    def allowed() -> dict[str, tuple[Any, ...]]:
        hints = get_type_hints(hinted)
        return {name: values for name in signature.parameters if (values := _values(hints.get(name)))}

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments
        for name, values in allowed().items():
            if name in given and given[name] not in values:
                raise _error(name, given[name], values)
        return function(*args, **kwargs)

    checked._literals_are_checked = True  # type: ignore[attr-defined]
    return checked


def _values(hint: Any) -> tuple[Any, ...]:
    """What a type allows, if it is a fixed choice of values; else nothing."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        parts = [(None,) if part is NoneType else _values(part) for part in get_args(hint)]
        return tuple(value for part in parts for value in part) if all(parts) and len(parts) > 1 else ()
    return ()


def _error(name: str, value: object, values: tuple[Any, ...]) -> OutskirtsError:
    listed = ", ".join(map(str, values))
    close = difflib.get_close_matches(str(value), [str(known) for known in values], n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return OutskirtsError(f"{name} must be one of {listed}, not {value!r}{hint}")
