"""Trainings on 300 images of one class and 15 of another, which differ by chance alone in their brightness."""

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.imageset import ImageSet
from outskirts.evaluation.class_accuracy import balanced_accuracy
from outskirts.figures.diagnostics import warned as warned_of
from outskirts.methods import registry
from outskirts.training.config import TrainConfig

OPTIONS = {"epochs": 16, "batch_size": 32, "lr": 0.1, "precision": "fp32", "device": "cpu", "augment": "none"}
BALANCED = {"weights": {"class_weights": "balanced"}, "sampler": {"sampler": "balanced"}}


def drawn(dark, bright, seed):
    """Images of one brightness each; that of the two classes is one and a half standard deviations apart."""
    random = np.random.default_rng(seed)
    labels = torch.tensor([0] * dark + [1] * bright)
    shades = random.normal(110 + 36 * labels.numpy(), 24).clip(0, 255).astype(np.uint8)
    pictures = [np.full((4, 4, 3), shade, np.uint8) for shade in shades]
    # No two images may be the same.
    for i, picture in enumerate(pictures):
        picture[0, 0] = (i % 256, i // 256, seed)
    return ImageSet(pictures, labels, ["dark", "bright"])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


@pytest.fixture(scope="module")
def images():
    return drawn(300, 15, 0)


@pytest.fixture(scope="module")
def others():
    return drawn(300, 300, 1)


@pytest.fixture(scope="module")
def trained(images, others, tmp_path_factory):
    """A run for each way to train, and for each what a progress bar would have been told."""
    runs, told = {}, {}
    for name, options in {"plain": {}, **BALANCED}.items():
        told[name] = []
        runs[name] = osk.train(
            "ce",
            images,
            others,
            out=tmp_path_factory.mktemp("imbalance") / name,
            model=network(),
            progress=lambda step, steps, latest, told=told[name]: told.append((step, latest.get("warning", ""))),
            **OPTIONS,
            **options,
        )
    return runs, told


@pytest.fixture(scope="module")
def recalls(trained, others):
    """The accuracy of each class, by a loop over the images, by the way to train."""
    found = {}
    for name, run in trained[0].items():
        predicted = osk.extract(osk.load(run, model=network()), others).logits.argmax(1)
        found[name] = [
            np.mean([p == c for p, label in zip(predicted.tolist(), others.labels.tolist()) if label == c])
            for c in range(2)
        ]
        assert balanced_accuracy(others.labels, predicted == others.labels)[0] == pytest.approx(np.mean(found[name]))
    return found


@pytest.mark.parametrize("name", BALANCED)
def test_all_classes_are_learned(recalls, name):
    assert recalls["plain"][1] < 0.2 and np.mean(recalls["plain"]) < 0.6
    # The best that can be is 77 %.
    assert np.mean(recalls[name]) > 0.72 and min(recalls[name]) > 0.6


def test_a_class_that_is_never_predicted_is_warned_of(trained, recalls):
    runs, told = trained
    assert recalls["plain"][1] == 0
    warned = {record["epoch"]: record.get("warning") for record in runs["plain"].records() if record["kind"] == "val"}
    sentence = (
        "The network never predicts 1 class on the validation images: 'bright' (15 training images; the largest has "
        "300). Let all classes count the same (--class-weights balanced)."
    )
    # In the first half of a training, it is too early to say.
    assert {epoch for epoch, text in warned.items() if text} == set(map(float, range(8, 17)))
    assert set(filter(None, warned.values())) == {sentence}
    # It stays until the next validation, so that it is printed once.
    assert [text for step, text in told["plain"] if step >= 72] == [sentence] * len(range(72, 145))
    for name in BALANCED:
        assert not any(text for _, text in told[name])
    assert [one.text for one in warned_of(list(runs["plain"].records()))] == [sentence]


def test_a_warning_of_the_steps_and_one_of_the_validations_are_both_shown():
    records = [
        {"kind": "train", "epoch": 1.0, "warning": "Prototypes have collapsed."},
        {"kind": "val", "epoch": 1.0, "warning": "Never predicted."},
        {"kind": "train", "epoch": 2.0},
        {"kind": "val", "epoch": 2.0, "warning": "Never predicted."},
    ]
    assert [(one.text, one.first, one.last, one.past) for one in warned_of(records)] == [
        ("Prototypes have collapsed.", 1.0, 1.0, True),
        ("Never predicted.", 1.0, 2.0, False),
    ]


def test_two_ways_at_once_are_refused():
    with pytest.raises(OutskirtsError, match="choose one of them"):
        TrainConfig(class_weights="balanced", sampler="balanced")
    with pytest.raises(OutskirtsError, match="leave out --mixing legacy"):
        TrainConfig(mixing="legacy", sampler="balanced")
    with pytest.raises(OutskirtsError, match="class_weights must be one of balanced, None"):
        TrainConfig(class_weights="balance")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"class_weights": "balanced"}, "does not weigh images; leave out --class-weights"),
        ({"synthetic": "pool", "real_weight": 0.5}, "does not weigh images; leave out --real-weight"),
    ],
)
def test_a_method_that_weighs_no_images_says_so(options, sentence, bugs, draw, small, tmp_path, monkeypatch):
    monkeypatch.setattr(registry["ce"], "weighs_images", False)
    options = {
        key: str(draw(tmp_path / value, seed=9)) if key == "synthetic" else value for key, value in options.items()
    }
    with pytest.raises(OutskirtsError, match=sentence):
        osk.train("ce", bugs / "train", out=tmp_path / "run", **small, **options)
    assert not (tmp_path / "run").exists()


def test_on_the_command_line(outskirts, bugs, small, tmp_path):
    options = [part for key, value in {**small, "epochs": 1}.items() for part in (f"--{key.replace('_', '-')}", value)]
    for name, flags in {"weights": ["--class-weights", "balanced"], "sampler": ["--sampler", "balanced"]}.items():
        done = outskirts("train", "cider", "--data", bugs / "train", *options, *flags, "--out", tmp_path / name)
        assert done.code == 0, done.err
        config = yaml.safe_load((tmp_path / name / "config.yaml").read_text())
        wanted = {"class_weights": None, "sampler": "shuffled", **BALANCED[name]}
        assert {key: config[key] for key in wanted} == wanted
