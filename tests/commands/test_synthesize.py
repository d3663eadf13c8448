"""``outskirts synthesize``."""

import json

import numpy as np
import pytest
from PIL import Image

import outskirts as osk


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
        (["ce", "--run", "RUN", "--out", "OUT"], "trained with 'ascood', not 'ce'"),
        (["ascood", "--out", "OUT"], "Pass the trained run"),
        (["ascood", "--run", "RUN"], "Pass the trained run"),
        (["ascood", "--run", "RUN", "--out", "RUN"], "not an empty folder"),
        (["ascood", "--run", "nowhere", "--out", "OUT"], "does not exist"),
        (["ascood", "--run", "RUN", "--out", "OUT", "--data", "BUGS/flies"], "classes that the training set lacks"),
        (["ascood", "--run", "RUN", "--out", "OUT", "--data", "BUGS/fog"], "without a label"),
        (["ascood", "--run", "RUN", "--out", "OUT", "--count", "0"], "choose at least 1"),
        (
            ["ascood", "--run", "RUN", "--out", "OUT", "--epoch", "3"],
            "trained for 2 epochs; choose --epoch from 1 to 2",
        ),
    ],
)
def test_bad_input_is_one_sentence(refused, finished, bugs, tmp_path, arguments, sentence):
    names = {"RUN": finished, "OUT": tmp_path / "out"}
    arguments = [str(names.get(argument, argument)).replace("BUGS", str(bugs)) for argument in arguments]
    assert sentence in refused("synthesize", *arguments)
    assert not (tmp_path / "out").exists()


def test_a_method_without_outliers_is_told(refused, bugs, small, tmp_path):
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", **{**small, "epochs": 1})
    found = refused("synthesize", "ce", "--run", run.path, "--out", tmp_path / "out")
    assert "synthesises no outliers" in found
    assert not (tmp_path / "out").exists()
