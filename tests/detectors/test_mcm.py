import pytest
import torch
from torch import nn

from outskirts.detectors import MCM
from outskirts.detectors.msp import msp
from outskirts.errors import OutskirtsError
from outskirts.evaluation.evaluate import evaluate
from outskirts.extraction.outputs import Outputs
from outskirts.methods import registry
from outskirts.models.classifier import Backbone, Classifier
from outskirts.models.heads import PrototypeHead

FEATURES = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
TEXTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def outputs(features, head=None):
    head = head or PrototypeHead(nn.Identity(), 3, 2, temperature=0.05)
    head.prototypes.copy_(TEXTS)
    classifier = Classifier(Backbone(nn.Identity(), 2, "none"), head, None, ["a", "b", "c"])
    logits = classifier(features)
    return Outputs(features, logits, extra={"cosines": classifier.readings(features, logits)["cosines"]})


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, [0.4017595785, 0.4573288841]), (0.1, [0.8668133322, 0.8807618580])]
)
def test_vector_t10(temperature, expected):
    scores = MCM(temperature).score(outputs(FEATURES))
    assert scores.neg().exp().tolist() == pytest.approx(expected, abs=1e-7)


def test_the_published_code_flips_the_order():
    method = registry["npos-clip"]
    published = method.head(method.Config(reference_quirks=True), 2, 3)
    together = MCM().score(outputs(FEATURES, published)).neg().exp()
    assert together.tolist() == pytest.approx([0.3967780044, 0.3819435654], abs=1e-7)
    for row, value in zip(FEATURES, (0.4017595785, 0.4573288841)):
        assert MCM().score(outputs(row[None], published)).neg().exp().item() == pytest.approx(value, abs=1e-7)


def test_a_score_is_an_images_own():
    features = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * 10
    scores = MCM().score(outputs(features))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    assert torch.equal(MCM().score(outputs(features[order])), scores[order])
    for size in (1, 7):
        parts = [MCM().score(outputs(block)) for block in features.split(size)]
        assert torch.allclose(torch.cat(parts), scores, atol=1e-6)
    # Nor does its length count, unlike in the published code.
    assert torch.allclose(MCM().score(outputs(features * 3)), scores, atol=1e-6)


def test_at_the_classifiers_temperature_it_is_msp():
    found = outputs(FEATURES)
    assert torch.allclose(MCM(0.05).score(found), msp(found.logits.double()), atol=1e-6)


def test_without_prototypes_it_is_left_out():
    found = Outputs(FEATURES, torch.zeros(2, 3))
    with pytest.raises(OutskirtsError, match="'mcm' needs cosines"):
        MCM().score(found)
    results = evaluate(found, {"same": found}, ["mcm", "msp"])
    assert results.skipped == {"mcm": "needs cosines, which this classifier does not give"}


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf")])
def test_the_temperature_is_positive(temperature):
    with pytest.raises(OutskirtsError, match="above 0"):
        MCM(temperature)
