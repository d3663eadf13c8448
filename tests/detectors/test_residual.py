import torch

from outskirts import Outputs
from outskirts.detectors import Residual, residual
from outskirts.detectors.residual import default_dim


def test_vectors(toy, train, queries):
    torch.testing.assert_close(Residual(dim=2, level="published").fit(train).score(queries), -toy["residual_dim2"])


def test_default_is_half_the_dimension(train):
    assert Residual().fit(train).complement.shape == (4, 2) and default_dim(4) == 2


def test_norms_that_are_not_kept_are_the_same(train, queries, monkeypatch):
    def found() -> torch.Tensor:
        fresh = [Outputs(one.features, one.logits, one.labels, one.head) for one in (train, queries)]
        return Residual(dim=1).fit(fresh[0]).score(fresh[1])

    kept = found()
    monkeypatch.setattr(residual, "_KEPT", 0)
    torch.testing.assert_close(found(), kept, rtol=0, atol=0)
