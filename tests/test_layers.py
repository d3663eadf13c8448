"""Imports run from higher layers to lower ones, as `docs/architecture.md` lists them, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "outskirts"


def layers(text: str) -> dict[str, int]:
    """The layer of each room, from 0 for the ground, as the page lists them; what is set apart is a remark."""
    lines = text.split("```layers\n")[1].split("```")[0].splitlines()
    return {room: height for height, line in enumerate(lines) for room in line.split("   ")[0].split()}


LAYERS = layers((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def imported(
    module: tuple[str, ...], package: bool, text: str, known: set[tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """The modules of the project that a module's text imports, those within functions, too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = module[: len(module) - node.level + package]
            elif node.module and node.module.split(".")[0] == "outskirts":
                base = ()
            else:
                continue
            base += tuple((node.module or "").removeprefix("outskirts").lstrip(".").split(".") if node.module else ())
            base = tuple(part for part in base if part)
            for alias in node.names:
                yield (*base, alias.name) if (*base, alias.name) in known else base
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "outskirts":
                    yield tuple(alias.name.split(".")[1:])


def name_of(file: Path) -> tuple[str, ...]:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


FILES = {name_of(file): file for file in sorted(SOURCE.rglob("*.py"))}
IMPORTS = {
    module: set(imported(module, file.name == "__init__.py", file.read_text(encoding="utf-8"), set(FILES)))
    for module, file in FILES.items()
}


def room_of(module: tuple[str, ...]) -> str:
    return module[0] if module else "__init__"


def test_every_room_has_a_layer():
    assert {room_of(module) for module in FILES} == set(LAYERS)


@pytest.mark.parametrize("room", LAYERS)
def test_no_import_leads_to_a_higher_layer_or_one_beside(room):
    wrong = [
        f"{'.'.join(module)} imports {'.'.join(other) or 'outskirts'}"
        for module, others in IMPORTS.items()
        for other in others
        if room_of(module) == room != room_of(other) and LAYERS[room_of(other)] >= LAYERS[room]
    ]
    assert not wrong


def test_no_circle():
    # A package that imports its modules so that its users need not is no circle: they do not use it.
    try:
        list(TopologicalSorter({module: others - {module} for module, others in IMPORTS.items()}).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(".".join(module) for module in error.args[1]))


def test_imports_are_read_in_every_form():
    known = {("data",), ("data", "imageset"), ("errors",)}
    text = (
        "from ..data import imageset\nfrom ..errors import X\n"
        "import outskirts.data.imageset\nfrom outskirts.data import y"
    )
    found = list(imported(("models", "fast"), False, text, known))
    assert sorted(found) == [("data",), ("data", "imageset"), ("data", "imageset"), ("errors",)]
    assert list(imported(("data",), True, "from .imageset import a\nfrom . import imageset", known)) == [known_one] * 2


known_one = ("data", "imageset")
