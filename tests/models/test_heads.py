import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from outskirts.models.heads import LinearHead, PrototypeHead, Standardize, projector


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def slope(module, features):
    """The largest entry of the Jacobian."""
    return torch.autograd.functional.jacobian(module, features).abs().max().item()


def test_vectors_as_published(vectors):
    v = vectors["V5_zstd"]
    out = Standardize(v["sigma"], reference_quirks=True)(tensor(v["h"]))
    torch.testing.assert_close(out, tensor(v["out"]), rtol=0, atol=1e-9)
    torch.testing.assert_close(out.norm(dim=1), tensor(v["norm"]), rtol=0, atol=1e-9)


def test_the_default_is_close_to_the_published(vectors):
    v = vectors["V5_zstd"]
    out = Standardize(v["sigma"])(tensor(v["h"]))
    torch.testing.assert_close(out, tensor(v["out"]), rtol=1e-5, atol=0)
    assert (out.norm(dim=1) <= v["limit"]).all()


@pytest.mark.parametrize("quirks", [False, True])
def test_invariants(quirks):
    features = torch.rand(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    standardize = Standardize(0.5, quirks)
    out = standardize(features)
    torch.testing.assert_close(out.mean(1), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (out.norm(dim=1) <= 0.5 * 11**0.5).all()
    torch.testing.assert_close(standardize(10 * features + 7), out, rtol=1e-4, atol=0)
    assert torch.equal(out.argsort(1), features.argsort(1))
    torch.testing.assert_close(Standardize(1.0, quirks)(features), 2 * out)


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_the_gradient_is_bounded_at_constant_features(level):
    constant = torch.full((1, 4), level, dtype=torch.float64)
    assert slope(Standardize(0.5), constant) <= 0.5 / 1e-3
    assert slope(Standardize(0.5, reference_quirks=True), constant) > 1e5
    assert not Standardize(0.5)(constant).any()


def test_works_in_single_precision_whatever_comes_in():
    features = torch.rand(3, 8).to(torch.bfloat16)
    assert Standardize()(features).dtype == torch.float32
    torch.testing.assert_close(Standardize()(features), Standardize()(features.double()).float())


def test_sigma_is_saved_with_the_weights():
    head = LinearHead(nn.Linear(4, 2), Standardize(0.25))
    fresh = LinearHead(nn.Linear(4, 2), Standardize(0.5))
    fresh.load_state_dict(head.state_dict())
    features = torch.rand(3, 4)
    assert torch.equal(fresh(features), head(features)) and "inputs.sigma" in head.state_dict()


def test_a_linear_head_alone_is_its_linear_layer():
    linear = nn.Linear(4, 2)
    features = torch.rand(3, 4)
    assert torch.equal(LinearHead(linear)(features), linear(features))


# Prototypes


@pytest.fixture
def features():
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("learned", [False, True])
def test_logits_are_cosines_over_the_temperature(features, learned):
    head = PrototypeHead(nn.Linear(6, 4), 3, 4, temperature=0.2, learned=learned).double()
    head.prototypes.data.mul_(torch.tensor([[1.0], [0.5], [7.0]]))  # As weight decay or an average may leave them.
    with torch.no_grad():
        projected = features.double() @ head.projection.weight.T + head.projection.bias
        expected = [[row @ mu / row.norm() / mu.norm() / 0.2 for mu in head.prototypes] for row in projected]
        torch.testing.assert_close(head(features.double()), torch.tensor(expected, dtype=torch.float64))


def test_prototypes_are_a_buffer_unless_learned():
    moved, learned = (PrototypeHead(nn.Linear(6, 4), 3, 4, learned=learned) for learned in (False, True))
    assert "prototypes" in dict(moved.named_buffers()) and "prototypes" in dict(learned.named_parameters())
    assert moved.state_dict().keys() == learned.state_dict().keys()
    for head in (moved, learned):
        torch.testing.assert_close(head.prototypes.norm(dim=1), torch.ones(3))


def test_projections_are_unit_vectors_of_at_least_single_precision(features):
    head = PrototypeHead(nn.Identity(), 3, 6)
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2):
        points = head.project(features.to(dtype))
        assert points.dtype == expected
        torch.testing.assert_close(points.norm(dim=1), torch.ones(5, dtype=expected))


def test_cosines_are_not_rounded_under_autocast(features):
    head = PrototypeHead(nn.Identity(), 3, 6, temperature=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(features)
        rounded = head.project(features) @ head.prototypes.T / 0.01
    torch.testing.assert_close(logits, head(features), rtol=0, atol=0)
    assert not torch.allclose(rounded.float(), logits, rtol=0, atol=0.05)  # What it would be without care.


def test_features_of_zero_are_a_point_nowhere_with_a_finite_gradient():
    head = PrototypeHead(nn.Linear(6, 4, bias=False), 3, 4)
    zeros = torch.zeros(2, 6, requires_grad=True)
    logits = head(zeros)
    logits.sum().backward()
    assert not logits.any() and zeros.grad.isfinite().all()


def test_projectors():
    assert isinstance(projector("linear", 6, 4), nn.Linear)
    hidden, relu, last = projector("mlp", 6, 4)
    assert isinstance(relu, nn.ReLU)
    assert (hidden.weight.shape, last.weight.shape) == ((6, 6), (4, 6))


@pytest.mark.parametrize("name", ["head", "raw"])
def test_without_projection_prototypes_explain_no_logits(features, name):
    space, linear = PrototypeHead(nn.Linear(6, 4), 3, 4).space(features, name)
    assert space is features and linear is None


def test_in_the_projection_prototypes_are_the_linear_layer(features):
    head = PrototypeHead(nn.Linear(6, 4), 3, 4, temperature=0.3, learned=True)
    head.prototypes.data.mul_(3)
    points, linear = head.space(features, "projection")
    torch.testing.assert_close(points, normalize(head.projection(features), dim=1))
    torch.testing.assert_close(points @ linear.weight.T + linear.bias, head(features))
    assert not linear.weight.requires_grad and not linear.bias.any()


def test_linear_layers_explain_their_logits_in_their_own_space(features):
    head = LinearHead(nn.Linear(6, 3), Standardize(0.5))
    for name, inputs in (("head", head.inputs(features)), ("raw", features)):
        space, linear = head.space(features, name)
        assert torch.equal(space, inputs)
        assert torch.equal(linear.weight, head.linear.weight) and torch.equal(linear.bias, head.linear.bias)
        assert not linear.weight.requires_grad and not linear.bias.requires_grad
