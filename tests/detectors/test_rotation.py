import math

import pytest
import torch

from outskirts.detectors.rotation import Rotation, RotationErrors
from outskirts.extraction.outputs import Outputs


def test_by_hand():
    """In bits, and with the other sign: .684221 - .200832 for these logits and rotations known by 3 nats."""
    known = math.log(1 + 3 * math.exp(-3))
    errors = torch.tensor([known, known + 1])
    outputs = Outputs(torch.zeros(2, 1), torch.tensor([[2.0, 0, 0]] * 2), None, None, {RotationErrors.key: errors})
    bits = -Rotation().score(outputs) / math.log(2)
    assert bits[0].item() == pytest.approx(0.684221 - 0.200832, abs=1e-6)
    assert (bits[0] - bits[1]).item() == pytest.approx(1 / math.log(2), rel=1e-5)
