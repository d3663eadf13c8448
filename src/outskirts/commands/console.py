"""What the commands share: options from dataclasses, examples below the help, progress bars, sentences."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

import tyro
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID
from rich.table import Table

from .. import bars, renamed
from ..errors import OutskirtsError, unknown
from ..paths import home_expanded, output_path
from ..telling import Progress, Say
from .help import plain, with_examples
from .several import require_parted

__all__ = [
    "Command",
    "Telling",
    "bar",
    "choose",
    "console",
    "current_flags",
    "merged",
    "pairs",
    "parse",
    "parse_parts",
    "say",
    "show",
    "subcommands",
    "telling",
    "telling_with_training",
    "training_progress",
    "value",
]

T = TypeVar("T")

#: Options that are paths of what a command writes.
_WRITTEN = ("out", "html", "state")

#: Told of each step of a training: its number, how many there are, and the latest record.
Learning = Callable[[int, int, dict[str, Any]], None]


class _Console(Console):
    """One that leaves it to the program how it ends where nobody reads on; rich would end it otherwise."""

    def on_broken_pipe(self) -> None:
        raise


#: Progress and remarks; results go to standard output. Names may hold brackets and colons, so no markup. Of several
#: processes, the first one speaks for all.
console = _Console(stderr=True, highlight=False, markup=False, emoji=False, quiet=os.environ.get("RANK", "0") != "0")


class Command(ABC):
    """A command or a stage of one: a frozen dataclass whose fields are its options, called to run it."""

    #: Command lines that end the help; a test runs them.
    examples: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self) -> None:
        """Call what the command stands for, and print what came out."""


def say(sentence: str) -> None:
    """Print a remark in one piece, so that a path or a command in it can be copied."""
    console.print(sentence, soft_wrap=True)


def show(result: Table | str) -> None:
    """Print a result to standard output: a table, or a sentence in one piece."""
    console = _Console(highlight=False, markup=False, emoji=False)
    notes = None
    if isinstance(result, Table):
        # Below the table, where they are as wide as the terminal, not as the table.
        result = copy(result)
        notes, result.caption = result.caption, None
    console.print(result, soft_wrap=isinstance(result, str))
    if notes:
        console.print(notes)


def parse(kind: type[T], command: str, arguments: Sequence[str], default: T | None = None) -> T:
    """Read a dataclass from the command line; wrong options end in tyro's message and exit code 2."""
    with plain, with_examples(getattr(kind, "examples", ()), arguments):
        read: T = tyro.cli(
            kind,
            prog=f"outskirts {command}",
            args=_checked(arguments, kind),
            config=_CONFIG,
            default=tyro.MISSING_NONPROP if default is None else default,
        )
    return _placed(read)


def choose(command: str, kinds: Mapping[str, type[Command]], arguments: Sequence[str]) -> Command:
    """Read the subcommand that the first argument names, with its own options alone."""
    if arguments and arguments[0] in kinds:
        return parse(kinds[arguments[0]], f"{command} {arguments[0]}", arguments[1:])
    if arguments and not arguments[0].startswith("-"):
        raise unknown("command", arguments[0], kinds, f"of {command}")
    # Tyro lists them, or says what is wrong.
    asked = list(arguments) or ["--help"]
    with plain, with_examples([kind.examples[0] for kind in kinds.values()][:2], asked):
        return tyro.cli(
            subcommands(kinds),
            prog=f"outskirts {command}",
            args=asked,
            description=f"Options of one of them: outskirts {command} {next(iter(kinds))} --help",
        )


def subcommands(kinds: Mapping[str, Any]) -> Any:
    """The type of which tyro makes a subcommand for each name; those of a mapping have some of their own."""
    union: Any = None
    for name, kind in kinds.items():
        own: Any = subcommands(kind) if isinstance(kind, Mapping) else kind
        one: Any = Annotated.__class_getitem__((own, tyro.conf.subcommand(name)))  # type: ignore[attr-defined]
        union = one if union is None else union | one
    return union


def parse_parts(
    parts: Mapping[str, Any], command: str, arguments: Sequence[str], about: str, examples: Sequence[str]
) -> tuple[Any, ...]:
    """Read several dataclasses, each with its defaults, as one set of options.

    Arguments:
        parts: An instance of each by its title; the values are the defaults.
        command: What the options are of.
        arguments: The command line.
        about: The first sentence of the help.
        examples: Command lines that end it.

    Returns:
        What was read, an instance of each.
    """
    columns = [(title, type(part), field(default=part)) for title, part in parts.items()]
    kind: type[Any] = make_dataclass("Options", columns, frozen=True, kw_only=True)
    with plain, with_examples(examples, arguments):
        read = tyro.cli(
            kind,
            prog=f"outskirts {command}",
            args=_checked(arguments, *map(type, parts.values())),
            config=_CONFIG,
            description=about,
        )
    return tuple(_placed(getattr(read, title)) for title in parts)


def _placed(options: T) -> T:
    """The same options with the home folders that their paths begin with; an error for one that cannot be written."""
    placed: dict[str, Any] = {}
    for name in getattr(options, "__dataclass_fields__", ()):
        value = getattr(options, name)
        if isinstance(value, Path):
            placed[name] = output_path(value) if name in _WRITTEN else home_expanded(value)
        elif isinstance(value, tuple) and any(isinstance(one, Path) for one in value):
            placed[name] = tuple(map(home_expanded, value))
    return replace(options, **placed) if placed else options  # type: ignore[type-var]


