import pytest
import torch
from torch import nn

from outskirts.errors import OutskirtsError
from outskirts.models.adapter import adapt

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
    torch.testing.assert_close(head(features), expected)
    return backbone, head


def test_a_users_own_sequential():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 7))
    backbone, head = split(model)
    assert backbone.dim == 144 and head.out_features == 7 and backbone.name == "Sequential"
    assert isinstance(model[4], nn.Identity)


@pytest.mark.parametrize("bias", [True, False])
def test_several_layers_of_the_same_shape(bias):
    # Without biases all of these layers agree on the constant example.
    model = Body(3, 3, 3, bias=bias)
    last = model.layers[-1]
    assert split(model)[1] is last


def test_heads_that_are_zero_at_first():
    model = Body(6, 6, 6)
    for layer in model.layers[1:]:
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    last = model.layers[-1]
    assert split(model)[1] is last


def test_a_named_head():
    model = Body(5, 4)
    assert split(model, head="layers.1", name="mine")[0].name == "mine"


@pytest.mark.parametrize("head", [None, "layers.0", "layers.1"])
@pytest.mark.parametrize("after", [nn.LogSoftmax(1), nn.Hardtanh(-0.01, 0.01)])
def test_a_head_followed_by_something_is_told_with_the_layers_there_are(head, after):
    model = Body(4, 4, after=after)
    state = list(model.state_dict())
    with pytest.raises(OutskirtsError, match=r"head=NAME with one of.*: layers\.0, layers\.1\."):
        adapt(model, IMAGES, head=head)
    assert list(model.state_dict()) == state, "the model is left as it was"


def test_a_layer_that_is_not_the_last_cannot_be_the_head():
    model = Body(5, 4)
    with pytest.raises(OutskirtsError, match=r"'layers\.0' of Body is not the last step"):
        adapt(model, IMAGES, head="layers.0")
    assert model(IMAGES).shape == (2, 4)


def test_a_head_used_twice_is_not_the_last_step():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, images):
            return self.layer(self.layer(images.mean((2, 3))))

    with pytest.raises(OutskirtsError, match="'layer' of Twice is not the last step"):
        adapt(Twice(), IMAGES)


def test_a_mistyped_head_names_the_nearest():
    with pytest.raises(OutskirtsError, match=r"no linear layer 'layer\.1' in Body; did you mean 'layers\.1'"):
        adapt(Body(5, 4), IMAGES, head="layer.1")


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (lambda x: (x, x), "returns tuple"),
        (lambda x: {"logits": x}, "returns dict"),
        (lambda x: x[:, :, None], r"tensor of shape \(2, 4, 1\)"),
    ],
)
def test_what_is_no_classifier_is_told(after, found):
    class After(nn.Module):
        def forward(self, x):
            return after(x)

    with pytest.raises(OutskirtsError, match=f"Body returns.*{found}|Body {found}"):
        adapt(Body(4, after=After()), IMAGES)


def test_a_convolutional_head_is_told():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(OutskirtsError, match="it has none"):
        adapt(model, IMAGES)


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
