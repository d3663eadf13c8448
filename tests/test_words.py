"""Help texts and descriptions of arguments are phrases that stand alone, in words for a newcomer."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from outskirts import commands, generation, methods
from outskirts.generation.screening import Rules
from outskirts.training.config import TrainConfig

SOURCE = Path(__file__).parents[1] / "src" / "outskirts"
TEXTS = {str(file.relative_to(SOURCE)): file.read_text(encoding="utf-8") for file in sorted(SOURCE.rglob("*.py"))}

#: What a phrase that stands alone does not begin with.
FRAGMENT = re.compile(r"(?:Of|Its|Their|Around|As for)\b")
#: What says only where else to look begins so, or has no words but names of code.
POINTER = re.compile(r"(?:See|As (?:in|by)|Like|Likewise|The same as|(?:Passed|Handed|Given) (?:on )?to)\b")
CODE = re.compile(r"``[^`]+``|`[^`]+`|\bsee\b")


def faults(text: str) -> list[str]:
    """What is wrong with the description of an argument."""
    found = ["is a fragment"] if FRAGMENT.match(text) else []
    if POINTER.match(text) or not re.search(r"\w", CODE.sub("", text)):
        found.append("says only where else to look")
    return found


def faults_of_help(text: str) -> list[str]:
    """What is wrong with the help of an option."""
    found = faults(text)
    if not text.endswith("."):
        found.append("does not end with a full stop")
    if len(text.split()) < 3:
        found.append("has fewer than three words")
    return found


def helps(text: str) -> dict[tuple[str, str], str]:
    """The text below each field of each class of a module, by the names of class and field."""
    return {
        (node.name, field.target.id): " ".join(below.value.value.split())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
        for field, below in zip(node.body, node.body[1:])
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


HELPS = {name: helps(text) for name, text in TEXTS.items()}


def kinds() -> Iterator[type]:
    """The dataclasses of which the command line makes options."""
    yield from (TrainConfig, Rules)
    yield from (registry[name].Config for registry in (methods.registry, generators()) for name in registry.names())
    for module in pkgutil.iter_modules(commands.__path__):
        for value in vars(importlib.import_module(f"outskirts.commands.{module.name}")).values():
            if isinstance(value, type) and is_dataclass(value) and value.__module__.startswith(commands.__name__):
                yield value


def generators():
    return importlib.import_module(f"{generation.__name__}.generators").registry


def help_of(kind: type, field: str) -> str:
    """The text below a field where it is written, in the dataclass or in one that it comes from."""
    for base in kind.__mro__:
        file = inspect.getsourcefile(base) if base.__module__.startswith("outskirts.") else None
        found = HELPS[str(Path(file).relative_to(SOURCE))].get((base.__name__, field)) if file else None
        if found is not None:
            return found
    return ""


KINDS = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in kinds()}


def test_options_of_all_commands_are_looked_at():
    counted = sum(field.init for kind in KINDS.values() for field in fields(kind))
    assert counted > 250 and {kind.__module__.split(".")[1] for kind in KINDS.values()} == {
        "commands",
        "generation",
        "methods",
        "training",
    }


@pytest.mark.parametrize("name", KINDS)
def test_help_of_an_option_stands_alone(name):
    kind = KINDS[name]
    texts = {field.name: help_of(kind, field.name) for field in fields(kind) if field.init}
    assert {field: (text, found) for field, text in texts.items() if (found := faults_of_help(text))} == {}


#: What names the range or the unit of a number.
RANGE = re.compile(r"\d|\b(?:above|at least|at most|pixels|seconds|bytes|nats|units)\b", re.IGNORECASE)


def is_number(kind: Any) -> bool:
    """Whether an option of this type is a number; one that need not be given too."""
    return any(own in (int, float) for own in (kind, *get_args(kind)))


@pytest.mark.parametrize("name", KINDS)
def test_help_of_a_number_names_its_range_or_unit(name):
    kind, types = KINDS[name], get_type_hints(KINDS[name])
    numbers = [field.name for field in fields(kind) if field.init and is_number(types[field.name])]
    texts = {number: help_of(kind, number) for number in numbers if number != "seed"}
    assert {number: text for number, text in texts.items() if not RANGE.search(text)} == {}


#: What a heading of a group of options neither begins with nor contains: it stands before what it could refer to.
LEANING = re.compile(r"^(?:From|How|What|When|Where|Which|All)\b|\b(?:they|them|their)\b", re.IGNORECASE)


@pytest.mark.parametrize("name", KINDS)
def test_headings_of_options_stand_alone(name):
    kind, types = KINDS[name], get_type_hints(KINDS[name])
    groups = [help_of(kind, field.name) for field in fields(kind) if is_dataclass(types[field.name])]
    headings = [(inspect.getdoc(kind) or "").partition("\n\n")[0], *groups]
    assert [text for text in headings if LEANING.search(text) or not text.endswith(".")] == []


@pytest.mark.parametrize("words", [("train", "ce"), ("synthesize", "id"), ("synthesize", "boundary")])
def test_titles_of_options_are_nouns(words, outskirts):
    titles = re.findall(r"^(?:╭─)? (\w+) options ", outskirts(*words, "--help").out, re.MULTILINE)
    assert titles and set(titles) <= {
        "run",
        "training",
        "method",
        "pool",
        "screening",
        "generator",
        "outliers",
        "synthesis",
    }


def entries(docstring: str) -> Iterator[tuple[str, str]]:
    """The arguments or attributes that a docstring describes, with the text of each."""
    lines, inside, name, words = inspect.cleandoc(docstring).splitlines(), False, "", [""]
    for line in [*lines, "end"]:
        depth = len(line) - len(line.lstrip())
        entry = re.match(r"    ([\w*]+(?:, [\w*]+)*): *(.*)", line) if inside else None
        if name and line and (entry or not depth):
            yield name, " ".join(words).strip()
            name = ""
        if entry:
            name, words = entry[1], [entry[2]]
        elif depth:
            words.append(line.strip())
        elif line:
            inside = line in ("Arguments:", "Attributes:")


def described(text: str) -> Iterator[tuple[str, str, str]]:
    """What each function and class of a module says of its arguments, and, under the name "", in its first line."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node) or ""
            name = getattr(node, "name", "the module")
            yield name, "", docstring
            yield from ((name, *entry) for entry in entries(docstring))


