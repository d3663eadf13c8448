import torch

from outskirts.detectors import MaxLogit


def test_vectors(toy, queries):
    torch.testing.assert_close(MaxLogit().score(queries), -toy["mls"])
