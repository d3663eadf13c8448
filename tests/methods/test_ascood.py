from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from outskirts.methods.ascood import ASCOOD, ASCOODConfig, linear_alpha, uniformity
from outskirts.methods.ce import CE
from outskirts.models.heads import LinearHead
from outskirts.synthesis import Outliers
from outskirts.training.config import TrainConfig, resolve_recipe
from outskirts.training.optimizers import optimizer_for


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def statistics(method):
    return {
        name: value.clone() for name, value in method.state_dict().items() if "running" in name or "batches" in name
    }


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Published vectors (specification 6.1)


def test_alpha_vectors(vectors):
    for case in vectors["V1_alpha"]["cases"]:
        alpha = linear_alpha(case["e"], case["E"], case["alpha_max"], case["alpha_min"])
        assert alpha == pytest.approx(case["alpha"], abs=1e-9)


def test_alpha_falls_from_below_its_maximum_to_its_minimum():
    alphas = [linear_alpha(epoch, 7, 300, 30) for epoch in range(1, 8)]
    assert all(one > two for one, two in pairwise(alphas))
    assert alphas[0] < 300 and alphas[-1] == 30 and linear_alpha(0, 7, 300, 30) == 300


def test_uniformity_vectors(vectors):
    v = vectors["V6_kl_uniform"]
    logits = tensor(v["logits"])
    close(torch.stack([uniformity(row[None]) for row in logits]), tensor(v["per_row"]))
    close(uniformity(logits), tensor(v["batchmean"]))
    close(uniformity(logits) + torch.tensor(3.0).double().log(), tensor(v["oe_style"]))


@pytest.mark.parametrize("w", [1.0, 5.0])
def test_uniformity_gradient_is_the_excess_probability(vectors, w):
    v = vectors["V6_kl_uniform"]
    logits = tensor(v["logits"]).requires_grad_()
    (gradient,) = torch.autograd.grad(w * uniformity(logits), logits)
    close(gradient, w * tensor(v["grad_w1"]))
    close(gradient, (w * (logits.softmax(1) - 1 / 3) / len(logits)).detach())
    close(gradient.sum(1), torch.zeros(3, dtype=torch.float64))
    close(uniformity(logits + tensor([[3.0], [-7.0], [100.0]])), uniformity(logits))


@pytest.fixture
def canned(make, monkeypatch):
    """A method whose network says what it is told to."""

    def canned(config, logits, outlier_logits):
        method = make(ASCOOD, config).double()
        monkeypatch.setattr(method, "_logits", lambda images, outliers: (logits, outlier_logits))
        monkeypatch.setattr(method, "outliers", lambda batch: Outliers(batch.images, batch.labels))
        return method

    return canned


@pytest.mark.parametrize("w", ["0.0", "0.1", "1.0", "5.0"])
def test_total_vectors(canned, batch, vectors, w):
    v = vectors["V7_total"]
    method = canned(ASCOODConfig(outlier_weight=float(w)), tensor(v["id_logits"]), tensor(v["outlier_logits"]))
    scalars = method.step(replace(batch, labels=torch.tensor(v["labels"])))
    close(scalars["loss_id"], tensor(v["ce"]))
    close(scalars["loss"], tensor(v["total"].get(w, v["ce"])))


def test_pulls_in_opposite_directions_where_outliers_look_like_images(canned, batch, vectors):
    v = vectors["V9_prop1"]
    logits, same = (tensor([v["logits"]]).requires_grad_() for _ in range(2))
    loss = canned(ASCOODConfig(), logits, same).step(replace(batch, labels=torch.tensor([v["y"]])))["loss"]
    as_image, as_outlier = torch.autograd.grad(loss, [logits, same])
    close(as_image[0], tensor(v["grad"]))
    close(as_outlier[0], tensor(v["same_logits_as_outlier"]))
    close((as_image + as_outlier)[0], tensor(v["total"]))
    assert (as_image + as_outlier)[0, v["y"]] > 0


# The step


