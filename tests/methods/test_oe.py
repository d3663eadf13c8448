from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
import torch
from torch.nn.functional import cross_entropy

from outskirts.errors import OutskirtsError
from outskirts.methods.ce import CE
from outskirts.methods.exposure import energy_margin, ood_head_loss, uniformity
from outskirts.methods.oe import OE, FeatureKind, OEConfig, PixelKind
from outskirts.testing import check_method
from outskirts.training.config import resolve_recipe

DISK = ("images",)
PIXELS, FEATURES = get_args(PixelKind), get_args(FeatureKind)
EXPOSURES = ("uniform", "energy", "features", "margin")
SMALL = OEConfig(queue=20, k=1, boundary=2, candidates=6, draws=100)


def seeded(batch):
    return replace(batch, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("outliers", "exposure"), list(product(PIXELS + FEATURES + DISK, EXPOSURES)))
def test_contract(outliers, exposure):
    check_method("oe", replace(SMALL, outliers=outliers, exposure=exposure))


@pytest.mark.parametrize(
    "options",
    [{"batchnorm": "separate"}, {"start": 0.4, "batchnorm": "separate"}, {"outliers": "boundary", "space": "raw"}],
)
def test_contract_of_the_variants(options):
    check_method("oe", replace(SMALL, **options))


@pytest.mark.parametrize("outliers", ["random-shuffle", "gaussian"])
@pytest.mark.parametrize("exposure", EXPOSURES)
def test_the_loss_by_hand(make, batch, outliers, exposure):
    config = replace(SMALL, outliers=outliers, exposure=exposure, outlier_weight=0.3, label_smoothing=0.1)
    method, twin = make(OE, config).eval(), make(OE, config).eval()
    scalars = method(seeded(batch))
    twin.fill_queue(twin.classifier.features(batch.images), batch.labels)
    made = twin.outliers(seeded(batch)).values
    with torch.no_grad():
        features = method.classifier.features(batch.images)
        others = method.classifier.features(made) if outliers == "random-shuffle" else made
        logits, other_logits = (method.classifier.head(rows) for rows in (features, others))
        expected = {
            "uniform": lambda: uniformity(other_logits),
            "margin": lambda: energy_margin(logits, other_logits, -23, -5),
            "energy": lambda: ood_head_loss(logits.logsumexp(1), other_logits.logsumexp(1)),
            "features": lambda: ood_head_loss(*(method.classifier.ood_logit(rows) for rows in (features, others))),
        }[exposure]()
    loss_id = cross_entropy(logits, batch.labels, label_smoothing=0.1)
    torch.testing.assert_close(scalars["loss_outlier"], expected)
    torch.testing.assert_close(scalars["loss"].detach(), loss_id + 0.3 * expected)
    assert ("outlier_accuracy" in scalars) == (exposure in ("energy", "features"))


@pytest.mark.parametrize("outliers", FEATURES)
@pytest.mark.parametrize(
    ("exposure", "reached"), [("uniform", False), ("energy", True), ("features", True), ("margin", True)]
)
def test_features_teach_the_backbone_through_images_alone(make, batch, outliers, exposure, reached):
    method = make(OE, replace(SMALL, outliers=outliers, exposure=exposure))
    method.fill_queue(torch.rand(60, 8, generator=batch.generator), torch.arange(60) % 3)
    made = method.outliers(batch).values
    assert not made.requires_grad
    features = torch.rand(6, 8, generator=batch.generator).requires_grad_()
    loss, _ = method._exposure(features, method.classifier.head(features), made, method.classifier.head(made), None)
    (gradient,) = torch.autograd.grad(loss, features, allow_unused=True)
    assert (gradient is not None and bool(gradient.any())) is reached


