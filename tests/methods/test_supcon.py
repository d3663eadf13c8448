from dataclasses import replace

import pytest
import torch

from outskirts.methods.hypersphere import mean_update, supervised_contrast
from outskirts.methods.supcon import SupCon, SupConConfig
from outskirts.testing import check_method
from outskirts.training.config import resolve_recipe


@pytest.mark.parametrize("options", [{"views": 1}, {"projection": "linear", "embedding": 3}, {"temperature": 0.5}])
def test_contract_of_the_variants(options):
    check_method("supcon", SupConConfig(**options))


@pytest.fixture
def views(batch):
    return replace(batch, views=(batch.images, batch.images.flip(3)))


def test_a_step_by_hand(make, views):
    method = make(SupCon, SupConConfig(embedding=4, temperature=0.2, contrast_weight=3.0)).eval()
    before = method.sphere.prototypes.clone()
    scalars = method(views)
    with torch.no_grad():
        points = torch.cat([method.sphere.project(method.classifier.features(images)) for images in views.views])
    labels = views.labels.repeat(2)
    expected = 3 * supervised_contrast(points, labels, 0.2)
    torch.testing.assert_close(scalars["loss"].detach(), expected)
    torch.testing.assert_close(method.sphere.prototypes, mean_update(before, points, labels, 0.99))
    assert scalars.keys() == {"loss", "angle_between", "angle_nearest", "angle_own"}


def test_the_published_factor_is_in_the_weight():
    assert SupConConfig().contrast_weight == pytest.approx(1.4285714286)
    assert (SupConConfig().prototype_momentum, SupConConfig().temperature, SupConConfig().views) == (0.99, 0.1, 2)


def test_prototypes_take_no_part_in_the_loss(make, views):
    losses, gradients = [], []
    for scale in (1, -1):
        method = make(SupCon).eval()
        method.sphere.prototypes.mul_(scale)
        loss = method(views)["loss"]
        loss.backward()
        losses.append(loss.item())
        gradients.append(method.classifier.head.projection[0].weight.grad)
        assert not method.sphere.prototypes.requires_grad
    assert losses[0] == losses[1] and torch.equal(*gradients)


def test_with_one_view_images_alone_in_their_class_only_repel(make, batch):
    method = make(SupCon, SupConConfig(views=1))
    loss = method(replace(batch, labels=torch.tensor([0, 0, 0, 0, 1, 2])))["loss"]
    loss.backward()
    assert loss.isfinite() and loss > 0


def test_logits_follow_the_class_means(make, views):
    """After training a little on fixed images, the nearest prototype is that of the class."""
    method = make(SupCon, SupConConfig(embedding=8))
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        method(views)["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        assert method.classifier(views.images).argmax(1).tolist() == views.labels.tolist()


@pytest.mark.parametrize(("preset", "backbone"), [("cifar10", "resnet18-cifar"), ("cifar100", "resnet34-cifar")])
def test_presets_are_the_published_settings(preset, backbone):
    options = resolve_recipe("supcon", {}, preset).flat()
    expected = {"backbone": backbone, "epochs": 500, "batch_size": 512, "lr": 0.5, "weight_decay": 1e-4}
    expected |= {"schedule": "epoch-cosine", "warmup": 0.02, "temperature": 0.1, "embedding": 128, "views": 2}
    assert {name: options[name] for name in expected} == expected
