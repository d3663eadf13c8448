"""What methods on the hypersphere share, seen on CIDER."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.evaluation.evaluate import choose_detectors
from outskirts.methods.cider import CIDER, CIDERConfig
from outskirts.methods.embedding import EmbeddingConfig, full_precision
from outskirts.methods.hypersphere import angles
from outskirts.methods.supcon import SupCon, SupConConfig
from outskirts.models.classifier import Backbone, Classifier
from outskirts.models.heads import PrototypeHead

KINDS = [CIDER, SupCon]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prototype_momentum": 1.5}, "prototype_momentum must be a number from 0 to 1, not 1.5"),
        ({"prototype_momentum": float("nan")}, "prototype_momentum must be a number from 0 to 1"),
        ({"temperature": 0.0}, "temperature must be a number above 0, not 0.0"),
        ({"temperature": float("nan")}, "temperature must be a number above 0"),
        ({"views": 0}, "views must be a whole number of at least 1, not 0"),
        ({"embedding": 0}, "embedding must be a whole number of at least 1"),
        ({"neighbours": -3}, "neighbours must be a whole number of at least 1, not -3"),
    ],
)
def test_options_that_make_no_sense_are_told(options, sentence):
    for config in (EmbeddingConfig, CIDERConfig, SupConConfig):
        with pytest.raises(OutskirtsError, match=sentence):
            config(**options)


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_is_as_the_options_say(kind):
    head = kind.head(kind.Config(embedding=5, temperature=0.3, projection="linear"), 8, 3)
    assert isinstance(head, PrototypeHead) and isinstance(head.projection, nn.Linear)
    assert head.prototypes.shape == (3, 5) and head.temperature == 0.3
    assert isinstance(kind.head(kind.Config(), 8, 3).projection, nn.Sequential)
    assert kind.head(kind.Config(), 8, 3).prototypes.shape == (3, 128)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 0])
def test_one_class_is_told(kind, count):
    head = kind.head(kind.Config(), 8, 1)
    classifier = Classifier(Backbone(nn.Identity(), 8, "none"), head, Transform(16), ["ant"][:count])
    sentence = (
        f"The method '{kind.name}' needs at least 2 classes, to keep them apart; the training images have {count}"
    )
    with pytest.raises(OutskirtsError, match=sentence):
        kind(kind.Config(), classifier)


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_detector_is_knn_with_its_neighbours(kind):
    published = kind.detectors(kind.Config(neighbours=7))
    chosen = choose_detectors(["msp", "knn", {"name": "knn", "k": 3}], published)
    assert [getattr(detector, "k", None) for detector in chosen.values()] == [None, 7, 3]
    assert choose_detectors(["knn"])["knn"].k != 7
    assert choose_detectors("all", published)["knn"].k == 7


@pytest.mark.parametrize("views", [1, 2, 3])
def test_views_come_one_block_after_the_other(make, batch, views):
    method = make(CIDER, CIDERConfig(views=views, embedding=4)).eval()
    assert method.views == views
    several = tuple(batch.images + i for i in range(views))
    features, points, labels = method.embed(replace(batch, views=several))
    assert labels.tolist() == batch.labels.tolist() * views
    for i, images in enumerate(several):
        rows = slice(6 * i, 6 * (i + 1))
        torch.testing.assert_close(features[rows], method.classifier.features(images))
        expected = normalize(method.sphere.projection(method.classifier.features(images)), dim=1)
        torch.testing.assert_close(points[rows], expected)


@pytest.mark.parametrize("prototypes", ["ordered", "mean", "learned"])
def test_prototypes_begin_at_the_class_means_of_projections(make, batch, prototypes):
    method = make(CIDER, CIDERConfig(prototypes=prototypes, embedding=4)).eval()
    images, labels = torch.cat([batch.images, -batch.images[:3]]), torch.tensor([0, 1, 2, 0, 1, 2, 2, 2, 0])
    with torch.no_grad():
        method.prepare(zip(images.split(4), labels.split(4)))
        sums = torch.zeros(3, 4, dtype=torch.float64)
        counts = torch.zeros(3, dtype=torch.float64)
        for image, label in zip(images, labels.tolist()):
            projected = method.sphere.projection(method.classifier.features(image[None]))[0].double()
            sums[label] += projected / projected.norm()
            counts[label] += 1
        means = sums / counts[:, None]
    expected = means / means.norm(dim=1, keepdim=True)
    torch.testing.assert_close(method.sphere.prototypes.detach().double(), expected, rtol=0, atol=1e-5)
    assert isinstance(method.sphere.prototypes, nn.Parameter) is (prototypes == "learned")


def test_preparing_changes_nothing_but_the_prototypes(make, batch):
    method = make(CIDER).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with torch.no_grad():
        method.prepare([(batch.images, batch.labels)])
    changed = [name for name, value in method.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["classifier.head.prototypes"]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_angles_are_not_rounded_under_autocast(make, batch, kind, monkeypatch):
    rows, head = (
        torch.randn(12, 8, generator=torch.Generator().manual_seed(0)),
        PrototypeHead(nn.Identity(), 3, 8, 0.02),
    )
    results = []
    for enabled in (False, True):
        method = make(kind, kind.Config(embedding=8, temperature=0.02), head=deepcopy(head))
        monkeypatch.setattr(method.classifier, "features", lambda images: rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            scalars = method(replace(batch, views=(batch.images,) * 2))
        results.append((scalars, method.sphere.prototypes))
    (full, prototypes), (mixed, same) = results
    assert torch.equal(prototypes, same)
    for name, value in full.items():
        assert torch.equal(mixed[name], value), name
        assert mixed[name].dtype == torch.float32


def test_full_precision_ends_with_its_block():
    values = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(values):
            assert (values @ values).dtype == torch.float32
        assert (values @ values).dtype == torch.bfloat16


def test_geometry_is_that_of_the_directions(make):
    method = make(CIDER, CIDERConfig(prototypes="learned", embedding=4))
    method.sphere.prototypes.data.mul_(torch.tensor([[3.0], [0.1], [1.0]]))
    points, labels = normalize(torch.randn(6, 4), dim=1), torch.tensor([0, 1, 2, 2, 1, 0])
    found = method.geometry(points.requires_grad_(), labels)
    expected = angles(points, normalize(method.sphere.prototypes, dim=1), labels)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) and not found[name].requires_grad for name in found)
