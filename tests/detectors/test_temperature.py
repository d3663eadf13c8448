import pytest
import torch
from torch.nn.functional import cross_entropy

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import TemperatureScaledMSP
from outskirts.detectors.temperature import COLDEST, HOTTEST, calibrate


def overconfident(n: int = 400, factor: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `factor` times as large as the log-probabilities their labels are drawn from."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 5, generator=g, dtype=torch.float64) * 2
    return factor * logits, logits.softmax(1).multinomial(1, generator=g).squeeze(1)


def test_vectors(toy, queries):
    detector = TemperatureScaledMSP()
    detector.temperature = torch.tensor(1.5)
    torch.testing.assert_close(detector.score(queries), -toy["msp_T1_5"].log())


def test_likelihood_is_stationary_at_the_fitted_temperature():
    logits, labels = overconfident()
    temperature = torch.tensor(calibrate(logits, labels), dtype=torch.float64, requires_grad=True)
    cross_entropy(logits / temperature, labels).backward()
    assert abs(temperature.grad) < 1e-12
    assert temperature.item() == pytest.approx(3.0, rel=0.25)


@pytest.mark.parametrize(("sign", "limit"), [(1, COLDEST), (-1, HOTTEST)])
def test_without_a_minimum_the_temperature_is_a_limit(sign, limit):
    assert calibrate(sign * 50 * torch.eye(3), torch.arange(3)) == pytest.approx(limit, rel=0.01)


def test_perfect_classifier_does_not_tie_its_images():
    logits = torch.tensor([[3.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
    detector = TemperatureScaledMSP().fit(Outputs(logits, logits, torch.tensor([0, 0, 1])))
    assert detector.temperature == COLDEST
    assert detector.score(Outputs(logits, logits)).diff().lt(0).all()


@pytest.mark.parametrize(
    ("labels", "sentence"), [([0, 7], "label 7"), ([0, -1], "1 of 2 labels are negative"), (None, "needs labels")]
)
def test_bad_labels_are_an_error(labels, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        TemperatureScaledMSP().fit(
            Outputs(torch.eye(2), torch.eye(2), None if labels is None else torch.tensor(labels))
        )
