import math

import pytest
import torch
from torch import nn

from outskirts import Head, Outputs, OutskirtsError
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


@pytest.mark.parametrize("variant", ["a", "l"])
def test_equals_the_published_formula_where_features_are_negative(variant):
    """Written out one image at a time, in float64."""
    g = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(5, 256, generator=g).double(), torch.randn(5, generator=g).double()

    def some(n):
        features, shifted = torch.randn(2, n, 256, generator=g).double()
        return Outputs(features, features @ weight.T + bias, None, Head(weight, bias), {"shifted-5.0-e0.5": shifted})

    def steadiness(f, moved):
        order = sorted(range(256), key=lambda i: -f[i])
        # 5 and 1 per cent of 256 are 12.8 and 2.56.
        return sum(max(0.0, moved[i]) for i in order[:12]) + 10 * sum(abs(moved[i] - f[i]) for i in order[:2])

    val, test = some(40), some(7)
    known = [steadiness(f.tolist(), m.tolist()) for f, m in zip(val.features, val.extra["shifted-5.0-e0.5"])]
    expected = []
    for f, moved in zip(test.features, test.extra["shifted-5.0-e0.5"]):
        own = steadiness(f.tolist(), moved.tolist())
        percentile = 75 + 10 * (1 - sum(one <= own for one in known) / len(known))
        positive = sorted((max(0.0, v) for v in f.tolist()), reverse=True)
        ratio = sum(positive) / sum(positive[: 256 - round(256 * percentile / 100)])
        logits = weight @ (f * math.exp(ratio)) + bias if variant == "a" else (weight @ f + bias) * ratio**2
        expected.append(-logits.logsumexp(0))
    torch.testing.assert_close(AdaScale(variant=variant).fit(val).score(test), torch.stack(expected))


def test_the_number_of_moved_values_is_rounded_down():
    class Net(nn.Module):
        def features(self, images):
            return images.flatten(1)

        def forward(self, images):
            return self.features(images) @ torch.arange(1.0, 51.0)[:, None]

    moved = ShiftedFeatures(share=5, epsilon=0.5)(Net(), torch.zeros(1, 1, 5, 10))
    assert moved.count_nonzero() == 2