def test_without_weight_the_loss_is_plain_but_outliers_still_pass_through_the_normalisation(make, batch):
    plain = make(CE, head=ASCOOD.head(ASCOODConfig(), 8, 3))
    shared = make(ASCOOD, ASCOODConfig(outlier_weight=0.0, outliers="random-shuffle"))
    plain.load_state_dict(shared.state_dict())
    torch.testing.assert_close(shared.eval()(batch)["loss"], plain.eval()(batch)["loss"])
    trained, reference = shared.train()(batch)["loss"], plain.train()(batch)["loss"]
    assert not torch.allclose(trained, reference, atol=1e-6)
    assert not equal(statistics(shared), statistics(plain))


def test_separate_statistics_are_those_of_the_images_alone(make, batch):
    plain = make(CE, head=ASCOOD.head(ASCOODConfig(), 8, 3))
    separate = make(ASCOOD, ASCOODConfig(outlier_weight=0.0, batchnorm="separate"))
    plain.load_state_dict(separate.state_dict())
    for _ in range(2):
        assert torch.equal(separate(batch)["loss"], plain(batch)["loss"])
    assert equal(statistics(separate), statistics(plain))
    norms = [part for part in separate.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(norm.track_running_stats and norm.running_mean is not None for norm in norms)


def test_separate_statistics_are_restored_after_an_error(make, batch):
    method = make(ASCOOD, ASCOODConfig(batchnorm="separate"))
    before = statistics(method)
    images = torch.zeros(6, 5, 16, 16)
    with pytest.raises(RuntimeError):
        method._logits(batch.images, images)
    assert statistics(method).keys() == before.keys()


def test_separate_statistics_leave_frozen_layers_frozen(make, batch):
    method = make(ASCOOD, ASCOODConfig(batchnorm="separate"))
    method(batch)
    method.classifier.backbone.eval()
    before = statistics(method)
    logits, same = method._logits(batch.images, batch.images)
    assert torch.equal(logits, same) and equal(statistics(method), before)
    torch.testing.assert_close(logits[:1], method._logits(batch.images[:1], batch.images[:1])[0])


@pytest.mark.parametrize("training", [True, False])
def test_images_and_outliers_share_statistics_in_training_only(make, batch, training):
    method = make(ASCOOD).train(training)
    one, two = method._logits(batch.images, 3 * batch.images + 1)
    alone = method.classifier(batch.images), method.classifier(3 * batch.images + 1)
    assert torch.allclose(one, alone[0], atol=1e-5) is not training
    assert torch.allclose(two, alone[1], atol=1e-5) is not training


def test_the_loss_from_the_logits_by_hand(make, batch):
    method = make(ASCOOD, ASCOODConfig(outlier_weight=0.3, outliers="shuffle", label_smoothing=0.1)).eval()
    state = batch.generator.get_state()
    scalars = method(batch)
    batch.generator.set_state(state)
    outliers = method.outliers(batch)
    with torch.no_grad():
        logits, other = method.classifier(batch.images), method.classifier(outliers.values)
    divergence = torch.stack([(1 / 3 * (1 / 3 / p).log()).sum() for p in other.softmax(1)]).mean()
    loss_id = cross_entropy(logits, batch.labels, label_smoothing=0.1)
    torch.testing.assert_close(scalars["loss"].detach(), loss_id + 0.3 * divergence)
    torch.testing.assert_close(scalars["confidence_id"], logits.softmax(1).amax(1).mean())
    torch.testing.assert_close(scalars["confidence_outlier"], other.softmax(1).amax(1).mean())
    assert scalars["change"] == outliers.info["change"] > 0


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_outliers_have_the_strength_of_the_epoch(make, batch, epoch):
    method = make(ASCOOD, ASCOODConfig(outliers="gaussian", alpha_max=9, alpha_min=1))
    values = method.outliers(replace(batch, epoch=epoch)).values
    assert values.std().item() == pytest.approx(linear_alpha(epoch, 4, 9, 1), rel=0.05)


def test_outliers_can_be_clamped_to_what_pixels_can_be(make, batch):
    image = batch.images.clamp(-1, 1)
    made = make(ASCOOD, ASCOODConfig(outliers="gradient", clamp=True, alpha_min=1e6)).outliers(
        replace(batch, views=(image,))
    )
    assert made.values.amin() == -1 and made.values.amax() == 1


# Energies


def test_energies_by_hand(make, batch):
    method = make(ASCOOD, ASCOODConfig(outlier_loss="energy"))
    logits, other = tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]), tensor([[3.0, 3.0, 3.0]])
    method.double()
    rows = []
    for row, target in ((logits[0], 1), (logits[1], 1), (other[0], 0)):
        energy = row.exp().sum().log().view(1, 1)
        rows.append(-method.energy_head(energy).log_softmax(1)[0, target])
    torch.testing.assert_close(method._outlier_loss(logits, other), torch.stack(rows).mean(), check_dtype=False)
    # Two images of weight 1/4 and 3/4 keep two thirds of the mean over three rows.
    weighted = (2 * (0.25 * rows[0] + 0.75 * rows[1]) + rows[2]) / 3
    found = method._outlier_loss(logits, other, tensor([0.25, 0.75]))
    torch.testing.assert_close(found, weighted, check_dtype=False)


