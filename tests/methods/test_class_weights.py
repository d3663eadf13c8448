"""Losses with weights of classes, beside plain loops over the images in double precision."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from outskirts.methods.averages import classification
from outskirts.methods.ce import CE, CEConfig
from outskirts.methods.cider import CIDER, CIDERConfig
from outskirts.methods.hypersphere import compactness, supervised_contrast
from outskirts.methods.logitnorm import LogitNorm, logit_norm
from outskirts.methods.supcon import SupCon, SupConConfig

LABELS = [0, 0, 0, 0, 0, 1, 1, 2]
#: What an image of each class counts: N / (C n).
OF_CLASS = [8 / (3 * n) for n in (5, 2, 1)]


@pytest.fixture
def labels():
    return torch.tensor(LABELS)


@pytest.fixture
def weights(labels):
    raw = torch.tensor(OF_CLASS, dtype=torch.float64)[labels]
    return raw / raw.sum()


def averaged(losses):
    """The mean over images by a loop: each loss times the weight of its class, over the sum of the weights."""
    weights = [OF_CLASS[label] for label in LABELS]
    return sum(w * loss for w, loss in zip(weights, losses)) / sum(weights)


def log_softmax(row):
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def unit(rows, dim, seed):
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(labels, weights, smoothing):
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses = []
    for row, label in zip(logits.numpy(), LABELS):
        target = np.full(3, smoothing / 3)
        target[label] += 1 - smoothing
        losses.append(-(target * log_softmax(row)).sum())
    assert classification(logits, labels, weights, smoothing).item() == pytest.approx(averaged(losses), rel=1e-12)


def test_compactness(labels, weights):
    points, prototypes = unit(8, 5, 0), unit(3, 5, 1)
    losses = [-log_softmax(row @ prototypes.numpy().T / 0.1)[label] for row, label in zip(points.numpy(), LABELS)]
    found = compactness(points, prototypes, labels, 0.1, weights)
    assert found.item() == pytest.approx(averaged(losses), rel=1e-10)


def test_contrast(labels, weights):
    points = unit(8, 5, 2)
    total = weight = 0.0
    for i in range(8):
        others = [j for j in range(8) if j != i]
        positives = [j for j in others if LABELS[j] == LABELS[i]]
        if positives:  # The only image of its class attracts none, and does not count.
            cosines = {j: float(points[i] @ points[j]) / 0.1 for j in others}
            everything = np.log(sum(np.exp(value) for value in cosines.values()))
            total += OF_CLASS[LABELS[i]] * -np.mean([cosines[p] - everything for p in positives])
            weight += OF_CLASS[LABELS[i]]
    found = supervised_contrast(points, labels, 0.1, weights)
    assert found.item() == pytest.approx(total / weight, rel=1e-10)


@pytest.fixture
def given(batch, labels, weights):
    """A batch of eight images and its weights, with as many views as asked for."""

    def given(views=1):
        images = torch.randn(views, 8, 3, 16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        return replace(batch, views=tuple(images), labels=labels, weights=weights)

    return given


def test_cross_entropy_of_a_step(make, given):
    method, batch = make(CE, CEConfig(label_smoothing=0.1)).double().eval(), given()
    rows = method.classifier(batch.images).detach().numpy()
    losses = [-(0.9 * log_softmax(row)[c] + 0.1 * log_softmax(row).mean()) for row, c in zip(rows, LABELS)]
    assert method(batch)["loss"].item() == pytest.approx(averaged(losses), rel=1e-9)


def test_logitnorm_of_a_step(make, given):
    method, batch = make(LogitNorm).double().eval(), given()
    rows = logit_norm(method.classifier(batch.images).float(), 0.04).detach().double().numpy()
    losses = [-log_softmax(row)[c] for row, c in zip(rows, LABELS)]
    assert method(batch)["loss"].item() == pytest.approx(averaged(losses), rel=1e-5)


def test_prototypes_of_a_step_weigh_the_images_of_all_views(make, given):
    method, batch = make(CIDER, CIDERConfig(embedding=4)).double().eval(), given(views=2)
    found = method(batch)["loss_compactness"].item()
    rows = method.classifier.head.project(method.classifier.features(torch.cat(batch.views))).detach().numpy()
    losses = [-log_softmax(r @ method.sphere.prototypes.numpy().T / 0.1)[c] for r, c in zip(rows, LABELS * 2)]
    assert found == pytest.approx(np.mean([averaged(losses[:8]), averaged(losses[8:])]), rel=1e-5)


def test_a_step_of_contrast_is_the_contrast(make, given, labels, weights):
    config = SupConConfig(embedding=4, contrast_weight=1.0)
    method, batch = make(SupCon, config).double().eval(), given(views=2)
    points = method.classifier.head.project(method.classifier.features(torch.cat(batch.views))).detach()
    expected = supervised_contrast(points, labels.repeat(2), config.temperature, weights.repeat(2) / 2)
    assert method(batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-9)
