import torch

from outskirts.detectors import Residual, residual
from outskirts.detectors.residual import default_dim


def test_vectors(toy, train, queries):
    torch.testing.assert_close(Residual(dim=2).fit(train).score(queries), -toy["residual_dim2"])


def test_default_is_half_the_dimension(train):
    assert Residual().fit(train).complement.shape == (4, 2) and default_dim(4) == 2


def test_norms_that_are_not_kept_are_the_same(train, queries, monkeypatch):
    kept = Residual(dim=1).fit(train).score(queries)
    monkeypatch.setattr(residual, "_KEPT", 0)
    torch.testing.assert_close(Residual(dim=1).fit(train).score(queries), kept, rtol=0, atol=0)
