import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from outskirts.errors import OutskirtsError
from outskirts.models.adapter import adapt, without_logits
from outskirts.models.heads import CarriedHead, LinearHead, ModuleHead, NoHead

IMAGES = torch.zeros(2, 3, 8, 8)


class Body(nn.Module):
    """Pooled colours, then layers of the given widths with the same in between."""

    def __init__(self, *widths, bias=True, after=None):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o, bias=bias) for i, o in zip((3, *widths), widths))
        self.after = after or nn.Identity()

    def forward(self, images):
        x = images.mean((2, 3))
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.after(self.layers[-1](x))


def split(model, **options):
    """The split model, checked to compose into the original on other images."""
    images = torch.randn(5, 3, 8, 8)
    expected = model.eval()(images)
    backbone, head = adapt(model, IMAGES, **options)
    features = backbone.network(images)
    assert features.shape == (5, backbone.dim)
    torch.testing.assert_close(head(features), expected, rtol=1e-4, atol=1e-5)
    return backbone, head


def test_a_users_own_sequential():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 7))
    backbone, head = split(model)
    assert backbone.dim == 144 and head.linear.out_features == 7 and backbone.name == "Sequential"
    assert isinstance(model[4], nn.Identity)


@pytest.mark.parametrize("bias", [True, False])
def test_several_layers_of_the_same_shape(bias):
    # Without biases all of these layers agree on the constant example.
    model = Body(3, 3, 3, bias=bias)
    last = model.layers[-1]
    assert split(model)[1].linear is last


def test_heads_that_are_zero_at_first():
    model = Body(6, 6, 6)
    for layer in model.layers[1:]:
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    last = model.layers[-1]
    assert split(model)[1].linear is last


def test_a_named_head():
    model = Body(5, 4)
    assert split(model, head="layers.1", name="mine")[0].name == "mine"


@pytest.mark.parametrize("head", [None, "layers.1"])
@pytest.mark.parametrize("after", [nn.LogSoftmax(1), nn.Softmax(1)])
def test_the_logits_before_a_softmax_are_found(head, after):
    model = Body(4, 4, after=after).eval()
    images = torch.randn(5, 3, 8, 8)
    probabilities = model(images).exp() if isinstance(after, nn.LogSoftmax) else model(images)
    last = model.layers[-1]
    backbone, found = adapt(model, IMAGES, head=head)
    assert found.linear is last
    torch.testing.assert_close(found(backbone.network(images)).softmax(1), probabilities)


@pytest.mark.parametrize("head", [None, "layers.1"])
def test_the_logits_before_a_sigmoid_are_found(head):
    """Those of a network with several labels: each is the log-odds of one."""
    model = Body(4, 4, after=nn.Sigmoid()).eval()
    images = torch.randn(5, 3, 8, 8)
    shares = model(images)
    last = model.layers[-1]
    backbone, found = adapt(model, IMAGES, head=head)
    assert found.linear is last
    torch.testing.assert_close(found(backbone.network(images)).sigmoid(), shares)


def test_logits_that_no_layer_makes_go_with_the_last_features():
    model = Body(4, 4, after=nn.Hardtanh(-0.01, 0.01))
    backbone, head = split(model)
    assert isinstance(head, CarriedHead) and head.dim + 4 == backbone.dim
    images = torch.randn(3, 3, 8, 8)
    assert head.space(backbone.network(images), "head")[0].shape == (3, head.dim)


def test_features_can_be_named():
    model = Body(5, 6, 4)
    backbone, head = split(model, features="layers.1")
    images = torch.randn(3, 3, 8, 8)
    features, linear = head.space(backbone.network(images), "head")
    expected = model.layers[1](model.layers[0](images.mean((2, 3))).relu())
    torch.testing.assert_close(features, expected)
    assert linear is None, "a ReLU lies between them and the logits"
    with pytest.raises(OutskirtsError, match=r"no module 'layers\.9' that gives features .*; did you mean 'layers\.1'"):
        adapt(Body(5, 4), IMAGES, features="layers.9")


def test_a_layer_that_is_not_the_last_cannot_be_the_head():
    model = Body(5, 4)
    with pytest.raises(OutskirtsError, match=r"'layers\.0' of Body is not the last step"):
        adapt(model, IMAGES, head="layers.0")
    assert model(IMAGES).shape == (2, 4)


def test_a_head_used_twice_is_no_head():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(3, 3)
            self.layer = nn.Linear(3, 3)

        def forward(self, images):
            return self.layer(self.layer(self.body(images.mean((2, 3)))))

    _, head = split(Twice())
    assert isinstance(head, CarriedHead) and head.linear is None


