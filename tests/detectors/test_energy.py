import pytest
import torch

from outskirts import OutskirtsError
from outskirts.detectors import Energy
from outskirts.detectors.energy import energy


@pytest.mark.parametrize("temperature", [1, 10])
def test_vectors(toy, queries, temperature):
    torch.testing.assert_close(Energy(temperature).score(queries), -toy[f"ebo_T{temperature}"])


def test_huge_logits_do_not_overflow():
    torch.testing.assert_close(energy(torch.tensor([[1e30, 0.0]])), torch.tensor([-1e30], dtype=torch.float64))


def test_temperature_must_be_positive():
    with pytest.raises(OutskirtsError, match="temperature of the detector 'energy' must be a number above 0, not 0"):
        Energy(0)
