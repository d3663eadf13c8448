import pytest
import torch

from outskirts.detectors import FDBD, create
from outskirts.detectors.fdbd import boundary_distance
from outskirts.renamed import RenamedWarning


def test_the_parameter_of_version_0_1_is_read():
    with pytest.warns(RenamedWarning, match="'centred' is now called 'centered'"):
        assert create("fdbd:centred=false").params == {"centered": False}


def test_vectors(toy, train, queries):
    # The published sum is over the other classes, ours their mean.
    for centered, key in ((True, "fdbd_distance"), (False, "fdbd_norm")):
        torch.testing.assert_close(FDBD(centered).fit(train).score(queries), -toy[key] / 2)


def test_equals_the_distance_to_each_boundary():
    """On the boundary between the class predicted and another one, their logits are equal."""
    g = torch.Generator().manual_seed(0)
    weight, feature = torch.randn(4, 6, generator=g).double(), torch.randn(6, generator=g).double()
    logits = weight @ feature
    best = int(logits.argmax())
    expected = 0.0
    for c in {0, 1, 2, 3} - {best}:
        normal = weight[best] - weight[c]
        foot = feature - normal * (normal @ feature) / normal.square().sum()
        torch.testing.assert_close(weight[best] @ foot, weight[c] @ foot)
        expected += (feature - foot).norm() / 3
    torch.testing.assert_close(boundary_distance(logits[None], weight)[0], expected)


def test_equal_weights_have_no_boundary_between_them():
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).double()
    assert boundary_distance(torch.tensor([[1.0, 0.5, 0.2]]), weight).isfinite().all()
