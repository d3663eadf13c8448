"""``outskirts --print-completion SHELL``: what a shell needs to complete commands and options."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import make_dataclass
from typing import Any

import tyro

from ..errors import unknown
from ..generation.screening import Rules
from ..methods import registry
from ..training.config import TrainConfig
from .console import subcommands

__all__ = ["print_completion"]

_SHELLS = ("bash", "zsh")


def print_completion(shell: str, names: Iterable[str]) -> None:
    """Print a script for a shell.

    Arguments:
        shell: bash or zsh.
        names: The commands.
    """
    if shell not in _SHELLS:
        raise unknown("shell", shell, _SHELLS)
    modules = {name: importlib.import_module(f".{name}", __package__) for name in names}
    kinds: dict[str, Any] = {name: module.COMMAND for name, module in modules.items()}
    start, make = kinds["train"], kinds["synthesize"]["id"]
    kinds["train"] = {name: _joined(start, TrainConfig, registry[name].Config) for name in registry.names()}
    kinds["synthesize"] = {**kinds["synthesize"], "id": _joined(make, Rules)}
    kinds["benchmark"] = {**kinds["benchmark"], "NAME": modules["benchmark"].Benchmark}
    tyro.cli(
        subcommands(kinds),
        prog="outskirts",
        args=["--tyro-print-completion", shell],
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )


def _joined(*kinds: type[Any]) -> type[Any]:
    """One type with the options of several."""
    return make_dataclass("Options", [(kind.__name__.lower(), kind) for kind in kinds])
