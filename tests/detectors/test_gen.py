import math

import pytest
import torch

from outskirts import OutskirtsError
from outskirts.detectors import GEN
from outskirts.detectors.gen import generalized_entropy


@pytest.mark.parametrize("top", [2, 3])
def test_vectors(toy, queries, top):
    torch.testing.assert_close(GEN(top=top).score(queries), -toy[f"gen_g.1_M{top}"])


def test_more_than_all_classes_means_all(queries):
    assert GEN(top=100).score(queries).equal(GEN(top=3).score(queries))


def test_confident_images_are_not_tied():
    """At a gap of 60 a float64 softmax is exactly 1, yet 1 - p is e^-60 and counts to the power of gamma."""
    score = generalized_entropy(torch.tensor([[0.0, -60.0]]), gamma=0.1)
    assert score.item() == pytest.approx(2 * math.exp(-6), rel=1e-12)


@pytest.mark.parametrize("parameters", [{"gamma": 0.0}, {"gamma": math.nan}, {"top": 0}])
def test_parameters_are_checked(parameters):
    with pytest.raises(OutskirtsError, match="detector 'gen'"):
        GEN(**parameters)
