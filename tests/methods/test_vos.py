from dataclasses import replace

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from outskirts.errors import OutskirtsError
from outskirts.methods.ce import CE
from outskirts.methods.vos import VOS, VOSConfig
from outskirts.testing import check_method
from outskirts.training.config import resolve_recipe

ACTIVE = VOSConfig(start=0.0, queue=20, draws=100)


def gradients(method, loss):
    """By name; zeros where there is none."""
    parameters = dict(method.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), found)
    }


def regulariser_gradients(make, batch, config):
    """What the regulariser alone contributes to the gradient of a step."""
    with_it, without = (make(VOS, replace(config, outlier_weight=weight)) for weight in (1.0, 0.0))
    losses = [
        method(replace(batch, generator=torch.Generator().manual_seed(0)))["loss"] for method in (with_it, without)
    ]
    both, plain = (gradients(method, loss) for method, loss in zip((with_it, without), losses))
    return {name: both[name] - plain[name] for name in both}


@pytest.mark.parametrize(
    "config",
    [ACTIVE, replace(ACTIVE, reference_quirks=True), replace(ACTIVE, keep=3, refresh=1), VOSConfig(start=0.4)],
    ids=["published", "quirks", "more", "later"],
)
def test_contract(config):
    check_method("vos", config)


def test_the_loss_by_hand(make, batch):
    config = replace(ACTIVE, outlier_weight=0.3, label_smoothing=0.1)
    method, twin = make(VOS, config).eval(), make(VOS, config).eval()
    state = batch.generator.get_state()
    scalars = method(batch)
    batch.generator.set_state(state)
    twin.fill_queue(twin.classifier.features(batch.images), batch.labels)
    outliers = twin.outliers(batch)
    with torch.no_grad():
        logits, other = method.classifier(batch.images), method.classifier.head(outliers.values)
    phi = torch.cat([logits, other]).logsumexp(1)  # As its weights begin.
    losses = binary_cross_entropy_with_logits(phi, (torch.arange(len(phi)) < 6).float(), reduction="none")
    loss_outlier = losses[:6].mean() + losses[6:].mean()
    loss_id = cross_entropy(logits, batch.labels, label_smoothing=0.1)
    torch.testing.assert_close(scalars["loss_outlier"], loss_outlier)
    torch.testing.assert_close(scalars["loss"].detach(), loss_id + 0.3 * loss_outlier)
    rates = (phi[:6] > 0).float().mean() + (phi[6:] <= 0).float().mean()
    torch.testing.assert_close(scalars["outlier_accuracy"], rates / 2)
    assert scalars["ready"] == 1 and scalars["kept_distance"] == outliers.info["distance"].mean()


def test_the_regulariser_moves_the_backbone_the_head_and_the_risk(make, batch):
    moved = {name for name, gradient in regulariser_gradients(make, batch, ACTIVE).items() if gradient.any()}
    assert any(name.startswith("classifier.backbone.") for name in moved)
    assert {
        "classifier.head.linear.weight",
        "classifier.head.ood_head.weights",
        "classifier.head.ood_head.shift",
    } <= moved


def test_the_quirk_moves_the_risk_alone(make, batch):
    found = regulariser_gradients(make, batch, replace(ACTIVE, reference_quirks=True))
    moved = {name for name, gradient in found.items() if gradient.any()}
    assert moved == {f"classifier.head.ood_head.{name}" for name in ("weights", "scale", "shift")}


def test_the_network_learns_of_outliers_through_images_alone(make, batch, monkeypatch):
    method = make(VOS, ACTIVE)
    method.fill_queue(torch.rand(60, 8, generator=batch.generator), torch.arange(60) % 3)
    outliers = method.outliers(batch)
    assert len(outliers) == 3 and not outliers.values.requires_grad
    features = torch.rand(6, 8, generator=batch.generator).requires_grad_()
    logits, other = method.classifier.head(features), method.classifier.head(outliers.values)

    def regulariser(copies):
        rows = outliers.values.repeat(copies, 1)
        return method._regularizer(features, logits, rows, other.repeat(copies, 1), None)[0]

    assert torch.autograd.grad(regulariser(1), features, retain_graph=True)[0].any()
    # Invariant: however many outliers there are, images count as much.
    torch.testing.assert_close(regulariser(5), regulariser(1))


def test_before_its_start_the_regulariser_is_silent_and_the_queue_fills(make, batch):
    vos, plain = make(VOS, replace(ACTIVE, start=0.5)), make(CE, head=VOS.head(ACTIVE, 8, 3))
    plain.load_state_dict(vos.state_dict(), strict=False)
    early, late = replace(batch, epoch=2, epochs=4), replace(batch, epoch=3, epochs=4)
    scalars = vos(early)
    torch.testing.assert_close(scalars["loss"], plain(early)["loss"])
    assert scalars["loss_outlier"] == scalars["ready"] == scalars["outlier_accuracy"] == 0
    assert vos.queue.filled.tolist() == [2, 2, 2] and vos.outliers(early) is None
    assert vos(late).keys() == scalars.keys() and len(vos.outliers(late)) == 3
    assert not gradients(vos, vos(early)["loss"])["classifier.head.ood_head.weights"].any()


def test_outliers_of_a_trained_run_are_made_of_recalled_features(make, batch):
    method = make(VOS, ACTIVE)
    assert method.outliers(batch) is None
    features = torch.tensor([[100.0] * 8]) + torch.randn(60, 8, generator=batch.generator)
    method.fill_queue(features, torch.arange(60) % 3)
    assert (method.outliers(batch).values - 100).abs().amax() < 10


def test_the_state_dict_holds_queue_and_gaussians(make):
    names = make(VOS).state_dict().keys()
    assert {"queue.values", "queue.written", "synthesizer.means", "synthesizer.factor", "synthesizer.calls"} <= names
    assert {"classifier.head.ood_head.weights", "classifier.head.ood_head.scale"} <= names


def test_options_out_of_range_are_refused(make):
    with pytest.raises(OutskirtsError, match="label_smoothing"):
        VOSConfig(label_smoothing=2)
    with pytest.raises(OutskirtsError, match="keep must be from 1 to the number of draws, 10, not 11"):
        make(VOS, VOSConfig(draws=10, keep=11))
    with pytest.raises(OutskirtsError, match="queue must be a whole number of at least 1, not 0"):
        make(VOS, VOSConfig(queue=0))


@pytest.mark.parametrize("preset", ["cifar10", "cifar100"])
def test_presets_are_the_published_settings(preset):
    published = {"queue": 1000, "draws": 10_000, "keep": 1, "outlier_weight": 0.1, "start": 0.4}
    published |= {"backbone": "resnet18-cifar", "epochs": 100, "batch_size": 128, "lr": 0.1, "weight_decay": 5e-4}
    published |= {"augment": "flip,crop:4", "warmup": 0.0, "optimizer": "sgd", "reference_quirks": False}
    options = resolve_recipe("vos", {}, preset).flat()
    assert {name: options[name] for name in published} == published
    assert resolve_recipe("vos", {}, "quick") == resolve_recipe("vos", {})
