import pytest
import torch

from outskirts.data.loading.batches import Batch
from outskirts.data.transform import Transform
from outskirts.models.classifier import Backbone, Classifier
from outskirts.models.fast import FastNet
from outskirts.seeding import isolated


@pytest.fixture
def make():
    """Makes a method on a small network, always with the same weights, in training mode."""

    def make(kind, config=None, head=None):
        config = config or kind.Config()
        with isolated(0, "test"):
            backbone = Backbone(FastNet(3, 16, (8, 8, 8)), 8, "fast")
            head = head or kind.head(config, 8, 3)
            return kind(config, Classifier(backbone, head, Transform(16), ["a", "b", "c"])).train()

    return make


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(0)
    images = torch.randn(6, 3, 16, 16, generator=g)
    return Batch((images,), torch.tensor([0, 1, 2, 0, 1, 2]), epoch=1, epochs=4, generator=g)
