import pytest
import torch

from outskirts.guard.calibration import Calibration
from outskirts.guard.export.thresholds import Thresholds
from outskirts.seeding import generator


@pytest.mark.parametrize("per_class", [False, True])
def test_p_values_and_verdicts_are_those_of_the_calibration(per_class):
    draws = generator(0, "thresholds")
    known, of = torch.randn(300, generator=draws), torch.arange(300) % 3
    calibration = Calibration.per_class(known, of, list("abc"), 0.9) if per_class else Calibration.of(known, 0.9)
    scores = torch.cat([known, torch.randn(50, generator=draws), torch.tensor([torch.nan, torch.inf, -torch.inf])])
    scores = scores.double()
    predicted = torch.arange(len(scores)) % 3
    p_values, accepted = Thresholds(calibration)(scores, predicted)
    assert torch.equal(p_values, calibration.p_values(scores, predicted))
    assert torch.equal(accepted, calibration.accepted(scores, predicted))
