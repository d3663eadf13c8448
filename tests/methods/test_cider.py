"""CIDER's step against its equations, the collapse that its published warm-up brings about, and the presets."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from outskirts.data.loading.batches import Batch
from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.methods.cider import CIDER, CIDERConfig
from outskirts.methods.hypersphere import compactness, dispersion, mean_update
from outskirts.models.classifier import Backbone, Classifier
from outskirts.seeding import isolated
from outskirts.testing import check_method
from outskirts.training.config import TrainConfig, resolve_recipe
from outskirts.training.optimizers import optimizer_for
from outskirts.training.schedule import learning_rate


@pytest.mark.parametrize(
    "options",
    [
        {"prototypes": "mean"},
        {"prototypes": "learned"},
        {"projection": "linear", "embedding": 2},
        {"views": 1},
        {"prototype_init": "simplex", "prototype_freeze": 0.5},
        {"prototype_freeze": 1.0, "prototypes": "learned"},
        {"reference_quirks": True, "prototype_momentum": 0.5, "temperature": 0.5},
    ],
    ids=str,
)
def test_contract_of_the_variants(options):
    check_method("cider", CIDERConfig(**options))


@pytest.fixture
def views(batch):
    return replace(batch, views=(batch.images, batch.images.flip(3)))


def points_of(method, views):
    """Unit vectors [12, d] of both views, and their labels."""
    points = [method.sphere.project(method.classifier.features(images)) for images in views.views]
    return torch.cat(points), views.labels.repeat(2)


# A step


def test_a_step_by_hand(make, views):
    """In a loop over samples, in double precision."""
    weights = {"compactness_weight": 3.0, "dispersion_weight": 0.5}
    method = make(CIDER, CIDERConfig(embedding=4, prototype_momentum=0.8, temperature=0.2, **weights)).double().eval()
    views = replace(views, views=tuple(images.double() for images in views.views))
    points, labels = (part.detach() for part in points_of(method, views))
    rows = list(normalize(method.sphere.prototypes, dim=1))
    for point, label in zip(points, labels.tolist()):
        mixed = 0.8 * rows[label] + 0.2 * point
        rows[label] = mixed / mixed.norm()
    moved = torch.stack(rows)
    compact = [-(points[i] @ moved.T / 0.2).log_softmax(0)[labels[i]] for i in range(12)]
    cosines = (moved @ moved.T / 0.2).exp()
    disperse = [((cosines[i].sum() - cosines[i, i]) / 2).log() for i in range(3)]
    compact, disperse = torch.stack(compact).mean(), torch.stack(disperse).mean()
    scalars = method(views)
    torch.testing.assert_close(scalars["loss"].detach(), 3 * compact + 0.5 * disperse)
    torch.testing.assert_close(scalars["loss_compactness"], compact)
    torch.testing.assert_close(scalars["loss_dispersion"], disperse)
    torch.testing.assert_close(method.sphere.prototypes, moved)
    assert scalars["collapsed_steps"] == 0
    assert {"angle_between", "angle_nearest", "angle_own"} <= scalars.keys()


def test_the_published_factor_is_in_the_weight():
    config = CIDERConfig()
    assert config.compactness_weight == pytest.approx(2 * 1.4285714286) and config.dispersion_weight == 1.0
    assert (config.prototype_momentum, config.temperature, config.embedding, config.views) == (0.95, 0.1, 128, 2)


def gradients(method, views):
    method.zero_grad()
    method(views)["loss"].backward()
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}


def test_compactness_takes_the_moved_prototypes_as_constants(make, views):
    method = make(CIDER, CIDERConfig(dispersion_weight=0.0, compactness_weight=1.0, embedding=4)).eval()
    before = method.sphere.prototypes.clone()
    found = gradients(method, views)
    moved = method.sphere.prototypes.clone()
    assert not torch.equal(moved, before)
    method.zero_grad()
    compactness(*points_of(method, views)[:1], moved, views.labels.repeat(2), 0.1).backward()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, method.get_parameter(name).grad, msg=name)


@pytest.mark.parametrize("prototypes", ["ordered", "mean"])
def test_dispersion_trains_the_network_through_the_prototypes(make, views, prototypes):
    options = {"compactness_weight": 0.0, "prototypes": prototypes, "embedding": 4}
    trained = gradients(make(CIDER, CIDERConfig(**options)).eval(), views)
    assert any(name.startswith("classifier.backbone") for name in trained)
    # Prototypes that do not move say nothing of the samples.
    assert not gradients(make(CIDER, CIDERConfig(**options, prototype_momentum=1.0)).eval(), views)


def test_class_means_move_prototypes_once(make, views):
    method = make(CIDER, CIDERConfig(prototypes="mean", embedding=4, prototype_momentum=0.7)).eval()
    with torch.no_grad():
        expected = mean_update(method.sphere.prototypes, *points_of(method, views), 0.7)
    method(views)
    torch.testing.assert_close(method.sphere.prototypes, expected)


def test_absent_classes_stay_bit_for_bit(make, views):
    method = make(CIDER, CIDERConfig(embedding=4))
    before = method.sphere.prototypes.clone()
    method(replace(views, labels=torch.tensor([0, 2, 2, 0, 2, 0])))
    same = (method.sphere.prototypes == before).all(1)
    assert same.tolist() == [False, True, False]


def test_prototypes_keep_no_graph_between_steps(make, views):
    method = make(CIDER)
    for _ in range(2):
        method(views)["loss"].backward()
    assert not method.sphere.prototypes.requires_grad and method.sphere.prototypes.grad_fn is None


def test_learned_prototypes_are_trained_by_both_losses_as_directions(make, views):
    norms = {}
    for name, options in (("compact", {"dispersion_weight": 0.0}), ("disperse", {"compactness_weight": 0.0})):
        method = make(CIDER, CIDERConfig(prototypes="learned", embedding=4, **options)).eval()
        method.sphere.prototypes.data.mul_(5)
        loss = method(views)["loss"]
        loss.backward()
        gradient = method.sphere.prototypes.grad
        norms[name] = gradient.norm()
        torch.testing.assert_close((gradient * method.sphere.prototypes).sum(1), torch.zeros(3), atol=1e-5, rtol=0)
        method.sphere.prototypes.data.div_(5)
        torch.testing.assert_close(method(views)["loss"], loss)
    assert all(norms.values())


# Holding


@pytest.mark.parametrize("prototypes", ["ordered", "mean", "learned"])
def test_held_prototypes_stand_at_the_corners_of_a_simplex_until_they_move(make, views, prototypes):
    method = make(
        CIDER, CIDERConfig(prototype_init="simplex", prototype_freeze=0.5, prototypes=prototypes, embedding=8)
    )
    state = torch.get_rng_state()
    with torch.no_grad():
        method.prepare(iter(()))
    assert torch.equal(torch.get_rng_state(), state)
    corners = method.sphere.prototypes.detach().clone()
    torch.testing.assert_close(corners @ corners.T, torch.full((3, 3), -0.5).fill_diagonal_(1))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, weight_decay=0.1)
    for epoch in (1, 2, 3):
        optimizer.zero_grad()
        scalars = method(replace(views, epoch=epoch, epochs=4))
        scalars["loss"].backward()
        optimizer.step()
        held = torch.equal(method.sphere.prototypes, corners)
        assert held is (epoch <= 2)
        if held:
            assert scalars["loss_dispersion"].item() == pytest.approx(-5.0)


def test_hold_is_a_share():
    with pytest.raises(OutskirtsError, match="prototype_freeze must be a number from 0 to 1, not 3"):
        CIDERConfig(prototype_freeze=3)


def test_seeds_hold_different_corners(make):
    corners = []
    for seed in (0, 1, 1):
        method = make(CIDER, CIDERConfig(prototype_init="simplex", embedding=8))
        with isolated(seed):
            method.classifier.head = CIDER.head(method.config, 8, 3)
        with torch.no_grad():
            method.prepare(iter(()))
        corners.append(method.sphere.prototypes)
    assert not torch.allclose(corners[0], corners[1], atol=0.1) and torch.equal(corners[1], corners[2])


# Collapse


def toy(classes, quirks, steps=98):
    """The records of a first epoch on Gaussian classes in 32 dimensions, seen by a perceptron with normalisation."""
    g = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(classes, 32, generator=g)
    config = CIDERConfig(projection="linear", reference_quirks=quirks)
    with isolated(0):
        layers = [part for _ in range(3) for part in (nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU())]
        head = CIDER.head(config, 32, classes)
        classifier = Classifier(
            Backbone(nn.Sequential(*layers), 32, "toy"), head, Transform(8), [str(i) for i in range(classes)]
        )
        method = CIDER(config, classifier)

    def draw(labels, spread):
        return means[labels] + spread * torch.randn(len(labels), 32, generator=g)

    labels = torch.arange(512) % classes
    with torch.no_grad():
        method.eval().prepare([(draw(labels, 1.0), labels)])
    training = TrainConfig(lr=0.5, weight_decay=1e-4, schedule="epoch-cosine", epochs=500, warmup=0.02)
    optimizer = optimizer_for(method.train(), training)
    records = []
    for step in range(steps):
        labels = torch.randint(classes, (128,), generator=g)
        images = draw(labels, 1.0)
        views = tuple(images + 0.3 * torch.randn(128, 32, generator=g) for _ in range(2))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, training, method)
        scalars = method(Batch(views, labels, 1, 500, g))
        optimizer.zero_grad()
        scalars["loss"].backward()
        optimizer.step()
        records.append({name: value.item() for name, value in scalars.items()})
    return records


@pytest.mark.parametrize("classes", [2, 8])
def test_the_published_warmup_collapses_the_prototypes(classes):
    last = toy(classes, quirks=True)[-1]
    assert last["loss_dispersion"] == pytest.approx(10.0, abs=0.05)
    assert last["loss_compactness"] == pytest.approx(torch.tensor(classes).log().item(), rel=0.02)
    assert last["angle_between"] < 10 and last["collapsed_steps"] > 50


@pytest.mark.parametrize("classes", [2, 8])
def test_the_corrected_warmup_does_not(classes):
    records = toy(classes, quirks=False)
    assert max(record["loss_dispersion"] for record in records) < 9
    assert records[-1]["loss_dispersion"] == pytest.approx(-10 / (classes - 1), abs=0.1)
    assert records[-1]["collapsed_steps"] == 0


def test_only_the_quirks_ask_for_the_published_warmup(make):
    assert make(CIDER, CIDERConfig(reference_quirks=True)).published_warmup is True
    assert make(CIDER).published_warmup is False


def standing(method, prototypes):
    """Puts prototypes that do not move."""
    method.sphere.prototypes.copy_(torch.tensor(prototypes, dtype=torch.float32))


APART = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
#: Equal; and with two of them three and seven degrees apart, at an unremarkable dispersion.
EQUAL, NEAR, FAR = [[0.5] * 4] * 3, [*APART[:2], [0.0523, 0.9986, 0, 0]], [*APART[:2], [0.1219, 0.9925, 0, 0]]


def test_steps_in_collapse_are_counted_without_a_gap(make, views):
    method = make(CIDER, CIDERConfig(prototype_momentum=1.0, embedding=4))
    counts = []
    for prototypes in (EQUAL, NEAR, EQUAL, APART, NEAR, FAR):
        standing(method, prototypes)
        counts.append(method(views)["collapsed_steps"].item())
    assert counts == [1, 2, 3, 0, 1, 0]
    assert "collapsed" in method.state_dict()


def test_a_collapse_is_a_sentence_that_says_what_to_do(make):
    method = make(CIDER)
    fine = {"collapsed_steps": 0.0, "angle_between": 81.4, "angle_nearest": 60.0, "loss": 1.0}
    assert method.warning(fine) == ""
    assert method.warning(fine | {"collapsed_steps": 199.0}) == ""
    warning = method.warning(fine | {"collapsed_steps": 240.0, "angle_nearest": 3.2})
    assert warning.startswith("Prototypes have collapsed: for 240 steps") and warning.endswith(".")
    assert "nearest two are 3 degrees apart, and all on average 81" in warning
    for way_out in ("--prototype-freeze", "--init RUN", "--warmup", "--lr"):
        assert way_out in warning


@pytest.mark.parametrize("prototypes", [EQUAL, NEAR])
def test_a_collapsed_state_leads_to_the_warning(make, views, prototypes):
    method = make(CIDER, CIDERConfig(prototype_momentum=1.0, embedding=4))
    standing(method, prototypes)
    method.collapsed.fill_(300)
    means = {name: value.item() for name, value in method(views).items()}
    assert "have collapsed: for 301 steps" in method.warning(means)
    standing(method, APART)
    assert method.warning({name: value.item() for name, value in method(views).items()}) == ""


# Presets: the table of specification A4

COMMON = {"batch_size": 512, "optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "schedule": "epoch-cosine"}
COMMON |= {"temperature": 0.1, "embedding": 128, "projection": "mlp", "views": 2, "dispersion_weight": 1.0}
COMMON |= {"prototypes": "ordered", "reference_quirks": False, "prototype_init": "means", "prototype_freeze": 0.0}
CROPS = "resized-crop:{}:1,flip,jitter:0.4:0.4:0.4:0.1,grey"
SMALL = {"epochs": 500, "lr": 0.5, "warmup": 10 / 500, "augment": CROPS.format(0.2)}
TABLE = {
    "cifar10": SMALL | {"backbone": "resnet18-cifar", "prototype_momentum": 0.95, "neighbours": 100},
    "cifar100": SMALL | {"backbone": "resnet34-cifar", "prototype_momentum": 0.5, "neighbours": 300},
    "imagenet100": {
        "backbone": "torchvision:resnet34",
        "pretrained": "true",
        "train_layers": "layer4",
        "size": 224,
        "epochs": 20,
        "lr": 0.005,
        "warmup": 10 / 20,
        "prototype_momentum": 0.95,
        "augment": CROPS.format(0.4),
    },
}
WEIGHT = {"cifar10": 2, "cifar100": 1, "imagenet100": 2}


@pytest.mark.parametrize("preset", TABLE)
def test_presets_are_the_published_settings(preset):
    options = resolve_recipe("cider", {}, preset).flat()
    expected = COMMON | TABLE[preset]
    assert {name: options[name] for name in expected} == expected
    assert options["compactness_weight"] == pytest.approx(WEIGHT[preset] * 0.1 / 0.07)


def test_every_preset_of_cider_is_in_the_table():
    assert CIDER.presets.keys() == {*TABLE, "quick"}


# Geometry


def test_losses_reach_their_bounds(make, views):
    """At a simplex with every sample at its prototype, nothing is left to gain."""
    method = make(CIDER, CIDERConfig(prototype_momentum=1.0, embedding=3, temperature=0.1))
    corners = torch.tensor([[1.0, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])
    method.sphere.prototypes.copy_(corners)
    batch = replace(views, views=views.views[:1], labels=torch.arange(3))
    scalars = method.embedding_loss(corners, batch.labels, batch)
    assert scalars["loss_dispersion"].item() == pytest.approx(-5.0, abs=1e-5)
    assert 0 <= scalars["loss_compactness"] < 1e-5
    assert scalars["angle_own"] < 0.1 and scalars["angle_nearest"].item() == pytest.approx(120, abs=0.01)
    torch.testing.assert_close(dispersion(corners, 0.1), scalars["loss_dispersion"])