def test_a_mistyped_head_names_the_nearest():
    with pytest.raises(OutskirtsError, match=r"no module 'layer\.1' in Body; did you mean 'layers\.1'"):
        adapt(Body(5, 4), IMAGES, head="layer.1")


class After(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (lambda x: (x, x), r"Body returns tuple.*pass output=NAME with one of: 0 of shape \(4, 4\), 1 of"),
        (lambda x: {"a": x, "b": x}, r"Body returns dict.*one of: a of shape \(4, 4\), b of"),
        (lambda x: None, "Body returns NoneType without a tensor"),
        (lambda x: x[:, :, None].expand(-1, -1, 3), r"tensor of shape \(4, 4, 3\)"),
    ],
)
def test_what_is_no_classifier_is_told(after, found):
    with pytest.raises(OutskirtsError, match=found):
        adapt(Body(4, after=After(after)), IMAGES)


@pytest.mark.parametrize(
    ("after", "output"),
    [
        (lambda x: (x, x[:, :, None]), None),
        (lambda x: {"loss": x.mean(), "logits": x, "more": x}, None),
        (lambda x: (2 * x, x), "1"),
        (lambda x: {"a": -x, "b": x}, "b"),
    ],
)
def test_logits_are_found_or_named_in_what_is_returned(after, output):
    torch.manual_seed(0)
    model, images = Body(5, 4), torch.randn(5, 3, 8, 8)
    expected = model.eval()(images)
    model.after = After(after)
    backbone, head = adapt(model, IMAGES, output=output)
    torch.testing.assert_close(head(backbone.network(images)), expected)
    with pytest.raises(OutskirtsError, match=r"no tensor 'zz' in what Body returns"):
        adapt(model, IMAGES, output="zz")


def test_a_convolution_and_a_mean_are_linear():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone, head = split(model)
    assert isinstance(head, LinearHead) and backbone.dim == 3


def test_a_convolution_a_relu_and_a_mean_have_a_nearest_linear_layer():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    _, head = split(model)
    assert isinstance(head, CarriedHead)
    torch.testing.assert_close(head.linear.weight, model[0].weight.flatten(1), atol=1e-6, rtol=1e-5)


def test_two_heads_that_are_averaged_are_one_layer():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, images):
            return (self.a(images.mean((2, 3))) + self.b(images.amax((2, 3)))) / 2

    backbone, head = split(Two())
    assert isinstance(head, LinearHead) and backbone.dim == 6


@pytest.mark.parametrize("scale", [1, 1e-3], ids=["usual logits", "logits of an untrained network"])
def test_two_heads_on_the_same_features_are_one_layer_on_them(scale):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.ModuleList(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4)) for _ in range(2))
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=scale)

        def forward(self, images):
            pooled = images.mean((2, 3))
            return 0.3 * self.heads[0](pooled) + 0.7 * self.heads[1](pooled)

    model = Two()
    backbone, head = split(model)
    assert isinstance(head, LinearHead) and backbone.dim == 3
    pooled = torch.randn(5, 3)
    expected = 0.3 * model.heads[0](pooled) + 0.7 * model.heads[1](pooled)
    torch.testing.assert_close(head(pooled), expected, rtol=1e-4, atol=1e-4 * scale**2)


def test_features_that_go_with_logits_are_what_the_last_module_takes():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Linear(5, 4)

        def forward(self, maps):
            return self.tokens(maps.flatten(2).mT).amax(1)

    _, head = split(nn.Sequential(nn.Conv2d(3, 5, 1), Attention()))
    assert isinstance(head, CarriedHead) and head.linear is None and head.dim == 5


def test_images_are_no_features():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.mix = nn.Conv2d(3, 5, 4, 4), nn.Linear(5, 5)

        def forward(self, images):
            return self.mix(self.patches(images).flatten(2).mT).sin().mean(1)

    model = Tokens()
    with pytest.raises(OutskirtsError, match=r"No module of Tokens takes or gives features .* pass head=none"):
        adapt(model, IMAGES)
    assert [name for name, _ in model.named_modules()] == ["", "patches", "mix"]
    assert adapt(model, IMAGES, head="none")[0].dim == 5


def test_cosines_are_linear_on_the_sphere():
    class Cosines(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3))

        def forward(self, x):
            return 7 * normalize(x, dim=1) @ normalize(self.weight, dim=1).T

    model = Body(3, 3)
    model.layers[-1] = Cosines()
    _, head = split(model)
    assert isinstance(head, LinearHead) and not isinstance(head.inputs, nn.Identity)
    torch.testing.assert_close(head.linear.weight.norm(dim=1), torch.full((4,), 7.0), rtol=1e-4, atol=1e-4)


