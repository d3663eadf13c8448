import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import IODIN
from outskirts.detectors.common.perturbed import PerturbedLogits


def test_score_is_the_softmax_probability_of_the_probe(toy):
    detector = IODIN(temperature=1.5, epsilon=0.01)
    probe = PerturbedLogits(1.5, 0.01, sparse=True)
    assert detector.probes == (probe,)
    outputs = Outputs(toy["Q"], torch.zeros(3, 3), extra={probe.key: toy["logits"]})
    torch.testing.assert_close(detector.score(outputs), -toy["msp_T1_5"].log())


def test_bad_input_is_an_error(queries):
    with pytest.raises(OutskirtsError, match="epsilon of the detector 'iodin' must be a number of at least 0, not -1"):
        IODIN(epsilon=-1)
    with pytest.raises(OutskirtsError, match="extract them again"):
        IODIN().score(queries)
