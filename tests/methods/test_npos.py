from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from outskirts.data.loading.batches import Batch
from outskirts.errors import OutskirtsError
from outskirts.methods.cider import CIDER, CIDERConfig
from outskirts.methods.exposure import ood_head_loss
from outskirts.methods.npos import NPOS, NPOSConfig
from outskirts.testing import check_method

SMALL = NPOSConfig(k=2, boundary=3, picks=2, candidates=8, keep=2, queue=20, start=0.0, embedding=4)


def batches(count, epoch=1, epochs=4, rows=12):
    for number in range(count):
        g = torch.Generator().manual_seed(number)
        views = tuple(torch.randn(rows, 3, 16, 16, generator=g) for _ in range(2))
        yield Batch(views, torch.arange(rows) % 3, epoch, epochs, g)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"space": "raw", "prototypes": "mean", "prototype_freeze": 0.5, "views": 1},
        {"prototypes": "learned", "projection": "linear", "selection": "random", "reduction": "pooled"},
        {"reference_quirks": True, "start": 0.4},
        {"projection": "none", "ood_head_hidden": 8},
    ],
)
def test_contract(options):
    check_method("npos", replace(SMALL, **options))


def test_the_loss_is_that_of_cider_and_the_risk(make):
    config = replace(SMALL, outlier_weight=0.3)
    method, twin = make(NPOS, config), make(NPOS, config)
    (batch,) = batches(1)
    scalars = method(batch)
    features, projections, labels = twin.embed(batch)
    twin.fill_queue(features, labels)
    (again,) = batches(1)
    outliers = twin.outliers(again)
    assert outliers is not None and scalars["ready"] == 1
    risk = ood_head_loss(twin.classifier.ood_logit(features), twin.classifier.ood_logit(outliers.values))
    expected = twin.embedding_loss(projections, labels, batch)["loss"] + 0.3 * risk
    torch.testing.assert_close(scalars["loss"], expected)
    torch.testing.assert_close(scalars["loss_outlier"], risk.detach())


def test_before_the_start_it_is_cider(make):
    config = replace(SMALL, start=0.5)
    method = make(NPOS, config)
    shared = {name: getattr(config, name) for name in CIDERConfig.__dataclass_fields__}
    twin = make(CIDER, CIDERConfig(**shared), head=make(NPOS, config).classifier.head)
    (early,), (late,) = batches(1, epoch=2), batches(1, epoch=3)
    scalars = method(early)
    torch.testing.assert_close(scalars["loss"], twin(early)["loss"])
    assert scalars["ready"] == 0 and scalars["loss_outlier"] == 0 and method.outliers(early) is None
    assert method.queue.filled.tolist() == [8, 8, 8], "both views are remembered from the first step on"
    assert method(late)["loss_outlier"] > 0


def test_outliers_train_the_risk_and_only_images_the_network(make):
    method = make(NPOS, SMALL)
    (batch,) = batches(1)
    features, _, labels = method.embed(batch)
    method.fill_queue(features, labels)
    outliers = method.outliers(batch)
    assert not outliers.values.requires_grad
    method.classifier.ood_logit(outliers.values).sum().backward()
    assert all(p.grad is None for p in method.classifier.backbone.parameters())
    assert all(p.grad is not None for p in method.sphere.ood_head.parameters())
    method.classifier.ood_logit(features).sum().backward()
    assert any(p.grad.any() for p in method.classifier.backbone.parameters())


def test_outliers_from_the_sphere_have_the_length_of_their_source(make):
    method = make(NPOS, SMALL)
    features = torch.randn(30, 8) * torch.linspace(1, 9, 30)[:, None]
    method.fill_queue(features, torch.arange(30) % 3)
    (batch,) = batches(1)
    outliers = method.outliers(batch)
    source = method.queue.values[outliers.labels, outliers.info["boundary"]]
    torch.testing.assert_close(outliers.values.norm(dim=1), source.norm(dim=1))
    cosines = (normalize(outliers.values, dim=1) * normalize(source, dim=1)).sum(1)
    assert (cosines > 0.95).all() and (cosines < 1 - 1e-6).all()


def test_published_queues_are_emptied_with_every_epoch_and_counted_as_full(make):
    quirky, method = (make(NPOS, replace(SMALL, reference_quirks=quirks, start=0.4)) for quirks in (True, False))
    for one in (quirky, method):
        for epoch in (1, 2):
            for batch in batches(2, epoch=epoch):
                one(batch)
    assert quirky.queue.filled.tolist() == method.queue.filled.tolist() == [20, 20, 20]
    empty = [(one.queue.values == 0).all(2).sum(1).tolist() for one in (quirky, method)]
    assert empty == [[4, 4, 4], [0, 0, 0]]


def test_learning_rate_of_the_risk(make):
    name = "classifier.head.ood_head.network.0.weight"
    assert name in dict(make(NPOS, SMALL).named_parameters())
    assert make(NPOS, replace(SMALL, ood_head_lr_factor=0.1)).lr_factor(name) == 0.1
    assert make(NPOS, replace(SMALL, ood_head_lr_factor=0.1)).lr_factor("classifier.head.projection.0.weight") == 1
    assert make(NPOS, replace(SMALL, ood_head_lr_factor=0.1, reference_quirks=True)).lr_factor(name) == 1


def test_the_average_of_the_published_code_hardly_counts_the_images():
    images, outliers = torch.tensor([2.0, -1.0]), torch.zeros(1000)
    pooled, balanced = (ood_head_loss(images, outliers, how) for how in ("pooled", "balanced"))
    assert abs(pooled - 0.6931) < 0.01 and balanced > 1.3


def test_queues_too_short_for_k_are_refused(make):
    with pytest.raises(OutskirtsError, match="k = 30"):
        make(NPOS, replace(SMALL, k=30))


def test_options_out_of_range():
    for options, said in (({"start": 2.0}, "start"), ({"temperature": 0.0}, "temperature")):
        with pytest.raises(OutskirtsError, match=said):
            replace(SMALL, **options)


def test_features_drawing_together_lead_to_a_warning(make):
    method = make(NPOS, SMALL)
    fine = {"collapsed_steps": 0.0, "boundary_distance": 0.5, "kept_distance": 0.6}
    assert method.warning(fine) == ""
    assert method.warning(fine | {"boundary_distance": 0.0, "kept_distance": 0.0}) == ""
    warning = method.warning(fine | {"boundary_distance": 0.009, "kept_distance": 0.121})
    assert "squared distance of 0.009" in warning and "Outliers have 0.121" in warning and "--outlier-weight" in warning
    # What CIDER warns of is still said.
    collapsed = {"collapsed_steps": 300.0, "angle_nearest": 3.0, "angle_between": 10.0}
    assert method.warning(fine | collapsed).startswith("Prototypes have collapsed")
