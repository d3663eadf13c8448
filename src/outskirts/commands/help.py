"""How the help shows options: in plain sentences, with examples at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from types import NoneType
from typing import Annotated, Any, get_args

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

__all__ = ["ending", "plain", "with_examples"]

_HELP = ("-h", "--help")

#: For ``with plain:``, a block in which tyro shows options as below.
plain = ConstructorRegistry()

#: Types that tyro's own rules are being asked about.
_asked: list[Any] = []


@plain.primitive_rule
def _optional(asked: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """An option that need not be given is shown with the type of its values alone. None can be given all the same."""
    if NoneType not in get_args(asked.type) or asked.type in _asked:
        return None
    with _its_own_rules(asked.type):
        spec = ConstructorRegistry.get_primitive_spec(asked)
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None
    return replace(spec, metavar=spec.metavar.replace("{None}|", "").replace("{None,", "{"))


@plain.struct_rule
def _options(asked: StructTypeInfo) -> StructConstructorSpec | None:
    """Each option of a dataclass is shown with one paragraph, which says itself what holds if it is not given."""
    if not is_dataclass(asked.type) or asked.type in _asked:
        return None
    with _its_own_rules(asked.type):
        spec = ConstructorRegistry.get_struct_spec(asked)
    return replace(spec, fields=tuple(map(_told, spec.fields))) if isinstance(spec, StructConstructorSpec) else None


@contextmanager
def _its_own_rules(kind: Any) -> Iterator[None]:
    _asked.append(kind)
    try:
        yield
    finally:
        _asked.pop()


def _told(option: StructFieldSpec) -> StructFieldSpec:
    text = option.helptext() if callable(option.helptext) else option.helptext
    option = replace(option, helptext=text and " ".join(text.split()))
    if option.default is None or option.default == ():
        return replace(option, type=Annotated[option.type, tyro.conf.arg(help_behavior_hint="")])  # type: ignore[arg-type]
    return option


def ending(examples: Sequence[str]) -> str:
    """What help ends with."""
    lines = "\n".join(f"  {example}" for example in examples)
    return f"""
{"example" if len(examples) == 1 else "examples"}:
{lines}

With any command: -q, --quiet prints less; -v, --verbose prints more about an error."""


@contextmanager
def with_examples(examples: Sequence[str], arguments: Sequence[str]) -> Iterator[None]:
    """A block in which help that is asked for ends with examples."""
    try:
        yield
    except SystemExit as end:
        if not end.code and examples and any(flag in arguments for flag in _HELP):
            print(ending(examples))
        raise
