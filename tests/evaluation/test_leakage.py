"""All pairs of sets that must not share images: what is refused, and what is a note."""

from pathlib import Path
from typing import NamedTuple

import pytest

import outskirts as osk
from outskirts import OutskirtsError, Run
from outskirts.files import load_json

#: Nothing is trained, as this changes no set.
OPTIONS = {"epochs": 0, "batch_size": 8, "precision": "fp32", "device": "cpu"}


class Sets(NamedTuple):
    """Folders of distinct images."""

    train: Path
    val: Path
    test: Path
    synthetic: Path
    fog: Path
    smoke: Path


@pytest.fixture(scope="module")
def sets(draw, tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    labelled = [draw(root / name, seed=seed) for seed, name in enumerate(("train", "val", "test", "synthetic"))]
    return Sets(*labelled, *(draw(root / name, (), count=12, seed=9 + i) for i, name in enumerate(("fog", "smoke"))))


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    """Trains on the sets, or on others, into a new folder."""

    def trained(method="ce", said=lambda sentence: None, **changes):
        images = {"data": sets.train, "val": sets.val} | {k: changes.pop(k) for k in ("data", "val") if k in changes}
        out = tmp_path_factory.mktemp("runs") / "run"
        texts = {name: str(value) for name, value in changes.items()}
        return osk.train(method, **images, out=out, say=said, **texts, **OPTIONS)

    return trained


@pytest.fixture(scope="module")
def exposed(trained, sets):
    """A run that was trained with smoke as outliers."""
    return trained("oe", outliers="images", outlier_images=sets.smoke)


@pytest.fixture(scope="module")
def runs(trained, exposed, sets):
    """Runs by what else they have seen besides training and validation images."""
    return {
        "plain": trained(),
        "synthetic": trained(synthetic=sets.synthetic),
        "outliers": exposed,
        "begun": trained(data=sets.synthetic, init=exposed.path),
        "begun twice": trained(data=sets.synthetic, init=trained(data=sets.synthetic, init=exposed.path).path),
    }


TRAININGS = {
    "validation images are training images": ({"val": "train"}, "40 of the 40 validation images .* are also training"),
    "synthetic images are validation images": (
        {"synthetic": "val"},
        "40 of the 40 synthetic images .* are also among the validation images .*; pass others",
    ),
    "outliers are training images": ({"outlier_images": "train"}, "40 of the 40 outlier .* among the training images"),
    "outliers are validation images": ({"outlier_images": "val"}, "40 of the 40 outlier .* among the validation"),
    "outliers are synthetic images": (
        {"outlier_images": "synthetic", "synthetic": "synthetic"},
        "40 of the 40 outlier images .* are also among the synthetic images",
    ),
}


@pytest.mark.parametrize("pair", TRAININGS)
def test_a_training_refuses_sets_that_share_images(trained, sets, pair):
    changes, sentence = TRAININGS[pair]
    options = {name: getattr(sets, value) for name, value in changes.items()}
    method = {"method": "oe", "outliers": "images"} if "outlier_images" in changes else {}
    with pytest.raises(OutskirtsError, match=sentence):
        trained(**method, **options)


def test_a_few_shared_images_do_not_stop_a_training(trained, sets, draw, tmp_path):
    many = draw(tmp_path / "many", count=100, seed=5)
    (many / "ant" / "0.png").write_bytes((sets.val / "ant" / "0.png").read_bytes())
    with pytest.raises(OutskirtsError, match=r"1 of the 200 synthetic images .* is also among the validation images"):
        trained(synthetic=many)
    (many / "ant" / "0.png").write_bytes((sets.train / "ant" / "0.png").read_bytes())
    run = trained(val=draw(tmp_path / "val", count=60, seed=6), synthetic=many)
    assert run.seen_before is not None


def test_validation_images_of_the_run_that_a_training_begins_from_are_said(trained, runs, sets):
    said = []
    trained(data=sets.synthetic, val=sets.train, init=runs["plain"].path, said=said.append)
    assert any(f"40 of the 40 validation images are also images that {runs['plain'].path} was" in line for line in said)


def test_a_run_whose_images_are_gone_is_not_compared(trained, draw, tmp_path):
    data = draw(tmp_path / "gone")
    earlier = trained(data=data)
    data.rename(tmp_path / "elsewhere")
    said = []
    trained(init=earlier.path, said=said.append)
    assert any(line.startswith("Nobody can tell whether images of this run were seen in the training") for line in said)


REFUSED = {
    "test is train": ("plain", {"test": "train"}, r"of 'id' .* are also among the training images"),
    "OOD is train": ("plain", {"ood": "train"}, r"of 'it' .* are also among the training images"),
    "OOD is test": ("plain", {"ood": "test"}, r"of 'it' .* are also among the ID test images"),
    "test is synthetic": ("synthetic", {"test": "synthetic"}, "has learnt from 40 of the 40 'id' images"),
    "OOD is synthetic": ("synthetic", {"ood": "synthetic"}, "has learnt from 40 of the 40 'it' images"),
    "OOD is outliers": ("outliers", {"ood": "smoke"}, "trained with 12 of the 12 'it' images as outliers"),
    "test was trained on before": ("begun", {"test": "train"}, "has learnt from 40 of the 40 'id' images"),
    "OOD was trained on before": ("begun", {"ood": "train"}, "has learnt from 40 of the 40 'it' images"),
    "OOD were outliers before": ("begun", {"ood": "smoke"}, "trained with 12 of the 12 'it' images as outliers"),
    "test was trained on long before": ("begun twice", {"test": "train"}, "has learnt from 40 of the 40 'id' images"),
    "OOD were outliers long before": ("begun twice", {"ood": "smoke"}, "with 12 of the 12 'it' images as outliers"),
    "chosen on test": ("plain", {"tune": "test"}, r"images to choose parameters on .* also in the set 'id'"),
    "chosen on OOD": ("plain", {"tune": "fog"}, r"images to choose parameters on .* also in the set 'it'"),
    "chosen on train": ("plain", {"tune": "train"}, r"images to choose parameters on .* also in the set 'train'"),
    "chosen on val": ("plain", {"tune": "val"}, "40 of the images .* are also validation images, from which they must"),
    "chosen on synthetic": ("synthetic", {"tune": "synthetic"}, "40 of the images .* were learnt as synthetic images"),
    "chosen on what was trained on before": ("begun", {"tune": "train"}, "40 of the images .* were learnt as synth"),
    "own choice where test is val": ("plain", {"test": "val", "tune": "own"}, "of 'id' are also validation images"),
    "own choice where OOD is val": ("plain", {"ood": "val", "tune": "own"}, "of 'it' are also validation images"),
}


def measured(run, sets, test="test", ood="fog", tune=None):
    """Notes of an evaluation, but for those on the network and on the number of images."""
    tune = tune if tune in (None, "own") else getattr(sets, tune)
    osk.evaluate_run(run, getattr(sets, test), {"far": {"it": getattr(sets, ood)}}, ["msp"], device="cpu", tune=tune)
    others = ("never predicts", "too few to rely on")
    notes = load_json(Run(Path(run)).path / "notes.json")
    return [note for note in notes if not any(other in note for other in others)]


@pytest.mark.parametrize("pair", REFUSED)
def test_an_evaluation_refuses_sets_that_share_images(runs, sets, pair):
    run, changes, sentence = REFUSED[pair]
    with pytest.raises(OutskirtsError, match=sentence):
        measured(runs[run], sets, **changes)


def test_an_evaluation_says_what_else_is_shared(runs, sets):
    assert measured(runs["plain"], sets) == []
    on_val = "40 of the 40 images of {} are also among the validation images, on which detectors are calibrated."
    assert measured(runs["plain"], sets, test="val") == [on_val.format("id")]
    assert measured(runs["plain"], sets, ood="val") == [on_val.format("it")]
    assert measured(runs["outliers"], sets, tune="smoke") == [
        "12 of the 12 images to choose parameters on were shown to the network as outliers, so that it detects them "
        "better than others."
    ]


def test_validation_images_that_were_trained_on_before_are_a_note(trained, runs, sets):
    run = trained(data=sets.synthetic, val=sets.train, init=runs["plain"].path)
    assert measured(run, sets) == [
        "40 of the 40 validation images were learnt as synthetic images, or in the run that the network began from. "
        "What is fitted or chosen on validation images is too sure of itself."
    ]


def test_few_images_that_were_seen_are_a_note(exposed, sets, draw, tmp_path):
    many = draw(tmp_path / "many", (), count=150, seed=7)
    (many / "0.png").write_bytes((sets.smoke / "0.png").read_bytes())
    notes = measured(exposed, sets._replace(fog=many))
    assert notes == ["1 of the 150 images of it was shown to the network as outliers."]


def test_a_classifier_from_elsewhere_is_refused_likewise(runs, sets, tmp_path):
    classifier, ood = osk.load(runs["plain"].path), {"far": {"it": sets.fog}}
    with pytest.raises(OutskirtsError, match=r"of 'id' .* are also among the training images"):
        osk.evaluate_model(classifier, sets.train, sets.train, ood, ["msp"], val=sets.val, out=tmp_path / "a")
    osk.evaluate_model(classifier, sets.train, sets.test, ood, ["msp"], val=sets.train, out=tmp_path / "b")
    notes = load_json(tmp_path / "b" / "notes.json")
    assert "40 of the 40 validation images are also training images." in notes[0]
