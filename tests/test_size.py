"""Files and functions are as long as can be read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Lines at most, with docstrings and comments.
FILE, FUNCTION = 400, 80


def lengths(text: str) -> Iterator[tuple[str, int]]:
    """The name and the lines of each function of a module, those within others, too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


TEXTS = {
    str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
    for folder in ("src", "tests")
    for file in sorted((ROOT / folder).rglob("*.py"))
}


def test_no_file_is_too_long():
    assert {name: lines for name, text in TEXTS.items() if (lines := len(text.splitlines())) > FILE} == {}


def test_no_function_is_too_long():
    found = [(file, *each) for file, text in TEXTS.items() for each in lengths(text)]
    assert [(file, name, lines) for file, name, lines in found if lines > FUNCTION] == []


def test_lines_are_counted_of_every_function():
    text = "class A:\n    def a(\n        self,\n    ):\n        async def b():\n            pass\n\n\ndef c(): ...\n"
    assert sorted(lengths(text)) == [("a", 5), ("b", 2), ("c", 1)]
