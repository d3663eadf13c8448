import pytest
import torch

import outskirts as osk
from outskirts import Outputs, OutskirtsError
from outskirts.detectors import Ensemble
from outskirts.evaluation.evaluate import lacking


def test_is_the_mean_of_the_probabilities(finished, bugs, small, tmp_path):
    other = osk.train("ce", bugs / "train", out=tmp_path / "other", **{**small, "seed": 1})
    one, two = osk.load(finished), osk.load(other.path)
    images = osk.open(bugs / "test")
    detector = Ensemble([str(other.path)])
    outputs = osk.extract(one, images, probes=detector.probes)
    p = (outputs.logits.softmax(1) + osk.extract(two, images).logits.softmax(1)) / 2
    torch.testing.assert_close(detector.score(outputs), -p.amax(1).log().double(), atol=1e-5, rtol=1e-5)
    assert lacking(detector, outputs) is None


def test_runs_that_do_not_go_together(finished, bugs, small, tmp_path):
    other = osk.train("ce", bugs / "train", out=tmp_path / "other", **{**small, "epochs": 0, "size": 20})
    with pytest.raises(OutskirtsError, match="another transform"):
        osk.extract(osk.load(finished), osk.open(bugs / "test"), probes=Ensemble([str(other.path)]).probes)


def test_without_other_runs_it_says_so():
    reason = lacking(Ensemble(), Outputs(torch.zeros(1, 2), torch.zeros(1, 2)))
    assert reason == "needs other runs: ensemble:runs=[RUN,RUN]"
