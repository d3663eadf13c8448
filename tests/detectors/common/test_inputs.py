import math

import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors.common.inputs import checked, linear_head


def test_limits():
    assert checked("knn", "k", 3, least=1, most=3) == 3
    for value in (0, 4, math.nan):
        with pytest.raises(OutskirtsError, match="must be at least 1 and at most 3"):
            checked("knn", "k", value, least=1, most=3)
    with pytest.raises(OutskirtsError, match="must be above 0"):
        checked("energy", "temperature", math.inf, above=0)


def test_head_is_double():
    outputs = Outputs(torch.zeros(2, 4), torch.zeros(2, 3), None, (torch.zeros(3, 4).half(), torch.zeros(3)))
    assert {part.dtype for part in linear_head(outputs, "vim")} == {torch.float64}
