import torch
from torch import nn

from outskirts.data.transform import Transform
from outskirts.methods import registry
from outskirts.models.classifier import Backbone, Classifier
from outskirts.models.fast import FastNet
from outskirts.models.heads import LinearHead


def classifier(head):
    return Classifier(Backbone(FastNet(3, 16, (8, 8, 8)), 8, "fast"), head, Transform(16), ("a", "b", "c")).eval()


def test_standardised_heads_explain_their_logits_by_head_inputs_only():
    kind = registry["ascood"]
    made = classifier(kind.head(kind.Config(), 8, 3))
    images = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        features, logits = made.features(images), made(images)
        weight, bias = made.linear
        torch.testing.assert_close(made.head_inputs(features) @ weight.T + bias, logits)
        assert not torch.allclose(features @ weight.T + bias, logits, atol=1e-2)
    assert not weight.requires_grad and not bias.requires_grad


def test_ordinary_heads_take_the_features_themselves():
    made = classifier(LinearHead(nn.Linear(8, 3, bias=False)))
    features = torch.randn(2, 8)
    weight, bias = made.linear
    assert made.head_inputs(features) is features and not bias.any()
    torch.testing.assert_close(made.head(features).detach(), features @ weight.T + bias)


def test_heads_of_another_kind_have_no_weights_to_offer():
    made = classifier(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)))
    features = torch.randn(2, 8)
    assert made.linear is None and made.head_inputs(features) is features


def test_a_classifier_knows_what_it_was_made_for():
    made = classifier(nn.Linear(8, 3))
    assert (made.dim, made.architecture, made.classes, made.transform.size) == (8, "fast", ["a", "b", "c"], 16)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(made(images), made.head(made.features(images)))
