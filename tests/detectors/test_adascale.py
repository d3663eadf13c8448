import pytest
import torch
from torch import nn

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import AdaScale, Scale
from outskirts.detectors.adascale import ShiftedFeatures, stability
from outskirts.detectors.energy import energy


@pytest.fixture
def known(vectors):
    return vectors["V16_adascale"]


def outputs(features, shifted, key="shifted-5.0-e0.5"):
    features, shifted = (torch.tensor(values, dtype=torch.float64) for values in (features, shifted))
    head = torch.eye(3, 4).double(), torch.zeros(3).double()
    return Outputs(features, features @ head[0].T, None, head, {key: shifted})


def test_vectors(known):
    # Two of four activations are 50 %, one is 25 %.
    calibration = outputs(known["Fc"], known["Fp"])
    found = stability(calibration.features, calibration.extra["shifted-5.0-e0.5"], 50, 25, known["lam"])
    torch.testing.assert_close(found, torch.tensor(known["q_cal"], dtype=torch.float64))
    detector = AdaScale(share=50, shift_share=25).fit(calibration)
    query = outputs(known["f"], known["f_pert"])
    torch.testing.assert_close(detector.percentiles(query), torch.tensor(known["percentile_75_85"]).double())


def test_one_percentile_is_scale(known):
    calibration = outputs(known["Fc"], known["Fp"])
    detector = AdaScale(low=50, high=50).fit(calibration)
    torch.testing.assert_close(detector.score(calibration), Scale(50).score(calibration))
    logits = AdaScale(low=50, high=50, variant="l").fit(calibration).score(calibration)
    ratio = calibration.features.sum(1) / calibration.features.topk(2).values.sum(1)
    torch.testing.assert_close(logits, energy(calibration.logits * ratio[:, None] ** 2))


def test_the_least_salient_values_move_along_the_gradient():
    class Net(nn.Module):
        weight = torch.tensor([[3.0, -0.1, 2.0, 0.2], [0.0, 1.0, 0.0, 0.0]])

        def features(self, images):
            return images.flatten(1)

        def forward(self, images):
            return self.features(images) @ self.weight.T

    moved = ShiftedFeatures(share=50, epsilon=0.5)(Net(), torch.ones(1, 1, 2, 2))
    torch.testing.assert_close(moved, torch.tensor([[1.0, 0.5, 1.0, 1.5]]))


def test_bad_input_is_an_error(known):
    with pytest.raises(OutskirtsError, match="low of the detector 'adascale' is 90"):
        AdaScale(low=90)
    with pytest.raises(OutskirtsError, match="no images to fit on"):
        AdaScale().fit(outputs(known["Fc"], known["Fp"])[:0])
