import torch

from outskirts.synthesis import Outliers


def test_outliers_know_their_number():
    assert len(Outliers(torch.zeros(3, 5), torch.tensor([0, 1, 2]))) == 3
