import numpy as np
import pytest

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import JointEnergy, MaxLogit

LOGITS = np.random.default_rng(0).normal(0, 12, size=(40, 5))


@pytest.mark.parametrize("aggregate", ["sum", "max"])
def test_equals_the_formula(aggregate):
    expected = -getattr(np.logaddexp(0, LOGITS), aggregate)(1)
    found = JointEnergy(aggregate).score(Outputs(LOGITS, LOGITS))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_several_likely_labels_count_more_than_one():
    logits = np.array([[4.0, 4.0, -9.0], [5.0, -9.0, -9.0]])
    both, one = JointEnergy().score(Outputs(logits, logits))
    assert both < one
    both, one = JointEnergy("max").score(Outputs(logits, logits))
    assert both > one


def test_the_largest_ranks_as_the_largest_logit():
    out = Outputs(LOGITS, LOGITS)
    assert JointEnergy("max").score(out).argsort().tolist() == MaxLogit().score(out).argsort().tolist()


def test_what_is_extreme_is_finite():
    logits = np.array([[1e4, -1e4], [-1e4, -1e4]])
    assert JointEnergy().score(Outputs(logits, logits)).tolist() == [-1e4, 0]


def test_bad_input_is_an_error():
    with pytest.raises(OutskirtsError, match="aggregate of the detector 'joint_energy' must be one of sum, max"):
        JointEnergy("mean")
    with pytest.raises(OutskirtsError, match="'joint_energy' needs logits"):
        JointEnergy().score(Outputs(LOGITS))
