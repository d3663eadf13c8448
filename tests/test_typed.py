"""The package is typed for its users."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import outskirts as osk
from outskirts.detectors import registry

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "outskirts"


def declared(file: Path) -> dict[str, str]:
    """The module that type checkers are told each name comes from, by name."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    assert all(alias.asname == alias.name for node in imports for alias in node.names)
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def test_type_checkers_know_every_public_name():
    known = declared(SOURCE / "__init__.py")
    assert sorted(known) == sorted(osk.__all__)
    for name, module in known.items():
        assert osk._HOMES.get(name, "") == module


def test_type_checkers_know_every_detector():
    own = [registry[name] for name in registry.names() if registry[name].__module__.startswith("outskirts.detectors.")]
    expected = {part.__name__: part.__module__.rpartition(".")[2] for part in own}
    assert declared(SOURCE / "detectors" / "__init__.py") == expected, "A new detector has a line there, too."


def test_the_package_says_that_it_is_typed():
    assert (SOURCE / "py.typed").is_file()


def checked(*files: Path) -> subprocess.CompletedProcess[str]:
    """What mypy says of a user's program; of the package it says as little as if that was installed."""
    pytest.importorskip("mypy")
    options = ["--strict", "--follow-imports=silent", "--config-file=", "--python-version=3.11"]
    options += [f"--cache-dir={ROOT / '.mypy_cache' / 'typed'}"]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "mypy", *options, *map(str, files)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_a_program_is_clean_under_strict_checks(tmp_path):
    found = checked(ROOT / "tests" / "typed" / "consumer.py")
    assert found.returncode == 0, found.stdout + found.stderr
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import outskirts as osk\nosk.trian\nosk.detectors.KNM()\nosk.detectors.KNN(k='5')\n"
        "osk.evaluate(osk.open('x'), {})\n"
    )
    lines = checked(wrong).stdout.splitlines()
    assert [line.split(":")[1] for line in lines if ": error:" in line] == ["2", "3", "4", "5"], lines
