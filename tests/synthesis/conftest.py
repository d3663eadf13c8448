import pytest
import torch
from torch import nn


@pytest.fixture
def network():
    """A network for 3×6×6 images whose training and evaluation modes differ, with some layers in each."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Dropout(0.5)]
        network = nn.Sequential(*layers, nn.Linear(144, 5)).double()
    network[1].running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    network.train()
    network[1].eval()
    return network


@pytest.fixture
def images(generator):
    return torch.randn(4, 3, 6, 6, generator=generator, dtype=torch.float64)


@pytest.fixture
def labels():
    return torch.tensor([0, 1, 2, 4])
