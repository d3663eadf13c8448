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
    assert detector.thresholds[2] == Energy().score(val).quantile(0.9)


def test_bad_input_is_an_error(val):
    with pytest.raises(OutskirtsError, match=r"accepted of the detector 'per_class' must be"):
        PerClass(accepted=0.2)
    with pytest.raises(OutskirtsError, match="no images to fit on"):
        PerClass().fit(val[:0])
