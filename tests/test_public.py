"""The names that users and documents rely on."""

import subprocess
import sys

import pytest
import torch

import outskirts as osk


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
