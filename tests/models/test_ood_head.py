import pytest
import torch
from torch import nn

from outskirts.methods.exposure import ood_head_loss
from outskirts.models.heads import LinearHead
from outskirts.models.ood_head import EnergyOODHead, FeatureOODHead
from outskirts.seeding import isolated


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def energy_risk(weights, scale, shift):
    risk = EnergyOODHead(len(weights)).double()
    with torch.no_grad():
        risk.weights.copy_(torch.tensor(weights))
        risk.scale.fill_(scale)
        risk.shift.fill_(shift)
    return risk


def test_energy_risk_by_hand(generator):
    weights, logits = [0.5, 2.0, -1.0, 0.0], torch.randn(6, 4, dtype=torch.float64, generator=generator)
    expected = 3 * (logits.exp() * torch.tensor([0.5, 2.0, 1e-6, 1e-6])).sum(1).log() - 0.5
    torch.testing.assert_close(energy_risk(weights, 3.0, -0.5)(logits, logits), expected)


def test_energy_risk_begins_as_the_negative_energy(generator):
    logits = torch.randn(6, 4, generator=generator)
    torch.testing.assert_close(EnergyOODHead(4)(logits, logits), logits.logsumexp(1))


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_energy_risk_is_stable_at_large_logits(size):
    logits = torch.full((1, 3), size, requires_grad=True)
    phi = EnergyOODHead(3)(logits, logits)
    phi.sum().backward()
    assert phi.item() == pytest.approx(size, abs=2) and logits.grad.isfinite().all()


def test_energy_risk_is_finite_without_weights():
    risk = energy_risk([0.0, -1.0], 1.0, 0.0)
    phi = risk(torch.zeros(1, 2), torch.zeros(1, 2))
    phi.sum().backward()
    assert phi.isfinite().all() and risk.weights.grad.isfinite().all()


def test_energy_risk_is_computed_in_full_precision():
    logits = torch.tensor([[10.0, 9.0]], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        phi = EnergyOODHead(2)(logits, logits)
    torch.testing.assert_close(phi, logits.float().logsumexp(1))


def test_feature_risk_by_hand(generator):
    risk, features = FeatureOODHead(3, hidden=5), torch.randn(4, 3, generator=generator)
    first, _, last = risk.network
    expected = (features @ first.weight.T + first.bias).clamp_min(0) @ last.weight[0] + last.bias
    torch.testing.assert_close(risk(features, features), expected)


@pytest.mark.parametrize("kind", ["energy", "feature"])
def test_the_gradient_reaches_the_features_and_the_risk(kind, generator):
    with isolated(0, "test"):
        head = LinearHead(nn.Linear(3, 4), ood_head=EnergyOODHead(4) if kind == "energy" else FeatureOODHead(3))
    features = torch.randn(6, 3, generator=generator, requires_grad=True)
    outliers = torch.randn(2, 3, generator=generator)
    phi, outlier_phi = (head.ood_head(rows, head(rows)) for rows in (features, outliers))
    ood_head_loss(phi, outlier_phi).backward()
    assert features.grad.abs().sum(1).min() > 0
    assert all(parameter.grad.any() for parameter in head.ood_head.parameters())


def test_both_learn_to_tell_rows_apart(generator):
    logits = torch.randn(64, 3, generator=generator) + torch.tensor([5.0, 0, 0])
    outliers = torch.randn(64, 3, generator=generator)
    for risk in (EnergyOODHead(3), FeatureOODHead(3)):
        optimizer = torch.optim.Adam(risk.parameters(), lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            ood_head_loss(risk(logits, logits), risk(outliers, outliers)).backward()
            optimizer.step()
        right = (risk(logits, logits) > 0).sum() + (risk(outliers, outliers) < 0).sum()
        assert right > 120