DESCRIBED = {name: list(described(text)) for name, text in TEXTS.items()}


def test_arguments_are_described_in_their_place():
    wrong = [
        (file, name, argument, text, found)
        for file, all_of_it in DESCRIBED.items()
        for name, argument, text in all_of_it
        if argument and (found := faults(text))
    ]
    assert wrong == []


def test_docstrings_begin_with_what_they_describe():
    wrong = [
        (file, name, text.splitlines()[0])
        for file, all_of_it in DESCRIBED.items()
        for name, argument, text in all_of_it
        if not argument and FRAGMENT.match(text)
    ]
    assert wrong == []


def test_all_arguments_are_looked_at():
    sections = sum(text.count("Arguments:\n") for text in TEXTS.values())
    found = [argument for all_of_it in DESCRIBED.values() for _, argument, _ in all_of_it if argument]
    assert len(found) > 2 * sections > 500


@pytest.mark.parametrize(
    "text",
    [
        "Of everything random.",
        "Its learning rate.",
        "Their names.",
        "Around each.",
        "As for `evaluate`.",
        "See there.",
        "See `X`.",
        "Likewise.",
        "As in `Mixing`.",
        "Passed on to `host`.",
        "`Sampler`.",
        "``all``; see `X`.",
        "",
    ],
)
def test_fragments_and_pointers_are_refused(text):
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "Seed of all random numbers.",
        "Offset of a row.",
        "[N, C].",
        "Weights of the images; see `mean`.",
        "Seeds to run.",
    ],
)
def test_phrases_are_accepted(text):
    assert not faults(text)


@pytest.mark.parametrize("text", ["Seed of all random numbers", "Learning rate.", ""])
def test_help_is_a_phrase_with_a_full_stop(text):
    assert faults_of_help(text)


def test_docstrings_are_read():
    text = """What it does.

    Told: this is no argument.

    Arguments:
        one: The first,
            over two lines: and a colon.
        two, three: See there.

        four: After a blank line.

    Returns:
        five: None of them.

    Attributes:
        six: What is kept.
    """
    assert list(entries(text)) == [
        ("one", "The first, over two lines: and a colon."),
        ("two, three", "See there."),
        ("four", "After a blank line."),
        ("six", "What is kept."),
    ]
