from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from outskirts.errors import OutskirtsError
from outskirts.methods.ncis import NCIS, NCISConfig
from outskirts.models.ood_head import PlainEnergyOODHead
from outskirts.testing import check_method


@pytest.fixture
def exposed(batch):
    """A batch with five outliers."""
    return replace(batch, outliers=torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ood_head": "mlp", "temperature": 2.0},
        {"reduction": "balanced", "batchnorm": "separate"},
        {"far_share": 0.5},
        {"far_share": 1.0},
    ],
)
def test_contract(options):
    check_method("ncis", NCISConfig(**options))


def test_the_published_example():
    """Logits (2, 0, 0) of an image and (0, 0, 0) of an outlier; h(E) = (1.5 - E, E - 1.5), the second for images."""
    risk = PlainEnergyOODHead().double()
    with torch.no_grad():
        risk.network.weight.fill_(2.0)  # The difference of the two.
        risk.network.bias.fill_(-3.0)
    from outskirts.methods.averages import classification
    from outskirts.methods.exposure import ood_head_terms

    logits = torch.tensor([[2.0, 0, 0]], dtype=torch.float64)
    others = torch.zeros(1, 3, dtype=torch.float64)
    assert logits.logsumexp(1).item() == pytest.approx(2.239545, abs=1e-6)
    assert others.logsumexp(1).item() == pytest.approx(1.098612, abs=1e-6)
    loss_id = classification(logits, torch.tensor([0]))
    loss, _ = ood_head_terms(risk(logits, logits), risk(others, others), "pooled")
    assert loss_id.item() == pytest.approx(0.239545, abs=1e-6)
    assert loss.item() == pytest.approx(0.287751, abs=1e-6)
    assert (loss_id + loss).item() == pytest.approx(0.527296, abs=1e-6)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_loss_by_hand(make, exposed, kind):
    """As a cross-entropy of two classes, in which the published code has it."""
    config = NCISConfig(outlier_weight=0.3, ood_head=kind, label_smoothing=0.1, temperature=1.5)
    method = make(NCIS, config).eval()
    scalars = method(exposed)
    with torch.no_grad():
        logits, others = method.classifier(exposed.images), method.classifier(exposed.outliers)
        phi = method.classifier.head.ood_head.network((torch.cat([logits, others]) / 1.5).logsumexp(1, keepdim=True))
        two = torch.cat([-phi / 2, phi / 2], 1)
        expected = cross_entropy(two, torch.tensor([1] * 6 + [0] * 5))
    loss_id = cross_entropy(logits, exposed.labels, label_smoothing=0.1)
    torch.testing.assert_close(scalars["loss_outlier"], expected)
    torch.testing.assert_close(scalars["loss"].detach(), loss_id + 0.3 * expected)
    torch.testing.assert_close(scalars["energy_id"], -logits.logsumexp(1).mean())


def test_separate_statistics_are_of_the_images_alone(make, exposed):
    shared, separate = (make(NCIS, NCISConfig(batchnorm=kind)) for kind in ("shared", "separate"))
    alone = make(NCIS, NCISConfig())
    alone.classifier(exposed.images)
    for method in (shared, separate):
        method(exposed)
    statistics = [
        {name: value for name, value in method.classifier.state_dict().items() if "running" in name}
        for method in (alone, separate, shared)
    ]
    assert all(torch.equal(value, statistics[1][name]) for name, value in statistics[0].items())
    assert any(not torch.equal(value, statistics[2][name]) for name, value in statistics[0].items())


@pytest.mark.parametrize(("share", "kept"), [(0.0, 5), (0.4, 3), (1.0, 0)])
def test_a_share_of_the_outliers_is_far(make, exposed, share, kept):
    outliers = make(NCIS, NCISConfig(far_share=share))._outliers(exposed)
    assert len(outliers) == 5
    assert torch.equal(outliers[:kept], exposed.outliers[5 - kept :])


@pytest.mark.parametrize("name", ["far_share", "label_smoothing"])
def test_shares_out_of_range(name):
    with pytest.raises(OutskirtsError, match=f"{name} must be a number from 0 to 1, not 1.5"):
        NCISConfig(**{name: 1.5})
