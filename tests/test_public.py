"""The names that users and documents rely on."""

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import outskirts as osk
from outskirts.cli import COMMANDS

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")

#: The call that each command makes.
CALLS = {
    "benchmark": "benchmark",
    "benchmark list": "benchmarks",
    "benchmark page": "benchmark_page",
    "benchmark show": "describe_benchmark",
    "data backgrounds": "cut_backgrounds",
    "data extract": "extract_tokens",
    "data fetch": "fetch",
    "data pack": "pack",
    "data verify": "verify",
    "demo": "demo",
    "evaluate": "evaluate_run",
    "export": "Guard",
    "extract": "extract",
    "guard": "Guard",
    "import": "import_checkpoint",
    "list": "available",
    "monitor": "Watch",
    "predict": "Guard",
    "report": "report",
    "serve": "serve",
    "synthesize": "synthesize_images",
    "synthesize boundary": "synthesize_features",
    "synthesize dream": "synthesize_dream",
    "synthesize gaussian": "synthesize_features",
    "synthesize id": "synthesize_id",
    "synthesize ncis": "synthesize_ncis",
    "train": "train",
}


def commands() -> list[str]:
    """All of them, with those of a command; stages of one are no commands."""
    names = []
    for name in COMMANDS:
        kinds: Any = importlib.import_module(f"outskirts.commands.{name}").COMMAND
        names += [f"{name} {one}" for one in kinds] if isinstance(kinds, dict) else [name]
    # These two have commands, and are commands themselves.
    return sorted([*names, "benchmark", "synthesize"])


def test_every_command_has_its_call():
    assert sorted(CALLS) == commands(), "A new command has its call here, and a line in docs/python.md."
    assert set(CALLS.values()) <= set(osk.__all__)


@pytest.mark.parametrize("command", CALLS)
def test_a_command_makes_its_call(command):
    first, _, second = command.partition(" ")
    places = [f"{first}_{second}", f"{first}_diffusion", first] if second else [first]
    modules = [place for place in places if importlib.util.find_spec(f"outskirts.commands.{place}")]
    sources = [inspect.getsource(importlib.import_module(f"outskirts.commands.{place}")) for place in modules]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    # An import alone is no use of a name.
    used = {node.id if isinstance(node, ast.Name) else getattr(node, "attr", "") for node in nodes}
    assert CALLS[command] in used


def test_the_page_names_every_public_name_once():
    named = re.findall(r"^\| `osk\.(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(named) == sorted(osk.__all__)


def test_the_page_names_the_command_of_every_call():
    lines = dict(re.findall(r"^\| `osk\.(\w+)` \| .* \|(.*)\|$", PAGE, re.MULTILINE))
    for command, call in CALLS.items():
        assert f"`{command.split()[-1]}`" in lines[call] or f"`{command}" in lines[call], command


@pytest.mark.parametrize("name", osk.__all__)
def test_every_public_name_is_there(name):
    assert getattr(osk, name) is not None
    assert name in dir(osk)


def test_a_missing_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        osk.trian  # noqa: B018


def test_importing_is_light():
    program = "import sys, outskirts; print('torch' in sys.modules, 'numpy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "False False\n"


def test_the_whole_line(bugs, small, tmp_path):
    data, test, fog = (osk.open(bugs / name) for name in ("train", "test", "fog"))
    run = osk.train("ascood", data, val=test, out=tmp_path / "run", outliers="gaussian", **{**small, "epochs": 1})
    classifier = osk.load(run.path)
    assert isinstance(classifier, osk.Classifier) and isinstance(run, osk.Run)
    train, known, unknown = (osk.extract(classifier, images) for images in (data, test, fog))
    detector = osk.detectors.KNN(k=5).fit(train)
    value = osk.metrics.auroc(detector.score(known), detector.score(unknown))
    results = osk.evaluate(known, {"fog": unknown}, detectors=["msp", detector], train=train)
    assert results.rows[2].auroc == pytest.approx(value)
    rate = osk.metrics.fpr_at_tpr(detector.score(known), detector.score(unknown), tpr=0.95, positive="id")
    assert results.rows[2].fpr95 == pytest.approx(rate)
    outputs = osk.Outputs(torch.zeros(2, 3), torch.zeros(2, 4), labels=None, head=None)
    assert osk.detectors.MSP().score(outputs).shape == (2,)


def test_benchmarks():
    assert osk.load_benchmark("mnist5k").train.startswith("mnist5k")