def test_energy_trains_its_network_and_the_backbone(make, batch):
    method = make(ASCOOD, ASCOODConfig(outlier_loss="energy"))
    optimizer = optimizer_for(method, TrainConfig(lr=0.1))
    before = {name: value.clone() for name, value in method.named_parameters()}
    method(batch)["loss"].backward()
    optimizer.step()
    moved = {name for name, value in method.named_parameters() if not torch.equal(value, before[name])}
    assert {name for name in before if name.startswith("energy_head")} <= moved
    assert any(name.startswith("classifier.backbone") for name in moved)
    assert not any(name.startswith("energy_head") for name in make(ASCOOD).state_dict())


# Learning rates


class TwoLayerHead(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(8, 8), nn.Linear(8, 3, bias=False))


@pytest.mark.parametrize(
    "head", [None, LinearHead(nn.Linear(8, 3, bias=False)), TwoLayerHead()], ids=["usual", "no bias", "two layers"]
)
def test_the_factor_of_the_head_goes_by_name(make, head):
    config = ASCOODConfig(fc_lr_factor=0.05, outlier_loss="energy")
    method = make(ASCOOD, config, head=head)
    method.registered_later = nn.Linear(2, 2)
    slow = {id(p) for p in method.classifier.head.parameters()}
    groups = optimizer_for(method, TrainConfig(lr=0.1)).param_groups
    assert {group["factor"] for group in groups} == {1.0, 0.05}
    for group in groups:
        assert {id(p) in slow for p in group["params"]} == {group["factor"] == 0.05}
        assert group["lr"] == pytest.approx(0.1 * group["factor"])


# Presets: the table of specification 3.6

SCRATCH = {"backbone": "resnet18-cifar", "size": None, "pretrained": None, "batch_size": 128, "epochs": 100, "lr": 0.1}
LARGE = {"backbone": "torchvision:resnet18", "size": 224, "batch_size": 128}
FINE = {"backbone": "timm:resnet50.tv_in1k", "size": 448, "batch_size": 32}
TUNED = {"pretrained": "true", "epochs": 30, "lr": 0.01}
TABLE = {
    "waterbirds": LARGE | TUNED | {"outliers": "gradient", "p_inv": 0.1, "alpha": (300, 30), "outlier_weight": 0.1},
    "celeba": LARGE | TUNED | {"outliers": "gaussian", "alpha": (0.1, 0.1)},
    "celeba-gradient": LARGE | TUNED | {"outliers": "gradient", "p_inv": 0.05, "alpha": (50, 30)},
    "cars": FINE | TUNED | {"outliers": "gradient", "p_inv": 0.1, "alpha": (0.1, 0.1)},
    "aircraft": FINE | TUNED | {"outliers": "gradient", "p_inv": 0.1, "alpha": (0.1, 0.1)},
    "cifar10": SCRATCH | {"outliers": "shuffle", "p_inv": 0.15},
    "cifar10-released": SCRATCH | {"outliers": "random-shuffle", "p_inv": 0.2, "alpha": (1, 1)},
    "cifar100": SCRATCH | {"outliers": "shuffle", "p_inv": 0.1, "outlier_weight": 5.0, "fc_lr_factor": 0.05},
}
COMMON = {"sigma": 0.5, "outlier_weight": 1.0, "fc_lr_factor": 1.0, "optimizer": "sgd", "momentum": 0.9}
COMMON |= {"weight_decay": 5e-4, "warmup": 0.0, "outlier_loss": "kl", "batchnorm": "shared", "reference_quirks": False}


