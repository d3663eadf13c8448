from dataclasses import replace

import pytest
import torch
from torch import nn

from outskirts.synthesis import BoundarySynthesizer


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


_SMALL = BoundarySynthesizer(k=4, boundary=6, picks=2, candidates=12, keep=3, sigma=0.3)

#: Of all kinds: one point or candidate, nothing to reject, several of everything.
_VARIANTS = {
    "small": {},
    "one point": {"picks": 1},
    "one outlier": {"keep": 1},
    "one of each": {"picks": 1, "keep": 1, "candidates": 1, "k": 1, "boundary": 1},
    "all points": {"picks": 6, "boundary": 6},
    "all candidates": {"keep": 12},
    "nearest neighbour": {"k": 1},
    "whole queue": {"k": 9, "boundary": 10},
    "itself counted": {"exclude_self": False, "k": 10, "boundary": 10},
    "raw": {"space": "raw"},
    "raw, shared": {"space": "raw", "shared_noise": True, "picks": 3},
    "shared": {"shared_noise": True, "picks": 3},
    "random": {"selection": "random"},
    "quirks": {"reference_quirks": True, "picks": 3},
    "raw, quirks": {"reference_quirks": True, "space": "raw", "picks": 2},
    "some classes": {"classes_per_call": 2},
    "one class": {"classes_per_call": 1, "picks": 1},
    "more rows": {"min_rows": 9},
}


@pytest.fixture
def small():
    """A synthesizer of few outliers."""
    return _SMALL


@pytest.fixture(params=_VARIANTS.values(), ids=_VARIANTS.keys())
def synthesizer(request):
    return replace(_SMALL, **request.param)


@pytest.fixture
def seeded():
    def seeded(seed=0):
        return torch.Generator().manual_seed(seed)

    return seeded


@pytest.fixture
def features(seeded):
    def features(classes=3, rows=10, dim=5, dtype=torch.float64, seed=0):
        """Features of different lengths about one centre per class."""
        generator = seeded(seed)
        centres = 2 * torch.randn(classes, 1, dim, generator=generator, dtype=dtype)
        return centres + torch.randn(classes, rows, dim, generator=generator, dtype=dtype)

    return features


@pytest.fixture
def full():
    def full(values):
        return torch.full((len(values),), values.shape[1])

    return full
