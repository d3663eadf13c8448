"""Networks of one's own that are unusual: other types of numbers, one logit, a mean on the scale of bytes."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import outskirts as osk
from outskirts.errors import OutskirtsError
from outskirts.models.given import given_classifier, parse_model
from outskirts.models.heads import CarriedHead, LinearHead
from outskirts.training.rebuilding import rebuild, weights_of

STATED = "size=32&mean=0.5,0.5,0.5&std=0.5,0.5,0.5"
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A network with a last step; it may take the images in another type."""

    def __init__(self, classes=4, kind=None, after=None):
        super().__init__()
        self.conv, self.fc, self.after = nn.Conv2d(3, 8, 3, 4), nn.Linear(8, classes), after or nn.Identity()
        self.kind = kind

    def forward(self, images):
        images = images if self.kind is None else images.to(self.kind)
        return self.after(self.fc(self.conv(images).relu().mean((2, 3))))


class Double(nn.Module):
    """A network of float32 that returns float64."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, images):
        return self.net(images).double()


NETS = {
    "double": lambda: Net().double(),
    "half": lambda: Net().half(),
    "casting": lambda: Net(kind=torch.float64).double(),
    "casting_half": lambda: Net(kind=torch.half).half(),
    "returning": Double,
    "binary": lambda: Net(1),
    "sigmoid": lambda: Net(1, after=nn.Sigmoid()),
    "bent": lambda: Net(1, after=nn.Hardtanh(-0.01, 0.01)),
}


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setitem(sys.modules, "unusual", sys.modules[__name__])
    for name, make in NETS.items():
        torch.manual_seed(0)
        monkeypatch.setattr(sys.modules[__name__], name, make(), raising=False)


def opened(name, said=None, more=""):
    return given_classifier(parse_model(f"module:unusual:{name}?{STATED}{more}"), (), (said or []).append)


@pytest.mark.parametrize("name", ["double", "half"])
@torch.no_grad()
def test_weights_of_another_type_are_taken_as_float32_which_is_said(name):
    said = [""]
    expected = copy.deepcopy(getattr(sys.modules[__name__], name)).eval().float()(IMAGES)
    torch.testing.assert_close(opened(name, said)(IMAGES), expected, rtol=1e-3, atol=1e-3)
    assert any("are taken as torch.float32" in one for one in said)


@pytest.mark.parametrize("name", ["casting", "casting_half", "returning"])
def test_a_network_that_insists_on_another_type_is_told_what_is_right(name):
    with pytest.raises(OutskirtsError, match=r"Images are of float32: make the weights so"):
        opened(name)


def test_weights_in_half_are_loaded(tmp_path):
    torch.save({key: value.half() for key, value in Net().state_dict().items()}, tmp_path / "w.pt")
    assert opened("binary", more="").head and opened("double", more=f"&weights={tmp_path / 'w.pt'}").dim == 8


def test_exported_programs_in_double_are_read_in_single_precision(tmp_path):
    class Functional(Net):
        def forward(self, images):
            features = self.conv(images.double()).mean((2, 3))
            weight = nn.functional.normalize(self.fc.weight)
            return nn.functional.linear(nn.functional.normalize(features), weight)

    batch = torch.export.Dim("batch")
    for place, model in enumerate((Net(kind=torch.float64).double().eval(), Functional().double().eval())):
        file = tmp_path / f"{place}.pt2"
        torch.export.save(torch.export.export(model, (IMAGES,), dynamic_shapes=({0: batch},)), file)
        classifier = given_classifier(parse_model(f"{file}?{STATED}"))
        torch.testing.assert_close(classifier(IMAGES), model(IMAGES).detach().float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("binary", LinearHead), ("sigmoid", LinearHead), ("bent", CarriedHead)])
@torch.no_grad()
def test_one_logit_is_that_of_the_second_of_two_classes(name, kind):
    classifier = opened(name)
    model = getattr(sys.modules[__name__], name)
    shares = model.eval()(IMAGES) if name == "sigmoid" else model.eval()(IMAGES).sigmoid()
    torch.testing.assert_close(classifier(IMAGES).softmax(1)[:, 1:], shares)
    assert isinstance(classifier.head, kind) and len(classifier.classes) == 2
    described = (classifier.built_from, classifier.transform, classifier.classes, weights_of(classifier))
    assert torch.equal(rebuild(*described, Path("a file"))(IMAGES), classifier(IMAGES))
    _, head = classifier.space(classifier.features(IMAGES), "head")
    assert head is None or head.weight.shape == (2, 8)


def test_one_logit_of_a_file(tmp_path):
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(Net(1).eval(), (IMAGES,), dynamic_shapes=({0: batch},)), tmp_path / "m.pt2")
    classifier = given_classifier(parse_model(f"{tmp_path / 'm.pt2'}?{STATED}"), ["a", "b"])
    assert classifier(IMAGES).shape == (3, 2) and classifier.classes == ["a", "b"]
    described = (classifier.built_from, classifier.transform, classifier.classes, weights_of(classifier))
    assert torch.equal(rebuild(*described, Path("a file"))(IMAGES), classifier(IMAGES))


def test_a_mean_on_the_scale_of_bytes_is_refused(bugs, tmp_path):
    told = r"divide by 255 what is of bytes: mean=0\.485,0\.456,0\.406 and std=0\.229,0\.224,0\.225"
    with pytest.raises(OutskirtsError, match=told):
        given_classifier(parse_model("timm:resnet10t?weights=none&mean=123.7,116.3,103.5&std=58.4,57.1,57.4"))
    with pytest.raises(OutskirtsError, match="divide by 255"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", epochs=1, mean="120,120,120", std="60,60,60")
    with pytest.raises(OutskirtsError, match="divide by 255"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", epochs=1, mean="0,0,0", std="255,255,255")
