import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div

from outskirts.methods.exposure import balanced_accuracy, energy_margin, ood_head_loss, uniformity


def tensor(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


PHI, OUTLIER_PHI = (2.0, -1.0), (0.5, -2.0, -3.0, 0.0)


@pytest.fixture
def logits():
    return torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


# uniformity


def test_uniformity_is_the_divergence_of_torch(logits):
    uniform = torch.full_like(logits, 0.25)
    torch.testing.assert_close(uniformity(logits), kl_div(logits.log_softmax(1), uniform, reduction="batchmean"))
    assert uniformity(torch.full((3, 4), 7.0)).item() == pytest.approx(0, abs=1e-6)


def test_uniformity_and_log_c_are_the_loss_of_outlier_exposure(logits):
    torch.testing.assert_close(uniformity(logits) + math.log(4), (logits.logsumexp(1) - logits.mean(1)).mean())


# ood_head_loss (T7, invariant 14)


@pytest.mark.parametrize(("reduction", "expected"), [("pooled", 0.5471548710), ("balanced", 1.1807797311)])
def test_ood_head_loss_vectors(reduction, expected):
    assert ood_head_loss(tensor(PHI), tensor(OUTLIER_PHI), reduction).item() == pytest.approx(expected, abs=1e-10)


def test_ood_head_loss_is_binary_cross_entropy():
    phi = torch.tensor(PHI + OUTLIER_PHI)
    targets = torch.tensor([1.0] * 2 + [0.0] * 4)
    pooled = ood_head_loss(phi[:2], phi[2:], "pooled")
    torch.testing.assert_close(pooled, binary_cross_entropy_with_logits(phi, targets))


def test_only_the_balanced_form_ignores_how_many_outliers_there_are():
    phi, outliers = tensor(PHI), tensor(OUTLIER_PHI)
    torch.testing.assert_close(ood_head_loss(phi, outliers.repeat(3)), ood_head_loss(phi, outliers))
    assert not torch.isclose(ood_head_loss(phi, outliers.repeat(3), "pooled"), ood_head_loss(phi, outliers, "pooled"))


def test_ood_head_loss_is_stable_at_large_logits():
    far = torch.tensor([1e4, -1e4])
    assert ood_head_loss(far, -far).item() == 1e4


# energy_margin


def test_energy_margin_by_hand():
    def row(energy):  # Two equal logits.
        return [-energy - math.log(2)] * 2

    logits, outlier_logits = tensor([row(-10.0), row(-1.0)]), tensor([row(-7.0), row(-2.0), row(0.0)])
    # Images: 0 and 5 too high; outliers: 4, 0 and 0 too low.
    assert energy_margin(logits, outlier_logits, m_in=-6, m_out=-3).item() == pytest.approx(25 / 2 + 16 / 3)


def test_energy_margin_pushes_images_down_and_outliers_up():
    logits, outlier_logits = tensor([[0.0, 0.0]]), tensor([[5.0, 5.0]])
    of_images, of_outliers = torch.autograd.grad(
        energy_margin(logits, outlier_logits, -3, -1), (logits, outlier_logits)
    )
    assert (of_images < 0).all() and (of_outliers > 0).all()


# balanced_accuracy


def test_balanced_accuracy_is_the_mean_of_two_rates():
    assert balanced_accuracy(torch.tensor([1.0, 2, -1, 3]), torch.tensor([-1.0, 0, 2, -3])).item() == 0.75
    always_image = balanced_accuracy(torch.ones(3), torch.ones(1000)).item()
    assert always_image == 0.5
    assert balanced_accuracy(torch.ones(3), torch.ones(0)).item() == 0


# No rows


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, o: uniformity(o) + 0 * z.sum(),
        lambda z, o: ood_head_loss(z.sum(1), o.sum(1)),
        lambda z, o: ood_head_loss(z.sum(1), o.sum(1), "pooled"),
        lambda z, o: energy_margin(z, o, -3, -1),
    ],
    ids=["uniformity", "balanced", "pooled", "margin"],
)
@pytest.mark.parametrize(("images", "outliers"), [(2, 0), (0, 2), (0, 0)])
def test_without_rows_losses_are_finite_and_have_a_gradient(loss, images, outliers):
    rows = [torch.zeros(n, 3, requires_grad=True) for n in (images, outliers)]
    value = loss(*rows)
    assert value.isfinite() and value.ndim == 0
    for gradient in torch.autograd.grad(value, rows):
        assert gradient.isfinite().all()


def test_the_term_of_no_outliers_is_zero():
    phi = tensor(PHI)
    empty = torch.zeros(0, dtype=torch.float64)
    torch.testing.assert_close(ood_head_loss(phi, empty), (1 + (-phi).exp()).log().mean())
    assert uniformity(torch.zeros(0, 3)).item() == 0
