"""Classifiers that were trained elsewhere are measured without any training."""

import csv
import json
from pathlib import Path

import pytest
import torch
import torchvision

import outskirts as osk
from outskirts.errors import OutskirtsError

DETECTORS = ["msp", "knn:k=3", "react", "odin"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a network of two classes."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "my weights.pt"
    torch.save({"model": torchvision.models.resnet18(num_classes=2).state_dict()}, file)
    return file


@pytest.fixture
def model(weights):
    return f"torchvision:resnet18?weights={weights}&size=32&crop=1"


@pytest.fixture
def sets(bugs):
    return {"train": bugs / "train", "test": bugs / "test", "ood": {"far": {"fog": bugs / "fog"}}}


def rows(folder):
    with (Path(folder) / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_it_is_measured_like_a_run(model, sets, bugs, tmp_path):
    results = osk.evaluate_model(model, **sets, detectors=DETECTORS, out=tmp_path / "out")
    assert {row.detector for row in results.rows} == {"msp", "knn", "react", "odin"}
    assert {row.method for row in results.rows} == {"torchvision:resnet18"}
    classifier = osk.load(model, classes=["ant", "bee"])
    test, fog = (osk.extract(classifier, one) for one in (bugs / "test", bugs / "fog"))
    expected = osk.evaluate(test, {"fog": fog}, ["msp"]).rows[0]
    measured = next(row for row in results.rows if row.detector == "msp")
    assert (measured.auroc, measured.id_accuracy) == (expected.auroc, expected.id_accuracy)
    assert (tmp_path / "out" / "gallery" / "misses.json").is_file()
    page = osk.report(tmp_path / "out").read_text()
    assert "outskirts evaluate --model" in page and "--train" in page and "--test" in page
    assert "<dd>shorter side resized to 32 pixels (bilinear), then the centre of 32×32</dd>" in page
    assert "<dd>0.485, 0.456, 0.406, of 0 to 1</dd>" in page


def test_its_folder_is_measured_again_like_a_run(model, sets, tmp_path):
    first = osk.evaluate_model(model, **sets, detectors=DETECTORS, out=tmp_path / "out")
    said = []
    again = osk.evaluate_run(tmp_path / "out", sets["test"], sets["ood"], DETECTORS, say=said.append)
    assert [row.auroc for row in again.rows] == [row.auroc for row in first.rows]
    assert all("taken from the store" in one for one in said if one.startswith(("id:", "fog:", "train:")))
    assert osk.load(tmp_path / "out").classes == ["ant", "bee"]
    run = osk.Run.open(tmp_path / "out")
    assert "trained elsewhere" in repr(run)
    with pytest.raises(OutskirtsError, match=r"was trained elsewhere, so .* has no training"):
        run.recipe()
    with pytest.raises(OutskirtsError, match="holds another classifier, or other images of it"):
        osk.evaluate_model(f"{model}&fit=pad", **sets, detectors=["msp"], out=tmp_path / "out")


def test_a_run_is_not_measured_on_images_that_it_knows_nothing_of(finished, sets, tmp_path):
    with pytest.raises(OutskirtsError, match="is a run, which knows its own images"):
        osk.evaluate_model(f"run:{finished}", **sets, out=tmp_path / "out")


def test_a_classifier_that_is_open_is_measured(model, sets, tmp_path):
    classifier = osk.load(model, classes=["ant", "bee"])
    results = osk.evaluate_model(classifier, **sets, detectors=["energy"], out=tmp_path / "out")
    assert results.rows[0].method == "torchvision:resnet18"


def test_its_parameters_are_chosen_on_validation_images(model, sets, tmp_path):
    results = osk.evaluate_model(model, **sets, detectors=["ash"], tune="own", val_fraction=0.5, out=tmp_path / "out")
    assert results.tuning


def test_features_without_logits_are_measured_by_what_they_are(weights, sets, tmp_path):
    model = f"torchvision:resnet18?weights={weights}&size=32&head=none"
    results = osk.evaluate_model(model, **sets, detectors=["knn:k=3", "msp", "odin"], out=tmp_path / "out")
    assert {row.detector for row in results.rows} == {"knn"}
    assert all(row.id_accuracy is None for row in results.rows)
    assert results.skipped == {
        "msp": "needs logits, which these outputs lack",
        "odin": "cannot be computed: This network has no head, so it gives no logits",
    }
    osk.report(tmp_path / "out")


def test_nothing_is_written_where_it_cannot_be_measured(model, sets, bugs, tmp_path):
    with pytest.raises(OutskirtsError, match="also among the training images"):
        osk.evaluate_model(model, **{**sets, "test": bugs / "train"}, out=tmp_path / "out")
    with pytest.raises(OutskirtsError, match=r"gives 2 logits, and the training images are of 1 classes|has one class"):
        osk.evaluate_model(model, bugs / "flies", bugs / "test", sets["ood"], out=tmp_path / "out")
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_the_command_does_the_same(outskirts, model, sets, bugs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = outskirts(
        *("evaluate", "--model", model, "--train", bugs / "train", "--test", bugs / "test"),
        *("--far", f"fog={bugs / 'fog'}", "--detectors", "msp", "knn:k=3", "--mean", ".1,.2,.3"),
    )
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "runs" / "torchvision-resnet18"
    assert {row["detector"] for row in rows(folder)} == {"msp", "knn"}
    assert osk.load(folder).transform.mean == (0.1, 0.2, 0.3)
    assert json.loads((folder / "evaluation.json").read_text())["options"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Pass the folder of a run, or a classifier that was trained elsewhere (--model)"),
        (["--model", "timm:x"], "Pass images of the classes that the classifier was trained on (--train SPEC)"),
        (["RUN", "--model", "timm:x"], "Pass either the folder of a run or a classifier"),
        (["RUN", "--mean", ".5"], "--mean is for a classifier that was trained elsewhere (--model)"),
        (["--model", "timm:resnet18?mean=.5", "--train", "x", "--mean", ".5"], "The option mean is given twice"),
        (["--model", "timm:resnet-18", "--train", "TRAIN"], "did you mean 'resnet18'"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(arguments, told, outskirts, finished, bugs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": finished, "TRAIN": bugs / "train"}
    outcome = outskirts(
        "evaluate", *(places.get(one, one) for one in arguments), "--test", bugs / "test", "--far", f"a={bugs / 'fog'}"
    )
    assert outcome.code == 2 and told in outcome.err, outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
