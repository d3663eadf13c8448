import pytest
import torch
from torch import nn

from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.methods import registry
from outskirts.models.classifier import Backbone, Classifier, inherit
from outskirts.models.fast import FastNet
from outskirts.models.heads import LinearHead, PrototypeHead, Standardize


def classifier(head, classes=("a", "b", "c")):
    return Classifier(Backbone(FastNet(3, 16, (8, 8, 8)), 8, "fast"), head, Transform(16), classes).eval()


def head_of(method, **options):
    kind = registry[method]
    return kind.head(kind.Config(**options), 8, 3)


@pytest.fixture
def images():
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("method", "name"), [("ce", "head"), ("ce", "raw"), ("ascood", "head"), ("cider", "projection")]
)
def test_the_linear_layer_explains_the_logits_in_its_space(method, name, images):
    made = classifier(head_of(method))
    with torch.no_grad():
        features, (weight, bias) = made.space(made.features(images), name)
        torch.testing.assert_close(features @ weight.T + bias, made(images))
    assert not weight.requires_grad and not bias.requires_grad


def test_standardised_heads_do_not_explain_their_logits_by_raw_features(images):
    made = classifier(head_of("ascood"))
    with torch.no_grad():
        features, (weight, bias) = made.space(made.features(images), "raw")
        assert torch.equal(features, made.features(images))
        assert not torch.allclose(features @ weight.T + bias, made(images), atol=1e-2)


@pytest.mark.parametrize("name", ["head", "raw"])
def test_ordinary_heads_take_the_features_themselves(name):
    made = classifier(LinearHead(nn.Linear(8, 3, bias=False)))
    features = torch.randn(2, 8)
    same, (weight, bias) = made.space(features, name)
    assert same is features and not bias.any()
    torch.testing.assert_close(made.head(features).detach(), features @ weight.T + bias)


@pytest.mark.parametrize("name", ["head", "raw"])
def test_heads_of_another_kind_have_no_weights_to_offer(name):
    made = classifier(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)))
    features = torch.randn(2, 8)
    same, linear = made.space(features, name)
    assert same is features and linear is None


@pytest.mark.parametrize("head", [LinearHead(nn.Linear(8, 3)), nn.Linear(8, 3)], ids=["linear", "user's"])
def test_a_projection_is_asked_for_in_vain_of_a_head_without(head):
    with pytest.raises(OutskirtsError, match="has no projection; take the features 'head' or 'raw'"):
        classifier(head).space(torch.randn(2, 8), "projection")


def test_readings_are_what_a_head_says_beside_its_logits(images):
    made = classifier(head_of("npos", temperature=0.05))
    with torch.no_grad():
        features, logits = made.features(images), made(images)
        readings = made.readings(features, logits)
        assert readings.keys() == {"ood_head", "projection", "cosines"}
        points, prototypes = made.head.project(features), made.head.prototypes
        assert torch.equal(readings["projection"], points) and torch.equal(
            readings["ood_head"], made.ood_logit(features)
        )
        torch.testing.assert_close(readings["cosines"], points @ prototypes.T)
    assert classifier(head_of("cider")).readings(features, logits).keys() == {"projection", "cosines"}
    assert classifier(head_of("ce")).readings(features, logits) == {}


def test_risk_is_that_of_the_head_s_network(images):
    made = classifier(head_of("npos"))
    features = made.features(images)
    assert torch.equal(made.ood_logit(features), made.head.ood_head(features, made.head(features)))
    assert made.ood_logit(features).shape == (5,)
    for head in (head_of("cider"), head_of("ce"), nn.Linear(8, 3)):
        assert classifier(head).ood_logit(features) is None


def test_a_classifier_knows_what_it_was_made_for():
    made = classifier(nn.Linear(8, 3))
    assert (made.dim, made.architecture, made.classes, made.transform.size) == (8, "fast", ["a", "b", "c"], 16)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(made(images), made.head(made.features(images)))


def test_the_fingerprint_is_of_weights_and_buffers():
    made = classifier(PrototypeHead(nn.Linear(8, 4), 3, 4))
    before = made.fingerprint()
    assert made.fingerprint() == before
    made.head.prototypes[0, 0] += 1e-6
    assert made.fingerprint() != before


# Weights of an earlier classifier


def inherited(earlier, head, classes=("a", "b", "c")):
    """The head's state after and before inheriting, and that of the earlier one's."""
    made = classifier(head, classes)
    before = {name: value.clone() for name, value in made.head.state_dict().items()}
    inherit(made, earlier)
    return made.head.state_dict(), before, earlier.head.state_dict()


@pytest.mark.parametrize("method", ["ce", "ascood", "cider", "supcon", "npos"])
def test_a_head_of_the_same_kind_is_inherited(method):
    after, before, earlier = inherited(classifier(head_of(method)), head_of(method))
    for name, value in after.items():
        assert torch.equal(value, earlier[name])
        assert name == "inputs.sigma" or not value.any() or not torch.equal(value, before[name]), name


@pytest.mark.parametrize(("method", "from_method"), [("cider", "ce"), ("ce", "cider")])
def test_a_head_of_another_kind_is_not(method, from_method):
    after, before, _ = inherited(classifier(head_of(from_method)), head_of(method))
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_what_fits_is_inherited_without_the_rest():
    after, before, earlier = inherited(classifier(head_of("cider", embedding=16)), head_of("cider", embedding=32))
    assert torch.equal(after["projection.0.weight"], earlier["projection.0.weight"])
    assert torch.equal(after["projection.2.weight"], before["projection.2.weight"])
    assert torch.equal(after["prototypes"], before["prototypes"])


def test_a_head_for_other_classes_is_not_inherited():
    after, before, _ = inherited(classifier(head_of("ce")), head_of("ce"), ("a", "b", "z"))
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_head_for_the_same_classes_in_another_order_is_inherited_by_their_names():
    after, _, earlier = inherited(classifier(head_of("ce")), head_of("ce"), ("b", "a", "c"))
    for name in ("linear.weight", "linear.bias"):
        assert torch.equal(after[name], earlier[name][[1, 0, 2]])


def test_settings_are_not_weights_and_stay():
    after, _, earlier = inherited(
        classifier(LinearHead(nn.Linear(8, 3), Standardize(0.5))), LinearHead(nn.Linear(8, 3), Standardize(0.25))
    )
    assert after["inputs.sigma"] == 0.25 and torch.equal(after["linear.weight"], earlier["linear.weight"])


def test_in_a_line_and_in_a_notebook():
    shown = classifier(LinearHead(8, 5), ("a<b", *"bcde"))
    names = "classes 5: a<b, b, c and 2 more"
    assert repr(shown) == f"Classifier(architecture fast, {names}, input 3×16×16, features 8, head LinearHead)"
    assert "5: a&lt;b, b" in shown._repr_html_()
