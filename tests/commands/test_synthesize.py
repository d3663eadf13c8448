"""``outskirts synthesize``."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

import outskirts as osk
from outskirts.generation import synthesize_images
from outskirts.synthesis import Outliers


def test_pictures_a_sheet_and_a_manifest(outskirts, finished, tmp_path):
    out = tmp_path / "out"
    outcome = outskirts("synthesize", "ascood", "--run", finished, "--out", out, "--count", "7")
    assert outcome.code == 0, outcome.err
    assert f"7 outliers in {out}; look at {out / 'outliers.png'}" in outcome.err
    assert sorted(path.name for path in out.iterdir()) == ["images", "manifest.json", "outliers.json", "outliers.png"]
    entries = json.loads((out / "manifest.json").read_text())["outliers"]
    assert len(entries) == len(list((out / "images").iterdir())) == 7
    for entry in entries:
        assert entry["class"] in entry["made_of"]
        source, outlier = (np.asarray(Image.open(path)) for path in (entry["made_of"], out / entry["image"]))
        assert source.shape == outlier.shape and not np.array_equal(source, outlier)
        # A shuffle keeps the pixels of its source.
        assert sorted(map(tuple, source.reshape(-1, 3))) == sorted(map(tuple, outlier.reshape(-1, 3)))


def test_other_images_and_seeds(outskirts, finished, bugs, tmp_path):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        arguments = ["--run", finished, "--data", bugs / "test", "--out", tmp_path / out, "--seed", seed, "--epoch", 1]
        assert outskirts("synthesize", "ascood", *arguments).code == 0
    a, b, c = ((tmp_path / out / "outliers.png").read_bytes() for out in "abc")
    assert a == b != c
    assert len(list((tmp_path / "a" / "images").iterdir())) == 20


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ascod", "--run", "RUN", "--out", "OUT"], "no method 'ascod'; did you mean 'ascood'"),
        (["boundry", "--run", "RUN", "--out", "OUT"], "did you mean 'boundary'"),
        (
            ["--run", "RUN", "boundary", "--out", "OUT"],
            "Say what to make before the options: outskirts synthesize boundary",
        ),
        (["ce", "--run", "RUN", "--out", "OUT"], "trained with 'ascood', not 'ce'"),
        (["ascood", "--run", "RUN", "--out", "RUN"], "not an empty folder"),
        (["ascood", "--run", "nowhere", "--out", "OUT"], "does not exist"),
        (["ascood", "--run", "RUN", "--out", "OUT", "--data", "BUGS/flies"], "classes that the training set lacks"),
        (["ascood", "--run", "RUN", "--out", "OUT", "--data", "BUGS/fog"], "without a label"),
        (["ascood", "--run", "RUN", "--out", "OUT", "--count", "0"], "choose at least 1"),
        (
            ["ascood", "--run", "RUN", "--out", "OUT", "--epoch", "3"],
            "trained for 2 epochs; choose an epoch from 1 to 2",
        ),
    ],
)
def test_bad_input_is_one_sentence(refused, finished, bugs, tmp_path, arguments, sentence):
    names = {"RUN": finished, "OUT": tmp_path / "out"}
    arguments = [str(names.get(argument, argument)).replace("BUGS", str(bugs)) for argument in arguments]
    assert sentence in refused("synthesize", *arguments)
    assert not (tmp_path / "out").exists()


def test_the_method_asked_for_is_that_of_the_run(finished, tmp_path):
    with pytest.raises(osk.OutskirtsError, match=r"trained with 'ascood', not 'ce'; name the method of the run"):
        osk.synthesize_images(finished, tmp_path / "out", method="ce")
    assert len(osk.synthesize_images(finished, tmp_path / "out", method="ascood", count=3)) == 3


def test_a_method_without_outliers_is_told(refused, bugs, small, tmp_path):
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", **{**small, "epochs": 1})
    found = refused("synthesize", "ce", "--run", run.path, "--out", tmp_path / "out")
    assert "makes no outliers" in found
    assert not (tmp_path / "out").exists()


# In feature space


@pytest.fixture
def run(finished, tmp_path):
    """A copy, since the outputs of its images are kept in it."""
    return shutil.copytree(finished, tmp_path / "run")


def test_features_a_picture_and_a_manifest(outskirts, run, tmp_path):
    out = tmp_path / "out"
    outcome = outskirts("synthesize", "boundary", "--run", run, "--out", out, "--count", "9", "--sigma", "0.05")
    assert outcome.code == 0, outcome.err
    assert f"9 outliers in {out}; look at {out / 'outliers.png'}" in outcome.err
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "outliers.png", "outliers.safetensors"]
    with Image.open(out / "outliers.png") as picture:
        assert picture.width >= 700
    made, manifest = Outliers.load(out / "outliers.safetensors"), json.loads((out / "manifest.json").read_text())
    assert torch.bincount(made.labels).tolist() == [5, 4] and manifest["classes"] == {"ant": 5, "bee": 4}
    # Of the 19 images of each class that are not set aside for validation.
    assert manifest["parameters"] == {
        "rows": 1000, "k": 5, "boundary": 3, "picks": 3, "candidates": 600, "keep": 2, "sigma": 0.05,
        "space": "sphere", "selection": "distance", "exclude_self": True,
    }  # fmt: skip
    assert manifest["weights"] == osk.load(run).fingerprint()
    assert manifest["run"] == str(run) and manifest["seed"] == 0 and manifest["images"] == 38
    assert manifest["diagnostics"]["kept_distance"] == pytest.approx(made.info["kept_distance"].item())
    for entry, label in zip(manifest["outliers"], made.labels.tolist()):
        assert entry["class"] == ("ant", "bee")[label] and entry["class"] in entry["made_of"]


def test_each_is_made_of_the_image_named(outskirts, run, bugs, tmp_path):
    out = tmp_path / "out"
    arguments = ["--data", bugs / "test", "--sigma", "0", "--count", "6"]
    assert outskirts("synthesize", "boundary", "--run", run, "--out", out, *arguments).code == 0
    images = osk.open(bugs / "test")
    features = dict(zip(map(images.name, range(20)), osk.extract(osk.load(run), images, features="raw").features))
    made = Outliers.load(out / "outliers.safetensors").values
    for value, entry in zip(made, json.loads((out / "manifest.json").read_text())["outliers"]):
        torch.testing.assert_close(value, normalize(features[entry["made_of"]], dim=0))


def test_the_seed_decides(outskirts, run, tmp_path):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        arguments = ["--run", run, "--out", tmp_path / out, "--seed", seed, "--count", "4"]
        assert outskirts("synthesize", "boundary", *arguments).code == 0
    a, b, c = (Outliers.load(tmp_path / out / "outliers.safetensors").values for out in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)
    a, b = ((tmp_path / out / "outliers.png").read_bytes() for out in "ab")
    assert a == b


def test_gaussian_outliers(outskirts, run, tmp_path):
    out = tmp_path / "out"
    outcome = outskirts("synthesize", "gaussian", "--run", run, "--out", out, "--count", "8", "--draws", "50")
    assert outcome.code == 0, outcome.err
    assert len(Outliers.load(out / "outliers.safetensors")) == 8
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["synthesizer"] == "gaussian" and manifest["parameters"] == {"draws": 50, "keep": 1}
    assert manifest["classes"] == {"ant": 4, "bee": 4}


def test_a_class_with_too_few_features_is_named(outskirts, run, draw, tmp_path):
    draw(tmp_path / "few", ("ant",), count=12)
    draw(tmp_path / "few", ("bee",), count=3)
    arguments = ["--data", tmp_path / "few", "--count", "5", "--k", "4", "--boundary", "5"]
    outcome = outskirts("synthesize", "boundary", "--run", run, "--out", tmp_path / "out", *arguments)
    assert outcome.code == 0 and "No outliers of bee: too few features." in outcome.err
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["classes"] == {"ant": 5, "bee": 0}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--run", "RUN", "--out", "RUN"], "not an empty folder"),
        (["--run", "RUN", "--out", "OUT", "--count", "0"], "count must be at least 1"),
        (["--run", "RUN", "--out", "OUT", "--k", "19"], "k = 19 with boundary = 3 needs 20; choose a k of at most 18"),
        (["--run", "RUN", "--out", "OUT", "--picks", "4"], "choose picks of at most 3"),
        *(
            (["--run", "RUN", "--out", "OUT", f"--{name}", "0"], f"{name} must be at least 1, not 0")
            for name in ("k", "boundary", "picks", "candidates", "keep")
        ),
        (["--run", "RUN", "--out", "OUT", "--data", "BUGS/fog"], "without a label"),
        (["--run", "RUN", "--out", "OUT", "--data", "BUGS/flies"], "classes that the training set lacks"),
        (["--run", "RUN", "--out", "OUT", "--device", "gpu"], "no device 'gpu'"),
    ],
)
def test_bad_input_for_features_is_one_sentence(refused, run, bugs, tmp_path, arguments, sentence):
    names = {"RUN": run, "OUT": tmp_path / "out"}
    arguments = [str(names.get(argument, argument)).replace("BUGS", str(bugs)) for argument in arguments]
    assert sentence in refused("synthesize", "boundary", *arguments)
    assert not (tmp_path / "out").exists()


def test_outliers_of_pixels_train_another_run(finished, bugs, small, outskirts, tmp_path):
    """What ASCOOD makes is images on disk, and NCIS trains with any."""
    assert outskirts("synthesize", "ascood", "--run", finished, "--count", "12", "--out", tmp_path / "made").code == 0
    run = osk.train(
        "ncis", bugs / "train", outlier_images=str(tmp_path / "made" / "images"), out=tmp_path / "run", **small
    )
    assert all(record["outlier_accuracy"] > 0 for record in run.records() if record["kind"] == "train")


def test_a_killed_one_goes_on_with_the_same_options(finished, outskirts, tmp_path, monkeypatch):
    arguments = ["synthesize", "ascood", "--run", finished, "--count", "5", "--out"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert outskirts(*arguments, whole).code == 0
    save, written = synthesize_images.save_png, []

    def killed(path, picture):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        save(path, picture)

    monkeypatch.setattr(synthesize_images, "save_png", killed)
    assert outskirts(*arguments, cut).code == 130
    monkeypatch.undo()
    assert len(list((cut / "images").iterdir())) == 3
    assert "was begun with the seed 0, not 1" in outskirts(*arguments, cut, "--seed", "1").err
    assert outskirts(*arguments, cut).code == 0
    files = [{path.relative_to(out): path.read_bytes() for path in out.rglob("*.*")} for out in (whole, cut)]
    assert files[0] == files[1]
    assert "is not an empty folder" in outskirts(*arguments, cut).err
