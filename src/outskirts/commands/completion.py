"""``outskirts --print-completion SHELL``: what a shell needs to complete commands and options."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable
from contextlib import redirect_stdout, suppress
from dataclasses import make_dataclass
from io import StringIO
from typing import Any

import tyro

from ..data.benchmark import benchmarks
from ..data.fetch import catalogue
from ..errors import unknown
from ..generation.screening import Rules
from ..listing import available
from ..methods import registry
from ..models.published import LAYOUTS
from ..training.config import TrainConfig
from .console import subcommands
from .help import plain

__all__ = ["print_completion"]

#: What a command is called beside its subcommands, where it can stand alone.
_ITSELF = "NAME"

#: The line of the script that says what there is.
_SPEC = "COMPLETION_SPEC = "

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
    kinds["synthesize"] = {
        **kinds["synthesize"],
        "id": _joined(make, Rules),
        **{
            name: {**kinds["synthesize"][name], _ITSELF: kinds["synthesize"][name]["all"]} for name in ("ncis", "dream")
        },
        **{name: modules["synthesize"].Images for name in registry.names() if name not in kinds["synthesize"]},
    }
    kinds["benchmark"] = {**kinds["benchmark"], _ITSELF: modules["benchmark"].Benchmark}
    with plain, redirect_stdout(StringIO()) as script, suppress(SystemExit):
        tyro.cli(
            subcommands(kinds),
            prog="outskirts",
            args=["--tyro-print-completion", shell],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        )
    print(_with_values(script.getvalue()), end="")


def _joined(*kinds: type[Any]) -> type[Any]:
    """One type with the options of several."""
    return make_dataclass("Options", [(kind.__name__.lower(), kind) for kind in kinds])


def _with_values(script: str) -> str:
    """The script with what tyro leaves out: values that stand alone, and options of every command."""
    start = script.index(_SPEC) + len(_SPEC)
    end = script.index("\n", start)
    spec = ast.literal_eval(script[start:end])
    _mend(spec)
    parts = spec["subcommands"]
    sets, known = catalogue(), benchmarks()
    _add(parts["list"], available(), {})
    _add(parts["benchmark"], known, parts["benchmark"])
    _add(parts["benchmark"]["subcommands"]["show"], known, {})
    _add(parts["data"]["subcommands"]["fetch"], ["list", *sets, *known], {})
    _add(parts["data"]["subcommands"]["verify"], sets, {})
    _add(parts["import"], LAYOUTS, parts["import"])
    spec["options"].append(_flag("--version", description="Print the version."))
    return script[:start] + repr(spec) + script[end:]


def _mend(node: dict[str, Any]) -> None:
    """Let a command have the options of `_ITSELF`, which is no word to choose, and those of every command."""
    below = node.setdefault("subcommands", {})
    for child in below.values():
        _mend(child)
    if itself := below.pop(_ITSELF, None):
        node["options"] += [option for option in itself["options"] if "--help" not in option["flags"]]
    node["options"] += [_flag("-q", "--quiet", description="Print results and errors only.")]
    node["options"] += [_flag("-v", "--verbose", description="Print where in the program an error occurred.")]


def _flag(*flags: str, description: str) -> dict[str, Any]:
    return {"flags": list(flags), "description": description, "type": "flag"}


def _add(node: dict[str, Any], values: Iterable[str], like: dict[str, Any]) -> None:
    """Let words follow a command: after each, the options of `like`."""
    options = list(like.get("options", []))
    for value in values:
        entry = {"description": value, "options": options, "subcommands": {}, "frontier_groups": []}
        node["subcommands"].setdefault(value, entry)
