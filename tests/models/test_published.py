"""Each layout against a network of one's own that is put together as those repositories do."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize, relu

from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.models.backbones import build_backbone
from outskirts.models.classifier import Classifier
from outskirts.models.published import LAYOUTS, Published
from outskirts.seeding import isolated
from outskirts.training.config import resolve_recipe
from outskirts.training.loading import assemble


def translate(layout: str, checkpoint: dict, classes: int = 4) -> Published:
    return LAYOUTS[layout](checkpoint, "", classes)


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class ResNet(nn.Module):
    """The one for images of 32 pixels that most repositories share, with random statistics."""

    def __init__(self, counts: tuple[int, ...] = (2, 2, 2, 2), classes: int | None = None, last: str = "fc") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        width = 64
        for number, count in enumerate(counts, start=1):
            blocks = []
            for place in range(count):
                blocks.append(Block(width, 64 * 2 ** (number - 1), 2 if number > 1 and not place else 1))
                width = 64 * 2 ** (number - 1)
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.last = last
        if classes:
            setattr(self, last, nn.Linear(width, classes))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)

    def features(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return adaptive_avg_pool2d(x, 1).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return getattr(self, self.last)(features) if hasattr(self, self.last) else features


@pytest.fixture(autouse=True)
def seeded():
    with isolated(0, "published"):
        yield


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def imported(layout: str, checkpoint: dict, classes: int = 4) -> Classifier:
    found = translate(layout, checkpoint)
    assert not found.left
    backbone = build_backbone(found.backbone, 3, 32)
    recipe = resolve_recipe(found.method, {"backbone": found.backbone, **found.settings})
    classifier = assemble(recipe, backbone, Transform(32), [str(c) for c in range(classes)])
    classifier.load_state_dict(dict(found.state))
    return classifier.eval()


def wrapped(state: dict, *parts: str) -> dict:
    """As DataParallel names tensors: of the whole, or of parts."""
    if not parts:
        return {f"module.{key}": value for key, value in state.items()}
    return {key.replace(".", ".module.", 1) if key.split(".")[0] in parts else key: v for key, v in state.items()}


class Contrastive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.fc = ResNet(), nn.Linear(512, 4)
        self.head = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))

    def points(self, x: Tensor) -> Tensor:
        return normalize(self.head(self.encoder(x)), dim=1)


@torch.no_grad()
@pytest.mark.parametrize("nested", ["state_dict", "model"])
def test_cider(images, nested):
    model, prototypes = Contrastive().eval(), normalize(torch.randn(4, 128))
    losses = {"prototypes": prototypes, **{f"model.{key}": value for key, value in model.state_dict().items()}}
    checkpoint = {"epoch": 500, nested: model.state_dict(), "opt_state_dict": {}, "dis_state_dict": losses}
    classifier = imported("cider", checkpoint)
    torch.testing.assert_close(classifier.features(images), model.encoder(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(classifier(images), model.points(images) @ prototypes.T / 0.1, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_ciders_large_encoder_is_a_sequence():
    from torchvision.models import resnet34

    whole = resnet34().eval()
    parts = [whole.conv1, whole.bn1, whole.relu, whole.maxpool, whole.layer1, whole.layer2, whole.layer3, whole.layer4]
    encoder = nn.Sequential(*parts, whole.avgpool)
    head = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    state |= {f"head.{key}": value for key, value in head.state_dict().items()}
    found = translate("cider", {"state_dict": wrapped(state), "dis_state_dict": {"prototypes": torch.zeros(4, 128)}})
    assert found.backbone == "torchvision:resnet34" and found.normalization[0][0] == 0.485
    backbone = build_backbone(found.backbone, 3, 64)
    backbone.network.load_state_dict(
        {k.removeprefix("backbone."): v for k, v in found.state.items() if "backbone" in k}
    )
    some = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(backbone.network.eval()(some), encoder(some).flatten(1), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("flat", [False, True])
def test_npos(images, flat):
    model, prototypes = Contrastive().eval(), normalize(torch.randn(4, 128))
    model.mlp = nn.Sequential(nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 1))
    model.prototypes = nn.Parameter(torch.randn(4, 128))
    state = wrapped(model.state_dict(), "encoder", "fc", "head")
    assert "encoder.module.conv1.weight" in state and "mlp.0.weight" in state
    if flat:
        found = translate("npos", state)
        assert not found.left and "head.prototypes" not in found.state
        return
    classifier = imported("npos", {"epoch": 1, "state_dict": state, "criterion_disp": {"prototypes": prototypes}})
    features = model.encoder(images)
    torch.testing.assert_close(classifier(images), model.points(images) @ prototypes.T / 0.1, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(classifier.ood_logit(features), model.mlp(features)[:, 0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_ascood(images):
    model = nn.Module()
    model.backbone = ResNet(classes=4)
    model.register_buffer("sigma", torch.tensor(0.7))
    model.eval()
    classifier = imported("ascood", wrapped(model.state_dict()))
    features = model.backbone.features(images)
    standardised = 0.7 * (features - features.mean(1, keepdim=True)) / (features.std(1, keepdim=True) + 1e-6)
    torch.testing.assert_close(classifier(images), model.backbone.fc(standardised), rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("layout", "last", "nested", "parallel"),
    [
        ("openood", "fc", "", False),
        ("openood", "fc", "state_dict", True),
        ("openood", "linear", "net", True),  # Of a repository that is none of these.
    ],
)
def test_plain_classifiers(images, layout, last, nested, parallel):
    model = ResNet(classes=4, last=last).eval()
    state = wrapped(model.state_dict()) if parallel else model.state_dict()
    classifier = imported(layout, {nested: state, "acc": 93.1} if nested else state)
    assert classifier.architecture == "resnet18-cifar"
    torch.testing.assert_close(classifier(images), model(images), rtol=1e-4, atol=1e-4)


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def encoder_keys(counts: tuple[int, ...], wide: bool = False) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a ResNet with a 3×3 stem as NCIS and CIDER save it; wide blocks have three convolutions."""
    keys = {"encoder.conv1.weight": (64, 3, 3, 3), **norm("encoder.bn1", 64)}
    inputs = 64
    for number, blocks in enumerate(counts, start=1):
        width = 32 * 2**number
        outputs = 4 * width if wide else width
        for place in range(blocks):
            block = f"encoder.layer{number}.{place}"
            shapes = [(width, inputs, 1, 1), (width, width, 3, 3), (outputs, width, 1, 1)]
            for convolution, shape in enumerate(shapes if wide else [(width, inputs, 3, 3), shapes[1]], start=1):
                keys |= {f"{block}.conv{convolution}.weight": shape, **norm(f"{block}.bn{convolution}", shape[0])}
            if inputs != outputs:
                keys |= {f"{block}.shortcut.0.weight": (outputs, inputs, 1, 1), **norm(f"{block}.shortcut.1", outputs)}
            inputs = outputs
    return keys


