"""What a classifier makes of synthetic images."""

import numpy as np
import pytest
import torch

import outskirts as osk
from outskirts.data.imageset import ImageSet
from outskirts.errors import OutskirtsError
from outskirts.generation.fidelity import frechet
from outskirts.generation.screening import Judge, Rules
from outskirts.training.loading import load


@pytest.fixture(scope="module")
def train(bugs):
    return osk.open(f"folder:{bugs / 'train'}")


@pytest.fixture(scope="module")
def judge(bugs, train, tmp_path_factory):
    small = {"epochs": 4, "batch_size": 8, "lr": 0.1, "precision": "fp32", "device": "cpu", "augment": "none"}
    run = osk.train("ce", bugs / "train", out=tmp_path_factory.mktemp("judge") / "run", **small)
    return Judge(load(run.path), train)


@pytest.fixture(scope="module")
def test(bugs):
    return osk.open(f"folder:{bugs / 'test'}")


def mislabelled(images):
    return ImageSet([images.image(i).movedim(0, 2).numpy() for i in range(len(images))], 1 - images.labels, ["a", "b"])


def test_nothing_is_asked_unless_given(judge, test):
    assert not Rules().any and judge.keep(test, Rules()) == {}


def test_agreement_is_that_of_class_and_label(judge, test):
    assert judge.keep(test, Rules(agreement=True))["agreement"].all(), "ants and bees differ in colour"
    assert not judge.keep(mislabelled(test), Rules(agreement=True))["agreement"].any()
    assert judge.quality(test)["agreement"] == 1 and judge.quality(mislabelled(test))["agreement"] == 0


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_confidence_is_measured_by_the_training_images(judge, train, quantile):
    kept = judge.keep(train, Rules(confidence=quantile))["confidence"]
    assert kept.float().mean() == pytest.approx(1 - quantile, abs=0.051)


def test_copies_are_found(judge, train):
    copies = train.subset(torch.arange(0, len(train), 2))
    assert not judge.keep(copies, Rules(distinct=0.9999))["distinct"].any()
    assert judge.keep(copies, Rules(distinct=1.0))["distinct"].float().mean() > 0.2, "rounding aside, 1 keeps all"
    quality = judge.quality(copies)
    assert quality["copies_training"] < 1, "an image is no copy of itself"
    assert quality["copies"] == 1 and quality["nearest"] == pytest.approx([1, 1, 1], abs=1e-5)


def test_rules_are_judged_apart(judge, test):
    passed = judge.keep(test, Rules(agreement=True, confidence=0.3, distinct=0.99))
    assert set(passed) == {"agreement", "confidence", "distinct"}
    assert all(rows.shape == (len(test),) and rows.dtype == torch.bool for rows in passed.values())


def test_quality_tells_noise_from_images_of_the_classes(judge, test):
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    poor = judge.quality(ImageSet(noise, test.labels, test.classes))
    good = judge.quality(test)
    assert good["frechet"] < 0.5 * poor["frechet"] and good["kernel"] < poor["kernel"]
    assert set(good["per_class"]) == {"ant", "bee"} and good["images"] == 20
    assert good["nearest"] == sorted(good["nearest"]) and good["nearest"][1] > poor["nearest"][1]


def test_distances_are_those_of_the_features_named(judge, test):
    from outskirts.extraction.extract import extract

    made = extract(judge.classifier, test, features="raw").features
    order = torch.randperm(len(judge.train), generator=torch.Generator().manual_seed(0))
    real = judge.train.features[order][: len(test)]
    assert judge.quality(test)["frechet"] == pytest.approx(frechet(real, made), rel=1e-6)


@pytest.mark.parametrize("rule", [{"confidence": 1.5}, {"distinct": -0.1}])
def test_rules_out_of_range(rule):
    with pytest.raises(OutskirtsError, match="from 0 to 1"):
        Rules(**rule)
