"""From a folder with train, val and test to a report; what was found and what was passed over is said on the way."""

import json
import shlex
import shutil

import pytest
import yaml

import outskirts as osk
from outskirts.data.sources import reopen
from outskirts.training.validation import training_sets

FLAGS = ["--epochs=1", "--batch-size=8", "--precision=fp32", "--device=cpu", "--augment=crop:1"]
LEFT_OUT = "1 file was passed over: 1 of no format that is read (.txt)."


@pytest.fixture
def parts(draw, tmp_path):
    """A folder with the parts train, val and test, and a text beside the images of each."""
    for seed, name in enumerate(("train", "val", "test")):
        draw(tmp_path / "set" / name, count=8, seed=seed)
        (tmp_path / "set" / name / "ant" / "notes.txt").touch()
    return tmp_path / "set"


def test_one_folder_is_enough(parts, draw, outskirts, tmp_path):
    run = tmp_path / "run"
    told = outskirts("train", "ce", "--data", parts, "--out", run, *FLAGS)
    assert told.code == 0
    assert f"Validation images: folder:{parts}?split=val, beside the training images." in told.err
    assert told.err.count(LEFT_OUT) == 2 and "these are the images of 'train'" in told.err
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["data"], config["val"]) == (f"folder:{parts}?split=train", f"folder:{parts}?split=val")
    assert [len(images) for images in training_sets(osk.Run.open(run))] == [16, 16]
    draw(tmp_path / "fog", (), count=6, seed=9)
    (tmp_path / "fog" / ".DS_Store").touch()
    # What is said to come next works as it stands, but for the name of an OOD set.
    (said,) = (line.removeprefix("Next: ") for line in told.err.splitlines() if line.startswith("Next: "))
    assert said in outskirts("report", run).err
    words = [f"fog={tmp_path / 'fog'}" if word == "NAME=SPEC" else word for word in shlex.split(said)]
    assert words[:4] == ["outskirts", "evaluate", str(run), "--far"]
    told = outskirts(*words[1:], "--detectors", "msp", "--device", "cpu")
    assert told.code == 0 and f"Test images: folder:{parts}?split=test, beside the training images." in told.err
    for name, note in (("id", LEFT_OUT), ("fog", "1 file was passed over: 1 hidden.")):
        assert told.err.count(f"{name}: {note}") == 1
        assert f"{name}: {note}" in json.loads((run / "notes.json").read_text())
        assert note in (run / "report.html").read_text()
    assert f"folder:{parts}?split=test" in json.loads((run / "evaluation.json").read_text())["options"]


def test_the_parts_of_other_options_are_the_right_ones(parts, outskirts, tmp_path):
    run = tmp_path / "run"
    assert outskirts("train", "ce", "--data", parts, "--val", parts, "--out", run, *FLAGS).code == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["val"] == f"folder:{parts}?split=val"
    fog = shutil.copytree(parts / "val", tmp_path / "fog")
    told = outskirts("evaluate", run, "--test", parts, "--far", f"fog={fog}?jpeg=5", "--detectors", "msp")
    assert told.code == 0 and "id: Of the parts of the set, these are the images of 'test'" in told.err


def test_a_benchmark_finds_the_parts(parts, tmp_path):
    file = tmp_path / "b.yaml"
    file.write_text("train: set\nval: set\ntest: set\nood:\n  far:\n    fog: set\nclasses: [bee, ant]\n")
    benchmark = osk.load_benchmark(file)
    specs = [benchmark.train, benchmark.val, benchmark.test]
    assert specs == [f"folder:{parts}?split={split}&classes=bee,ant" for split in ("train", "val", "test")]
    assert reopen(benchmark.test).classes == ["bee", "ant"]
    file.write_text("train: set\ntest: set\nood:\n  far:\n    fog: set\nclasses: ['salt & pepper', 'a, b', 0-1]\n")
    assert osk.load_benchmark(file).train.endswith("&classes=salt %26 pepper,a%2C b,0-1")


def test_a_run_of_an_earlier_version_over_numbered_classes(draw, tmp_path, outskirts, small):
    """It knows its classes in alphabetical order, and a text without an order."""
    for name in ("train", "test"):
        draw(tmp_path / name, ("ant", "bee", "fly"), count=8, seed=len(name))
        for old, new in (("ant", "1"), ("bee", "2"), ("fly", "10")):
            (tmp_path / name / old).rename(tmp_path / name / new)
    before = reopen(f"folder:{tmp_path / 'train'}")
    small |= {"epochs": 12}
    run = osk.train("ce", before, out=tmp_path / "run", **small)
    assert run.recipe().training.data == f"folder:{tmp_path / 'train'}"
    draw(tmp_path / "fog", (), count=6, seed=9)
    told = outskirts(
        "evaluate", run.path, "--test", tmp_path / "test", "--far", f"fog={tmp_path / 'fog'}", "--detectors", "msp"
    )
    assert told.code == 0 and osk.Results.load(run.path).rows[0].id_accuracy > 0.6
    now = osk.train("ce", tmp_path / "train", out=tmp_path / "now", **small | {"epochs": 1})
    assert now.recipe().training.data == f"folder:{tmp_path / 'train'}?order=numeric"
    assert training_sets(now)[0].classes == ["1", "2", "10"] and training_sets(run)[0].classes == ["1", "10", "2"]