_CONFIG = (tyro.conf.OmitArgPrefixes,)


def _checked(arguments: Sequence[str], *kinds: type[Any]) -> list[str]:
    """`current_flags`, or an error if an option is given twice, or several values are parted in another way."""
    arguments = current_flags(arguments, *kinds)
    # Of two values, one would be dropped.
    given: set[str] = set()
    for flag in (argument.partition("=")[0] for argument in arguments if argument.startswith("--")):
        name = flag.replace("_", "-").removeprefix("--").removeprefix("no-")
        if name in given and name not in ("", "help"):
            raise OutskirtsError(f"--{name} is given twice; give it once.")
        given.add(name)
    require_parted(arguments, *kinds)
    return arguments


def current_flags(arguments: Sequence[str], *kinds: type[Any]) -> list[str]:
    """The same with flags and values of 0.1 under their names of today, where these dataclasses have only those."""
    known = {name.replace("_", "-") for kind in kinds for name in getattr(kind, "__dataclass_fields__", ())}
    table = {name.replace("_", "-"): new.replace("_", "-") for name, new in renamed.SYNTHESIS.items()}

    def current(argument: str) -> str:
        flag, equals, rest = argument.partition("=")
        name = flag.removeprefix("--").replace("_", "-")
        if not flag.startswith("--") or name in known or table.get(name) not in known:
            return argument
        renamed.current(f"--{name}", {f"--{name}": f"--{table[name]}"}, "option")
        return f"--{table[name]}{equals}{rest}"

    flags = [current(argument) for argument in arguments]
    return [_current_value(*pair) for pair in zip(["", *flags], flags)]


def _current_value(before: str, argument: str) -> str:
    """An argument, by today's name if it is, or holds, the value of an option that is called otherwise now."""
    flag, equals, value = argument.partition("=") if argument.startswith("--") else (before, "", argument)
    value = renamed.current_value(flag.removeprefix("--").replace("-", "_"), value)
    return f"{flag}{equals}{value}" if argument.startswith("--") else value


def merged(arguments: Sequence[str], *flags: str) -> list[str]:
    """The same with the values of a flag that is given several times put together.

    >>> merged(["run", "--far", "a=x", "--test", "t", "--far", "b=y", "c=z"], "--far")
    ['run', '--test', 't', '--far', 'a=x', 'b=y', 'c=z']
    """
    rest: list[str] = []
    values: dict[str, list[str]] = {}
    into = rest
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in flags:
            into = values.setdefault(flag, [])
            into += [value] * bool(equals)
            continue
        if argument.startswith("-"):
            into = rest
        into.append(argument)
    return rest + [word for flag, several in values.items() for word in (flag, *several)]


def value(arguments: Sequence[str], flag: str) -> str | None:
    """What follows a flag, which decides which options there are; None if it is not given."""
    for place, argument in enumerate(arguments):
        if argument == flag and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
    return None


def pairs(group: str, entries: Sequence[str]) -> dict[str, str]:
    """The specs of image sets given as NAME=SPEC, by name."""
    sets: dict[str, str] = {}
    for entry in entries:
        name, equals, spec = entry.partition("=")
        if not equals or not name or not spec:
            raise OutskirtsError(f"--{group} takes NAME=SPEC, such as svhn=folder:data/svhn, not '{entry}'.")
        if name in sets:
            raise OutskirtsError(f"--{group} names the set '{name}' twice; give each set its own name.")
        sets[name] = spec
    return sets


def bar() -> Bars:
    """A progress bar that is silent where nobody watches."""
    return bars.bar(console, disable=not console.is_terminal or console.quiet, transient=True)


class Telling(NamedTuple):
    """What long work is given to tell of itself."""

    say: Say
    progress: Progress


@contextmanager
def telling() -> Iterator[Telling]:
    """Sentences on the terminal, and a bar for each thing that is being done."""
    with bar() as shown:
        yield Telling(say, _of_work(shown))


@contextmanager
def training_progress(title: str) -> Iterator[Learning]:
    """A bar on a terminal; a line for each validation elsewhere. A warning is printed when it begins."""
    with bar() as shown:
        yield _of_training(shown, title)


@contextmanager
def telling_with_training(title: str) -> Iterator[tuple[Say, Progress, Learning]]:
    """`telling` and `training_progress` for work that does both: a terminal shows one display at a time."""
    with bar() as shown:
        yield say, _of_work(shown), _of_training(shown, title)


def _of_work(shown: Bars) -> Progress:
    tasks: dict[str, TaskID] = {}

    def progress(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = shown.add_task(what, total=total, figures="")
        shown.update(tasks[what], completed=done, total=total, visible=done != total)

    return progress


def _of_training(shown: Bars, title: str) -> Learning:
    # It is shown from the first step on.
    task = shown.add_task(title, total=None, figures="", visible=False)
    reported = -1
    warned = False

    def update(step: int, steps: int, latest: dict[str, Any]) -> None:
        nonlocal reported, warned
        # Its numbers change with every step, so that its text would tell nothing.
        warning = latest.get("warning", "")
        if warning and not warned:
            say(f"{title}: warning at step {step} of {steps}: {warning}")
        warned = bool(warning)
        figures = bars.figures(latest)
        shown.update(task, completed=step, total=steps, figures=figures, visible=step != steps)
        if latest.get("kind") == "val" and latest["step"] != reported and not console.is_terminal:
            reported = latest["step"]
            say(f"{title}: step {step} of {steps}  {figures}")

    return update