def test_a_weight_without_a_module_is_found():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.weight = nn.Linear(3, 6), nn.Parameter(torch.randn(4, 6))
            self.bias = nn.Parameter(torch.randn(4))

        def forward(self, images):
            return self.body(images.mean((2, 3))) @ self.weight.T + self.bias

    model = Functional()
    backbone, head = split(model)
    assert isinstance(head, LinearHead) and backbone.dim == 6
    torch.testing.assert_close(head.linear.bias, model.bias, rtol=1e-4, atol=1e-5)


def test_a_head_of_its_own_kind_is_kept():
    model = Body(3, 3)
    model.layers[-1] = nn.Sequential(nn.Linear(3, 5), nn.PReLU())
    _, head = split(model, head="layers.1")
    assert isinstance(head, ModuleHead)


def test_a_network_without_a_head_gives_its_features():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1))
    backbone, head = adapt(model, IMAGES, head="none")
    assert backbone.dim == 5 and isinstance(head, NoHead)
    assert backbone.network(IMAGES).shape == (2, 5)
    with pytest.raises(OutskirtsError, match="no head, so it gives no logits"):
        head(backbone.network(IMAGES))


def test_a_network_that_is_random_is_told():
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, images):
            return self.layer(nn.functional.dropout(images.mean((2, 3)), 0.5, training=True))

    with pytest.raises(OutskirtsError, match="gives other logits each time"):
        adapt(Random(), IMAGES)


def test_images_a_model_cannot_take_are_told():
    model = nn.Sequential(nn.Flatten(), nn.Linear(7, 4))
    with pytest.raises(OutskirtsError, match=r"cannot take images of shape \(3, 8, 8\)"):
        adapt(model, IMAGES)


@pytest.mark.parametrize("training", [True, False])
def test_modes_statistics_and_hooks_are_as_before(training):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 7)).train(training)
    rng = torch.get_rng_state()
    _, head = adapt(model, IMAGES)
    assert all(part.training is training for part in model.modules())
    assert model[1].num_batches_tracked == 0 and not head._forward_hooks
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_layer_in_place_is_not_taken_for_the_one_before_it():
    layers = [nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 5, 1), nn.ReLU(inplace=True), nn.Flatten()]
    _, head = split(nn.Sequential(*layers))
    assert isinstance(head, CarriedHead)


class Functional(nn.Module):
    """Convolutions by modules, and a head of which there is the weight alone."""

    def __init__(self, head, body=None):
        super().__init__()
        self.body = body or nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(inplace=True))
        self.w = nn.Parameter(torch.randn(4, 12))
        self.head = head

    def forward(self, images):
        return self.head(self.body(images), self.w)


@pytest.mark.parametrize(
    "head",
    [
        lambda maps, w: maps.mean((2, 3)) @ w.T,
        lambda maps, w: nn.functional.linear(maps.mean((2, 3)), w),
        lambda maps, w: torch.einsum("bd,cd->bc", maps.mean((2, 3)), w),
        lambda maps, w: 16 * normalize(maps.mean((2, 3))) @ normalize(w).T,
        lambda maps, w: 16 * nn.functional.linear(normalize(maps.mean((2, 3))), normalize(w)),
    ],
)
def test_a_head_without_a_module_takes_the_last_maps(head):
    torch.manual_seed(0)
    model = Functional(head)
    backbone, found = split(model)
    images = torch.randn(3, 3, 8, 8)
    assert isinstance(found, LinearHead)
    torch.testing.assert_close(backbone.network(images), model.body(images).mean((2, 3)))


class Squeezed(nn.Module):
    """Maps that are weighted by what a linear layer makes of their averages, before a convolution."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.gate = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3), nn.Linear(8, 8)

    def forward(self, images):
        maps = self.a(images)
        return self.b(maps * self.gate(maps.mean((2, 3))).sigmoid()[:, :, None, None])


@pytest.mark.parametrize("body", [None, nn.Conv2d(3, 12, 3), Squeezed()])
def test_what_a_convolution_takes_is_no_feature(body):
    torch.manual_seed(0)
    backbone, head = split(Functional(lambda maps, w: maps.relu().amax((2, 3)) @ w.T, body))
    assert isinstance(head, CarriedHead) and head.dim == 0 and backbone.dim == 4, "logits alone"
    with pytest.raises(OutskirtsError, match="Nothing tells the features of Functional"):
        without_logits(backbone, head)