@pytest.mark.parametrize("outliers", ["gradient", "boundary", "gaussian"])
def test_before_its_start_the_loss_is_plain_and_the_queue_fills(make, batch, outliers):
    config = replace(SMALL, outliers=outliers, exposure="features", start=0.5)
    method, plain = make(OE, config), make(CE, head=OE.head(config, 8, 3))
    plain.load_state_dict(method.state_dict(), strict=False)
    early, late = replace(batch, epoch=2, epochs=4), replace(batch, epoch=3, epochs=4)
    scalars = method(early)
    torch.testing.assert_close(scalars["loss"], plain(early)["loss"])
    assert scalars["loss_outlier"] == scalars["outlier_accuracy"] == 0
    assert method.outliers(early) is None and len(method.outliers(late))
    after = method(late)
    assert after.keys() == scalars.keys() and after["loss_outlier"] > 0
    if method.queue is not None:
        assert method.queue.filled.tolist() == [4, 4, 4] and scalars["ready"] == 0 and after["ready"] == 1


def test_separate_statistics_are_those_of_the_images_alone(make, batch):
    config = OEConfig(batchnorm="separate")
    method, plain = make(OE, config), make(CE)
    plain.load_state_dict(method.state_dict())
    method(batch)
    plain(batch)
    state = method.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    shared = make(OE, OEConfig())
    shared(batch)
    assert any(not torch.equal(value, state[name]) for name, value in shared.state_dict().items())


def test_outliers_from_the_sphere_are_as_long_as_what_they_are_made_of(make, batch):
    method = make(OE, replace(SMALL, outliers="boundary", sigma=0.01))
    method.fill_queue(torch.rand(60, 8, generator=batch.generator) * 50, torch.arange(60) % 3)
    made = method.outliers(batch)
    sources = method.queue.values[made.labels, made.info["boundary"]]
    torch.testing.assert_close(made.values.norm(dim=1), sources.norm(dim=1))


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_noise_has_the_strength_of_alpha(make, batch, alpha):
    values = make(OE, OEConfig(outliers="noise", alpha=alpha)).outliers(batch).values
    assert values.std().item() == pytest.approx(alpha, rel=0.05)


def test_the_strength_of_a_gradient_is_relative_to_the_image(make, batch):
    made = make(OE, OEConfig(outliers="dense", alpha=0.5)).outliers(batch)
    size = batch.images.square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close((made.values - batch.images).square().mean((1, 2, 3)).sqrt(), 0.5 * size)


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_the_risk_belongs_to_the_head(make, exposure):
    names = [name for name in make(OE, OEConfig(exposure=exposure)).state_dict() if "ood_head" in name]
    assert all(name.startswith("classifier.head.ood_head.") for name in names)
    assert bool(names) == (exposure in ("energy", "features"))


def test_only_outliers_made_of_features_keep_a_queue(make, batch):
    assert not any("queue" in name for name in make(OE).state_dict())
    make(OE).fill_queue(torch.ones(2, 8), torch.tensor([0, 1]))
    kept = make(OE, replace(SMALL, outliers="boundary")).state_dict()
    assert kept["queue.values"].shape == (3, 20, 8)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"p_inv": 2.0}, "p_inv must be a number from 0 to 1"),
        ({"label_smoothing": -1.0}, "label_smoothing must be a number from 0 to 1"),
        ({"start": 2.0}, "start must be a number from 0 to 1"),
        ({"outliers": "boundary", "queue": 100}, "never holds the 301"),
        ({"outliers": "boundary", "keep": 601}, "601 of 600 candidates cannot be kept"),
        ({"outliers": "gaussian", "draws": 1}, "keep must be from 1 to the number of draws"),
        ({"outliers": "gaussian", "queue": 0}, "queue must be a whole number of at least 1"),
    ],
)
def test_options_out_of_range_are_refused(make, options, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        make(OE, OEConfig(**options))


def test_an_unknown_choice_is_told_with_the_nearest():
    for name, value, nearest in (("outliers", "shufle", "shuffle"), ("exposure", "margins", "margin")):
        with pytest.raises(OutskirtsError, match=f"'{value}'; did you mean '{nearest}'"):
            resolve_recipe("oe", {name: value})
