"""Paths on the command line and in Python: home folders, and names that are not in UTF-8."""

from pathlib import Path

import pytest

import outskirts as osk
from outskirts.commands.console import parse
from outskirts.commands.report import Report

UNKNOWN = "~nobody-of-this-name stands for the home folder of a user who is not known."
STRANGE = "out\udcff.html"


def test_home_folders_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    read = parse(Report, "report", ["~/run", "~/other", "--out=~/page.html"])
    assert (read.baseline, read.others, read.out) == (tmp_path / "run", (tmp_path / "other",), tmp_path / "page.html")


def test_a_run_in_a_home_folder_is_trained_and_opened_there(monkeypatch, tmp_path, bugs, small):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = osk.train("ce", bugs / "train", out="~/run", **{**small, "epochs": 1})
    assert run.path == tmp_path / "run" and osk.Run.open("~/run").path == run.path


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "BAD/run"],
        ["report", "RUN", "--out", "BAD/x.html"],
        ["train", "ce", "--data", "nowhere", "--out", "BAD/x"],
        ["train", "--config", "BAD/x.yaml", "--data", "nowhere"],
        ["guard", "RUN", "--calibrate", "nowhere", "--detector", "msp", "--out", "BAD/x"],
        ["predict", "BAD/guard", "nowhere"],
        ["benchmark", "mnist5k", "--out", "BAD/x"],
        ["benchmark", "page", "RUN", "--out", "BAD/x.md"],
    ],
    ids=" ".join,
)
def test_users_who_are_not_known(refused, finished, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    given = [word.replace("BAD", "~nobody-of-this-name").replace("RUN", str(finished)) for word in arguments]
    assert UNKNOWN in refused(*given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "nowhere"],
        ["benchmark", "page", "nowhere"],
        ["benchmark", "mnist5k"],
        ["train", "ce", "--data", "nowhere"],
        ["guard", "nowhere", "--calibrate", "nowhere", "--detector", "msp"],
        ["export", "nowhere"],
        ["extract", "nowhere", "--model", "nowhere"],
    ],
    ids=" ".join,
)
def test_names_of_outputs_that_are_not_in_utf_8(refused, tmp_path, arguments):
    found = refused(*arguments, "--out", tmp_path / STRANGE)
    assert "is not in UTF-8, and what is written there could not be read again; choose another name" in found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda out: osk.train("ce", "nowhere", out=out),
        lambda out: osk.benchmark("mnist5k", out=out),
        lambda out: osk.benchmark_page("nowhere", out),
        lambda out: osk.report(["nowhere"], out),
    ],
)
@pytest.mark.parametrize(("out", "said"), [("~nobody-of-this-name/x", "not known"), (STRANGE, "not in UTF-8")])
def test_in_python(tmp_path, monkeypatch, call, out, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(osk.OutskirtsError, match=said):
        call(Path(out))
    assert list(tmp_path.iterdir()) == []
