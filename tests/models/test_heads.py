import pytest
import torch
from torch import nn

from outskirts.models.heads import LinearHead, Standardise


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def slope(module, features):
    """The largest entry of the Jacobian."""
    return torch.autograd.functional.jacobian(module, features).abs().max().item()


def test_vectors_as_published(vectors):
    v = vectors["V5_zstd"]
    out = Standardise(v["sigma"], reference_quirks=True)(tensor(v["h"]))
    torch.testing.assert_close(out, tensor(v["out"]), rtol=0, atol=1e-9)
    torch.testing.assert_close(out.norm(dim=1), tensor(v["norm"]), rtol=0, atol=1e-9)


def test_the_default_is_close_to_the_published(vectors):
    v = vectors["V5_zstd"]
    out = Standardise(v["sigma"])(tensor(v["h"]))
    torch.testing.assert_close(out, tensor(v["out"]), rtol=1e-5, atol=0)
    assert (out.norm(dim=1) <= v["limit"]).all()


@pytest.mark.parametrize("quirks", [False, True])
def test_invariants(quirks):
    features = torch.rand(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    standardise = Standardise(0.5, quirks)
    out = standardise(features)
    torch.testing.assert_close(out.mean(1), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (out.norm(dim=1) <= 0.5 * 11**0.5).all()
    torch.testing.assert_close(standardise(10 * features + 7), out, rtol=1e-4, atol=0)
    assert torch.equal(out.argsort(1), features.argsort(1))
    torch.testing.assert_close(Standardise(1.0, quirks)(features), 2 * out)


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_the_gradient_is_bounded_at_constant_features(level):
    constant = torch.full((1, 4), level, dtype=torch.float64)
    assert slope(Standardise(0.5), constant) <= 0.5 / 1e-3
    assert slope(Standardise(0.5, reference_quirks=True), constant) > 1e5
    assert not Standardise(0.5)(constant).any()


def test_works_in_single_precision_whatever_comes_in():
    features = torch.rand(3, 8).to(torch.bfloat16)
    assert Standardise()(features).dtype == torch.float32
    torch.testing.assert_close(Standardise()(features), Standardise()(features.double()).float())


def test_sigma_is_saved_with_the_weights():
    head = LinearHead(nn.Linear(4, 2), Standardise(0.25))
    fresh = LinearHead(nn.Linear(4, 2), Standardise(0.5))
    fresh.load_state_dict(head.state_dict())
    features = torch.rand(3, 4)
    assert torch.equal(fresh(features), head(features)) and "inputs.sigma" in head.state_dict()


def test_a_linear_head_alone_is_its_linear_layer():
    linear = nn.Linear(4, 2)
    features = torch.rand(3, 4)
    assert torch.equal(LinearHead(linear)(features), linear(features))
