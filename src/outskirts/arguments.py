"""Arguments are checked by their types and ranges when they are given, not only by a type checker."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from .bounds import Bound
from .errors import OutskirtsError
from .texts import KINDS

__all__ = ["check_arguments", "check_fields", "require_positive"]

C = TypeVar("C", bound=Callable[..., Any])


def check_arguments(called: C, part: str | None = None) -> C:
    """A function, or a class, whose arguments are checked at each call: numbers, texts, choices of values, and more.

    Arguments:
        called: The function, or the class, whose ``__init__`` is then changed in place. A number is within its range
            where its type declares a `Bound`. What is in lists and mappings is not checked, nor are protocols and
            tensors, in whose place other things may stand.
        part: What errors call it, such as "the detector 'knn'"; arguments are named alone unless given.

    >>> @check_arguments
    ... def draw(kind: Literal["dots", "lines"] = "dots", count: int = 3) -> None: ...
    >>> draw("dotz")
    Traceback (most recent call last):
    outskirts.errors.OutskirtsError: kind must be one of dots, lines, not 'dotz'; did you mean 'dots'?
    >>> draw(count=2.5)
    Traceback (most recent call last):
    outskirts.errors.OutskirtsError: count must be a whole number, not 2.5.
    """
    if isinstance(called, type):
        begin = called.__init__  # type: ignore[misc]
        if set(inspect.signature(begin).parameters) - {"self", "args", "kwargs"}:
            called.__init__ = _checked(begin, called if is_dataclass(called) else begin, part)  # type: ignore[misc]
        return called
    return _checked(called, called, part)


def check_fields(instance: Any, part: str | None = None) -> None:
    """Check a dataclass as `check_arguments` does: called in ``__post_init__``, it holds for derived classes, too."""
    derived: Any = type(instance)
    for name, kind in _kinds_of(derived).items():
        if not _fits(getattr(instance, name), kind):
            raise _error(name, getattr(instance, name), kind, part)


def require_positive(**numbers: int | None) -> None:
    """Raise unless each of these numbers, by its name, is at least 1, or is not given.

    >>> require_positive(count=None, batch_size=0)
    Traceback (most recent call last):
    outskirts.errors.OutskirtsError: batch_size must be at least 1, not 0.
    """
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise OutskirtsError(f"{name} must be at least 1, not {number}.")


class _Kind(NamedTuple):
    """What an argument may be: one of some values, or what a test accepts."""

    words: tuple[str, ...]
    values: tuple[Any, ...] = ()
    accepts: Callable[[Any], bool] = lambda value: False


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


_ACCEPTS: dict[type, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: lambda value: _is_number(value) and isinstance(value, Integral),
    float: _is_number,
    str: lambda value: isinstance(value, str),
}
_PLAIN: dict[Any, _Kind] = {
    NoneType: _Kind(("None",), (None,)),
    Path: _Kind(("a path",), accepts=lambda value: isinstance(value, os.PathLike)),
    **{kind: _Kind((KINDS[kind],), accepts=accepts) for kind, accepts in _ACCEPTS.items()},
}
#: Types of which the contents are not checked, and what errors call them. A text is no list of texts.
_HOLDERS: dict[Any, _Kind] = {
    Callable: _Kind(("a function",), accepts=callable),
    Mapping: _Kind(("a mapping",), accepts=lambda value: isinstance(value, Mapping)),
    Sequence: _Kind(("a list",), accepts=lambda value: hasattr(value, "__getitem__") and not isinstance(value, str)),
    Iterable: _Kind(("a list",), accepts=lambda value: hasattr(value, "__iter__") and not isinstance(value, str)),
}


def _checked(function: Any, hinted: Any, part: str | None) -> Any:
    if hasattr(function, "_arguments_are_checked"):
        # A derived part that has the constructor of its base goes by a name of its own.
        function = function.__wrapped__
    signature = inspect.signature(function)

    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    single = {name for name, parameter in signature.parameters.items() if parameter.kind not in several}

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments
        for name, kind in _kinds_of(hinted).items():
            if name in single and name in given and not _fits(given[name], kind):
                raise _error(name, given[name], kind, part)
        return function(*args, **kwargs)

    checked._arguments_are_checked = True  # type: ignore[attr-defined]
    return checked


@functools.cache  # When it is first asked for: until then, names in annotations may not be defined.
def _kinds_of(hinted: Any) -> dict[str, _Kind]:
    """What the arguments of a function, or the fields of a dataclass, may be, as far as that can be told."""
    hints = get_type_hints(hinted, include_extras=True)
    return {name: kind for name, hint in hints.items() if (kind := _kind(hint))}


def _kind(hint: Any) -> _Kind | None:
    """What a type allows, if that can be told of a value."""
    if get_origin(hint) is Literal:
        values = get_args(hint)
        return _Kind(tuple(map(str, values)), values)
    if get_origin(hint) in (Union, UnionType):
        parts = [_kind(part) for part in get_args(hint)]
        if not all(parts):
            return None
        known = [part for part in parts if part is not None]
        return _Kind(
            tuple(word for part in known for word in part.words),
            tuple(value for part in known for value in part.values),
            lambda value: any(part.accepts(value) for part in known),
        )
    if get_origin(hint) is Annotated:
        plain, *others = get_args(hint)
        kind = _kind(plain)
        for bound in others:
            if kind is not None and isinstance(bound, Bound):
                kind = _within(bound, kind)
        return kind
    if get_origin(hint) in _HOLDERS:
        return _HOLDERS[get_origin(hint)]
    if inspect.isclass(hint) and _is_own(hint):
        return _Kind((f"of the type {hint.__name__}",), accepts=lambda value: isinstance(value, hint))
    return _PLAIN.get(hint)


def _is_own(hint: type) -> bool:
    """Whether nothing but an instance of a class may stand for one."""
    return hint.__module__.startswith(("outskirts.", "torch.nn.")) and not getattr(hint, "_is_protocol", False)


def _within(bound: Bound, kind: _Kind) -> _Kind:
    """A kind of number, in a range."""
    words = f"{kind.words[0]} of {bound}" if str(bound).startswith("at") else f"{kind.words[0]} {bound}"
    return _Kind((words,), accepts=lambda value: kind.accepts(value) and value in bound)


def _fits(value: Any, kind: _Kind) -> bool:
    # What tyro marks as still to be given on the command line is not given.
    if type(value).__module__.startswith("tyro"):
        return True
    # Of the type as well: True equals 1.
    return any(type(value) is type(known) and value == known for known in kind.values) or kind.accepts(value)


def _error(name: str, value: object, kind: _Kind, part: str | None) -> OutskirtsError:
    chosen = any(known is not None for known in kind.values)
    wanted = f"one of {', '.join(kind.words)}" if chosen and len(kind.words) > 1 else " or ".join(kind.words)
    close = difflib.get_close_matches(str(value), [str(known) for known in kind.values], n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return OutskirtsError(f"{name}{f' of {part}' if part else ''} must be {wanted}, not {value!r}{hint}")