@torch.no_grad()
def test_features_of_the_ablation():
    """h, h/‖h‖ and standardised, the last two of one length."""
    features = torch.rand(4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = {
        kind: ASCOOD.head(ASCOODConfig(feature_scaling=kind), 8, 3).inputs for kind in ("standardize", "unit", "none")
    }
    found = {kind: scale(features) for kind, scale in inputs.items()}
    assert torch.equal(found["none"], features)
    lengths = torch.full((4,), 0.5 * 7**0.5, dtype=torch.float64)
    torch.testing.assert_close(found["unit"].norm(dim=1), lengths)
    torch.testing.assert_close(found["standardize"].norm(dim=1), lengths, rtol=1e-4, atol=0)
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(found["unit"], features), torch.ones(4).double())


@pytest.mark.parametrize("preset", TABLE)
def test_presets_are_the_published_settings(preset):
    options = resolve_recipe("ascood", {}, preset).flat()
    options["alpha"] = (options["alpha_max"], options["alpha_min"])
    expected = COMMON | TABLE[preset]
    assert {name: options[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("shuffle", 0.15, 300.0, 30.0)),
        ({"outliers": "gradient"}, ("gradient", 0.1, 300.0, 30.0)),
        ({"outliers": "gaussian"}, ("gaussian", 0.1, 0.1, 0.1)),
        ({"outliers": "random-shuffle"}, ("random-shuffle", 0.2, 300.0, 30.0)),
        ({"outliers": "gaussian", "alpha_min": 0.0, "p_inv": 0.0}, ("gaussian", 0.0, 0.1, 0.0)),
    ],
)
def test_what_is_not_given_suits_the_kind_of_outliers(given, expected):
    """A standard deviation of 300, the strength of gradients, would be nothing but noise."""
    options = resolve_recipe("ascood", given).flat()
    assert tuple(options[name] for name in ("outliers", "p_inv", "alpha_max", "alpha_min")) == expected


# Acceptance (specification 10)


@pytest.fixture
def draw():
    """Draws noisy images of a bright 2-pixel object of one of three colours, on a background that has the same
    colour nine times in ten; the labels; and the images without their object.
    """
    g = torch.Generator().manual_seed(0)

    def draw(n):
        labels, other = torch.randint(3, (2, n), generator=g)
        background = torch.where(torch.rand(n, generator=g) < 0.9, labels, other)
        bare = 0.3 * torch.randn(n, 3, 16, 16, generator=g) + 0.5 * torch.eye(3)[background][:, :, None, None]
        images = bare.clone()
        row, column = torch.randint(2, 14, (2, n), generator=g)
        for step in (0, 1):
            images[torch.arange(n), :, row, column + step] = 6 * torch.eye(3)[labels] - 2
        return images, labels, bare

    return draw


def test_destroyed_objects_are_less_certain_than_under_cross_entropy_at_equal_accuracy(make, batch, draw):
    train, labels, _ = draw(1024)
    test, test_labels, bare = draw(1000)
    accuracy, confidence = {}, {}
    for kind, config in ((CE, None), (ASCOOD, ASCOODConfig(outliers="shuffle", p_inv=0.02))):
        method = make(kind, config)
        optimizer = torch.optim.AdamW(method.parameters(), lr=0.01)
        for epoch in range(1, 9):
            for index in torch.randperm(1024, generator=torch.Generator().manual_seed(epoch)).split(64):
                step = replace(batch, views=(train[index],), labels=labels[index], epoch=epoch, epochs=8)
                optimizer.zero_grad()
                method(step)["loss"].backward()
                optimizer.step()
        with torch.no_grad():
            method.eval()
            accuracy[kind] = (method.classifier(test).argmax(1) == test_labels).double().mean().item()
            confidence[kind] = method.classifier(bare).softmax(1).amax(1).mean().item()
    assert accuracy[CE] > 0.95 and abs(accuracy[ASCOOD] - accuracy[CE]) <= 0.02
    assert confidence[ASCOOD] < confidence[CE] - 0.1
