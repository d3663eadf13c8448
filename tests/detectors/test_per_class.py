import math

import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import Energy, PerClass


@pytest.fixture
def val():
    """Of an easy class, a hard one, and one that is hardly ever predicted."""
    g = torch.Generator().manual_seed(0)
    predicted = torch.cat([torch.zeros(400), torch.ones(400), torch.full((5,), 2)]).long()
    scale = torch.tensor([20.0, 4.0, 4.0])[predicted]
    noise = torch.randn(805, generator=g) * torch.tensor([1.0, 0.3, 0.3])[predicted]
    logits = torch.zeros(805, 3).scatter(1, predicted[:, None], (scale + noise)[:, None])
    return Outputs(logits, logits)


def test_every_class_rejects_the_same_share(val):
    detector = PerClass("energy", accepted=0.9).fit(val)
    predicted, rejected = val.logits.argmax(1), detector.score(val) > 0
    for label in (0, 1):
        assert rejected[predicted == label].double().mean() == pytest.approx(0.1, abs=0.005)
    # One threshold for all would reject none of the easy class.
    plain = Energy().score(val)
    one = plain > plain.quantile(0.9)
    assert not one[predicted == 0].any() and one[predicted == 1].double().mean() > 0.15


def test_a_class_that_is_hardly_predicted_has_the_threshold_of_all(val):
    detector = PerClass(accepted=0.9).fit(val)
    assert detector.thresholds[2] == Energy().score(val).sort().values[math.ceil(0.9 * 806) - 1]


@pytest.mark.parametrize("n", [20, 33, 100])
def test_new_images_are_accepted_as_often_as_promised(n):
    g = torch.Generator().manual_seed(0)
    accepted = []
    for _ in range(2000):
        val, new = (torch.randn(count, 1, generator=g) for count in (n, 100))
        val, new = Outputs(val, val), Outputs(new, new)
        accepted.append((PerClass("max_logit").fit(val).score(new) <= 0).double().mean())
    assert torch.stack(accepted).mean() >= 0.95 - 3 * torch.stack(accepted).std() / 2000**0.5


def test_too_few_images_for_a_rank_are_all_accepted():
    logits = torch.randn(10, 1, generator=torch.Generator().manual_seed(0))
    scores = PerClass("max_logit", least=1).fit(Outputs(logits, logits)).score(Outputs(logits, logits))
    assert scores.max() == 0


def test_bad_input_is_an_error(val):
    with pytest.raises(
        OutskirtsError, match=r"accepted of the detector 'per_class' must be a number above 0.5 and at most 1, not 0.2"
    ):
        PerClass(accepted=0.2)
    with pytest.raises(OutskirtsError, match="no images to fit on"):
        PerClass().fit(val[:0])
