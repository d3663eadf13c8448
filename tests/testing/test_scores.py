"""Scores that a device gives otherwise than the host are told."""

import pytest
import torch

import outskirts as osk
from outskirts.detectors import registry
from outskirts.testing import scores as checks
from outskirts.testing.scores import check_scores, every_detector, rank_difference

CPU = torch.device("cpu")
FEW = "two correctly classified training images of every class"


def test_scores_of_the_host_are_its_own(finished, draw, tmp_path):
    # So many that what half precision flips, which differs from processor to processor, is a small share.
    sets = osk.open(draw(tmp_path / "test", count=60, seed=1)), osk.open(draw(tmp_path / "fog", (), count=60, seed=2))
    found = check_scores(osk.load(finished), CPU, *sets, ("fp32", "bf16"), every_detector(finished))
    assert found["fp32 logits"] == found["fp32 auroc"] == found["fp32 scores"] == 0 < found["bf16 logits"]
    # Each detector was compared, or it is said why not.
    reasons = found["left out"]
    assert found["detectors"] + len(reasons) == len(registry.names())
    # Whether so small a network is right about each class, as OpenMax needs, depends on the processor's rounding.
    assert FEW in reasons.pop("openmax", FEW)
    assert reasons.keys() == {"godin", "mcm", "ood_head", "rotation"}
    assert reasons["godin"] == "needs numerators, which this classifier does not give"


def test_the_host_computes_once(finished, bugs, monkeypatch):
    computed = []
    scored = checks._scored
    monkeypatch.setattr(checks, "_scored", lambda *given: computed.append((given[2].type, given[3])) or scored(*given))
    monkeypatch.setattr(checks, "_compared", lambda *given: {})
    check_scores(
        osk.load(finished), CPU, osk.open(bugs / "test"), osk.open(bugs / "fog"), ("fp32", "bf16", "fp32"), ["msp"]
    )
    assert computed == [("cpu", "fp32"), ("cpu", "fp32"), ("cpu", "bf16"), ("cpu", "fp32")]


LOGITS, SCORES = torch.eye(2), (torch.arange(8.0), torch.arange(3.0, 11.0))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"logits": 2 * LOGITS}, r"logits in fp32 on cpu differ by 1\.7"),
        ({"scores": {"msp": (SCORES[0], SCORES[1] + 9)}}, "the auroc of msp in fp32 on cpu differs by"),
        ({"scores": {"msp": (SCORES[0].flip(0), SCORES[1])}}, "the scores of msp in fp32 on cpu differs by"),
        ({"scores": {"knn": SCORES}}, "other detectors can be computed in fp32 on cpu: knn, msp"),
    ],
)
def test_other_scores_are_refused(wrong, sentence, finished, bugs, monkeypatch):
    right = checks._Scored(LOGITS, {"msp": SCORES}, {})
    answers = iter([right, right._replace(**wrong)])
    monkeypatch.setattr(checks, "_scored", lambda *given: next(answers))
    with pytest.raises(AssertionError, match=sentence):
        check_scores(osk.load(finished), CPU, osk.open(bugs / "test"), osk.open(bugs / "fog"))


def test_ranks_are_compared_whatever_the_scale():
    scores = torch.tensor([0.1, 0.2, 0.2, 5.0, 7.0])
    assert rank_difference(scores, 3 * scores + 1) == pytest.approx(0, abs=1e-12)
    # By hand: ranks 1, 2.5, 2.5, 4, 5 beside 1, 2, 3, 4, 5.
    other = torch.tensor([0.1, 0.2, 0.3, 5.0, 7.0])
    assert rank_difference(scores, other) == pytest.approx(1 - 9.5 / (9.5 * 10) ** 0.5)


def test_scores_that_tell_nothing_apart_agree_with_each_other_alone():
    constant, scores = torch.full((4,), 3.0), torch.arange(4.0)
    rounded = constant + torch.tensor([0, 1e-6, -1e-6, 0])
    assert rank_difference(constant, constant) == rank_difference(constant, rounded) == 0
    assert rank_difference(constant, scores) == rank_difference(scores, rounded) == 1