def drawn(keys: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random values that keep the scale of the activations."""

    def value(name: str, shape: torch.Size) -> Tensor:
        if name.endswith("num_batches_tracked"):
            return torch.tensor(7)
        if len(shape) > 1:
            return torch.randn(shape) * (2 / shape[1:].numel()) ** 0.5
        return torch.rand(shape) + 0.5 if name.endswith(("running_var", "weight")) else torch.randn(shape) * 0.1

    return {name: value(name, torch.Size(shape)) for name, shape in keys.items()}


def ncis_state(classes: int) -> dict[str, Tensor]:
    """As NCIS's class saves it: a ResNet-34 with a 3×3 stem, whatever the images, and a linear layer."""
    return drawn({**encoder_keys((3, 4, 6, 3)), "fc.weight": (classes, 512), "fc.bias": (classes,)})


@torch.no_grad()
@pytest.mark.parametrize("parallel", [False, True])
def test_ncis(images, parallel):
    state = ncis_state(4)
    assert len(state) == 218 and "encoder.layer4.2.bn2.num_batches_tracked" in state
    classifier = imported("ncis", wrapped(state) if parallel else state)
    assert classifier.architecture == "resnet34-cifar"
    model = ResNet((3, 4, 6, 3), 4).eval()
    model.load_state_dict({name.removeprefix("encoder."): value for name, value in state.items()})
    assert torch.equal(classifier(images), model(images))
    found = translate("ncis", state)
    assert found.normalization == ((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616))
    assert found.large == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@torch.no_grad()
def test_ciders_resnet_101_with_a_small_stem(images):
    head = {"head.0.weight": (2048, 2048), "head.0.bias": (2048,), "head.2.weight": (128, 2048), "head.2.bias": (128,)}
    untrained = {"fc.weight": (4, 2048), "fc.bias": (4,)}
    state = drawn({**encoder_keys((3, 4, 23, 3), wide=True), **head, **untrained})
    prototypes = normalize(torch.randn(4, 128))
    classifier = imported("cider", {"state_dict": state, "dis_state_dict": {"prototypes": prototypes}})
    assert classifier.architecture == "resnet101-cifar" and classifier.features(images).shape == (3, 2048)


@pytest.mark.parametrize(
    ("layout", "names", "match"),
    [
        ("openood", ("backbone.conv1.weight", "fc.weight", "confidence.weight"), "parts backbone, confidence, fc"),
        ("openood", ("backbone.conv1.weight", "h.h.weight", "h.h.bias", "g.0.weight"), "is an inner product"),
        ("openood", ("block1.layer.0.bn1.weight",), "does not hold a WideResNet"),
        ("npos", ("model.conv1.weight", "proj.0.weight"), "but not the outlier_MLP"),
    ],
)
def test_networks_that_are_not_read_are_named(layout, names, match):
    with pytest.raises(OutskirtsError, match=match):
        LAYOUTS[layout]({name: torch.zeros(3, 3) for name in names}, "", 10)


def test_pixels_are_normalised_as_they_were():
    for classes, first in ((10, 0.4914), (100, 0.5071)):
        found = translate("openood", ResNet(classes=classes).state_dict(), classes)
        assert found.normalization[0][0] == first
        assert found.normalization[1][0] == {10: 0.2470, 100: 0.2675}[classes]
    npos = Contrastive().state_dict() | {"mlp.0.weight": torch.zeros(128, 512)}
    assert translate("npos", npos).normalization[1][0] == 0.2471
    assert translate("cider", Contrastive().state_dict()).normalization == (
        (0.491, 0.482, 0.447),
        (0.247, 0.244, 0.262),
    )


def test_what_is_of_another_layout():
    plain = ResNet(classes=4).state_dict()
    with pytest.raises(OutskirtsError, match="does not hold a ResNet"):
        translate("cider", plain)
    with pytest.raises(OutskirtsError, match="no 'sigma'"):
        translate("ascood", {f"backbone.{key}": value for key, value in plain.items()})
    with pytest.raises(OutskirtsError, match="--backbone clip:DIR"):
        translate("npos-clip", {})
    with pytest.raises(OutskirtsError, match="'epoch' is not a tensor"):
        translate("openood", {**plain, "epoch": 3})
    left = translate(
        "cider",
        {
            **{f"encoder.{k}": v for k, v in plain.items() if "fc" not in k},
            "head.weight": torch.zeros(8, 512),
            "extra.weight": plain["fc.weight"],
        },
    )
    assert left.left == ("extra.weight",) and left.settings == {"embedding": 8, "projection": "linear"}
    assert set(LAYOUTS) == {"ascood", "cider", "ncis", "npos", "npos-clip", "openood"}
