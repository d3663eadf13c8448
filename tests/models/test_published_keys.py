"""Each layout against the names and shapes of the published class, and what that class computes of them.

Both are written out from the repositories' classes, by the names of their files, and use no network of this package.
"""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, linear, max_pool2d, normalize, relu

from outskirts.data.transform import Transform
from outskirts.detectors.rotation import RotationErrors
from outskirts.models.backbones import build_backbone
from outskirts.models.published import LAYOUTS
from outskirts.seeding import isolated
from outskirts.training.config import resolve_recipe
from outskirts.training.loading import assemble

Keys = dict[str, tuple[int, ...]]
State = dict[str, Tensor]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100 = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
CIDER = ((0.491, 0.482, 0.447), (0.247, 0.244, 0.262))
NPOS10 = ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

R18, R34, R50, R101 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 6, 3), (3, 4, 23, 3)


def norm(name: str, width: int) -> Keys:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def layer(name: str, outputs: int, inputs: int) -> Keys:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def resnet(at: str, counts: tuple[int, ...], wide: bool = False, large: bool = False, shortcut: str = "") -> Keys:
    """A ResNet without its linear layer, by torchvision's names; the shortcut's is another for small images."""
    shortcut = shortcut or ("downsample" if large else "shortcut")
    side, inputs = 7 if large else 3, 64
    keys = {f"{at}conv1.weight": (64, 3, side, side), **norm(f"{at}bn1", 64)}
    for number, blocks in enumerate(counts, start=1):
        width = 32 * 2**number
        outputs = 4 * width if wide else width
        for place in range(blocks):
            block = f"{at}layer{number}.{place}"
            small = [(width, inputs, 3, 3), (width, width, 3, 3)]
            shapes = [(width, inputs, 1, 1), (width, width, 3, 3), (outputs, width, 1, 1)] if wide else small
            for count, shape in enumerate(shapes, start=1):
                keys |= {f"{block}.conv{count}.weight": shape, **norm(f"{block}.bn{count}", shape[0])}
            if inputs != outputs:
                keys |= {f"{block}.{shortcut}.0.weight": (outputs, inputs, 1, 1)}
                keys |= norm(f"{block}.{shortcut}.1", outputs)
            inputs = outputs
    return keys


def sequence(keys: Keys) -> Keys:
    """By places in a sequence, as `torch.nn.Sequential(*model.children())` names them."""
    places = {"conv1": "0", "bn1": "1", **{f"layer{number}": f"{3 + number}" for number in range(1, 5)}}
    parts = {name: name.split(".", 2) for name in keys}
    return {f"{first}.{places[part]}.{rest}": keys[name] for name, (first, part, rest) in parts.items()}


def wide_resnet(depth: int, width: int) -> Keys:
    keys, inputs = {"conv1.weight": (16, 3, 3, 3)}, 16
    for number, outputs in enumerate((16 * width, 32 * width, 64 * width), start=1):
        for place in range((depth - 4) // 6):
            block = f"block{number}.layer.{place}"
            keys |= {**norm(f"{block}.bn1", inputs), f"{block}.conv1.weight": (outputs, inputs, 3, 3)}
            keys |= {**norm(f"{block}.bn2", outputs), f"{block}.conv2.weight": (outputs, outputs, 3, 3)}
            if inputs != outputs:
                keys[f"{block}.convShortcut.weight"] = (outputs, inputs, 1, 1)
            inputs = outputs
    return {**keys, **norm("bn1", inputs)}


def mlp(name: str, *widths: int) -> Keys:
    inputs, hidden, outputs = widths
    return {**layer(f"{name}.0", hidden, inputs), **layer(f"{name}.2", outputs, hidden)}


def npos_cifar(counts: tuple[int, ...], classes: int) -> Keys:
    parts = {**layer("fc.module", classes, 512), **mlp("head.module", 512, 512, 128), **mlp("mlp", 512, 128, 1)}
    return {**resnet("encoder.module.", counts), **parts, "prototypes": (classes, 128)}


PROJECTED = {**resnet("backbone.", R18), **mlp("head", 512, 512, 128)}
SUPCON = {**layer("fc", 10, 512), **mlp("head", 512, 512, 128)}

#: By the published class: the layout, the classes, its tensors and their number, and what they are read as.
NETWORKS: dict[str, tuple[str, int, Keys, int, tuple[str, str], object]] = {
    "ResNet18_32x32": (
        *("openood", 10, {**resnet("", R18), **layer("fc", 10, 512)}, 122),
        *(("ce", "resnet18-cifar"), CIFAR10),
    ),
    "ResNet18_32x32 of CIFAR-100": (
        *("openood", 100, {**resnet("", R18), **layer("fc", 100, 512)}, 122),
        *(("ce", "resnet18-cifar"), CIFAR100),
    ),
    "ResNet18_224x224": (
        *("openood", 200, {**resnet("", R18, large=True), **layer("fc", 200, 512)}, 122),
        *(("ce", "torchvision:resnet18"), IMAGENET),
    ),
    "ResNet50": (
        *("openood", 1000, {**resnet("", R50, True, True), **layer("fc", 1000, 2048)}, 320),
        *(("ce", "torchvision:resnet50"), IMAGENET),
    ),
    "WideResNet": (
        *("openood", 10, {**wide_resnet(28, 10), **layer("fc", 10, 640)}, 155),
        *(("ce", "wrn28-10-cifar"), CIFAR10),
    ),
    "WideResNet of depth 40": (
        *("openood", 100, {**wide_resnet(40, 2), **layer("fc", 100, 128)}, 227),
        *(("ce", "wrn40-2-cifar"), CIFAR100),
    ),
    "CIDERNet": ("openood", 100, PROJECTED, 124, ("cider", "resnet18-cifar"), CIFAR100),
    "NPOSNet": (
        *("openood", 10, {**PROJECTED, **mlp("mlp", 512, 128, 1), "prototypes": (10, 128)}, 129),
        *(("npos", "resnet18-cifar"), CIFAR10),
    ),
    "GodinNet": (
        "openood",
        10,
        {**resnet("backbone.", R18), "h.h.weight": (10, 512), **layer("g.0", 1, 512), **norm("g.1", 1)},
        *(128, ("godin", "resnet18-cifar"), CIFAR10),
    ),
    "RotNet": (
        *("openood", 10, {**resnet("backbone.", R18), **layer("fc", 10, 512), **layer("rot_fc", 4, 512)}, 124),
        *(("rotpred", "resnet18-cifar"), CIFAR10),
    ),
    "T2FNormNet": (
        *("openood", 10, {"tau": (), **resnet("backbone.", R18), **layer("backbone.fc", 10, 512)}, 123),
        *(("t2fnorm", "resnet18-cifar"), CIFAR10),
    ),
    "T2FNormNet of 1000 classes": (
        "openood",
        1000,
        {"tau": (), **resnet("backbone.", R50, True, True), **layer("backbone.fc", 1000, 2048)},
        *(321, ("t2fnorm", "torchvision:resnet50"), IMAGENET),
    ),
    "ASCOODNet": (
        *("ascood", 10, {"sigma": (), **resnet("backbone.", R18), **layer("backbone.fc", 10, 512)}, 123),
        *(("ascood", "resnet18-cifar"), CIFAR10),
    ),
    "ASCOODNet of Cars": (
        "openood",
        150,
        {"sigma": (), **resnet("backbone.", R50, True, True), **layer("backbone.fc", 150, 2048)},
        *(321, ("ascood", "torchvision:resnet50"), IMAGENET),
    ),
    "CIDER of CIFAR-10": (
        *("cider", 10, {**resnet("encoder.", R18), **SUPCON}, 126),
        *(("cider", "resnet18-cifar"), CIDER),
    ),
    "CIDER of CIFAR-100": (
        *("cider", 100, {**resnet("encoder.", R34), **SUPCON, **layer("fc", 100, 512)}, 222),
        *(("cider", "resnet34-cifar"), CIDER),
    ),
    "CIDER of ImageNet-100": (
        *("cider", 100, {**sequence(resnet("encoder.", R34, large=True)), **SUPCON, **layer("fc", 100, 512)}, 222),
        *(("cider", "torchvision:resnet34"), IMAGENET),
    ),
    "NPOS of CIFAR-10": ("npos", 10, npos_cifar(R18, 10), 131, ("npos", "resnet18-cifar"), NPOS10),
    "NPOS of CIFAR-100": ("npos", 100, npos_cifar(R34, 100), 227, ("npos", "resnet34-cifar"), CIFAR100),
    "NPOS of ImageNet-100": (
        "npos",
        100,
        {
            **{f"module.{name}": shape for name, shape in resnet("model.", R101, True, True).items()},
            **{**layer("module.model.fc", 1000, 2048), **layer("module.proj.0", 512, 2048)},
            **{**mlp("module.outlier_MLP", 512, 32, 1), **layer("module.fc", 100, 512)},
        },
        *(634, ("npos", "torchvision:resnet101-rectified512"), CLIP),
    ),
}


def drawn(keys: Keys) -> State:
    """Random values that keep the scale of the activations."""

    def value(name: str, shape: torch.Size) -> Tensor:
        if name.endswith("num_batches_tracked"):
            return torch.tensor(7)
        if name in ("sigma", "tau"):
            return torch.tensor(0.7)
        if len(shape) > 1:
            return torch.randn(shape) * (2 / shape[1:].numel()) ** 0.5
        return torch.rand(shape) + 0.5 if name.endswith(("running_var", "weight")) else torch.randn(shape) * 0.1

    return {name: value(name, torch.Size(shape)) for name, shape in keys.items()}


class Network:
    """What a published class computes of its tensors, one function after the other."""

    def __init__(self, state: State) -> None:
        self.state = {name.replace("module.", ""): value for name, value in state.items()}

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            self.state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return batch_norm(x, mean, variance, weight, bias)

    def layer(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def mlp(self, name: str, x: Tensor) -> Tensor:
        return self.layer(f"{name}.2", relu(self.layer(f"{name}.0", x)))

    def resnet(self, at: str, x: Tensor) -> Tensor:
        stem, first = (f"{at}0", f"{at}1") if f"{at}0.weight" in self.state else (f"{at}conv1", f"{at}bn1")
        large = self.state[f"{stem}.weight"].shape[-1] == 7
        x = relu(self.norm(first, self.conv(stem, x, 2 if large else 1)))
        x = max_pool2d(x, 3, 2, 1) if large else x
        for number in range(1, 5):
            group = f"{at}{3 + number}" if stem == f"{at}0" else f"{at}layer{number}"
            place = 0
            while f"{group}.{place}.conv1.weight" in self.state:
                x = self.block(f"{group}.{place}", x, 2 if number > 1 and not place else 1)
                place += 1
        return x.mean((2, 3))

    def block(self, at: str, x: Tensor, stride: int) -> Tensor:
        wide = f"{at}.conv3.weight" in self.state
        y = relu(self.norm(f"{at}.bn1", self.conv(f"{at}.conv1", x, 1 if wide else stride)))
        y = self.norm(f"{at}.bn2", self.conv(f"{at}.conv2", y, stride if wide else 1))
        y = self.norm(f"{at}.bn3", self.conv(f"{at}.conv3", relu(y))) if wide else y
        for shortcut in (f"{at}.shortcut", f"{at}.downsample"):
            if f"{shortcut}.0.weight" in self.state:
                x = self.norm(f"{shortcut}.1", self.conv(f"{shortcut}.0", x, stride))
        return relu(x + y)

    def wide_resnet(self, x: Tensor) -> Tensor:
        x = self.conv("conv1", x)
        for number in (1, 2, 3):
            place = 0
            while f"block{number}.layer.{place}.conv1.weight" in self.state:
                at, stride = f"block{number}.layer.{place}", 2 if number > 1 and not place else 1
                active = relu(self.norm(f"{at}.bn1", x))
                y = self.conv(f"{at}.conv2", relu(self.norm(f"{at}.bn2", self.conv(f"{at}.conv1", active, stride))))
                changes = f"{at}.convShortcut.weight" in self.state
                x = y + (self.conv(f"{at}.convShortcut", active, stride) if changes else x)
                place += 1
        return relu(self.norm("bn1", x)).mean((2, 3))


def read(name: str):
    """The state of the published class, and the classifier that it becomes."""
    layout, classes, keys, count, (method, backbone), normalization = NETWORKS[name]
    assert len(keys) == count
    with isolated(0, "published"):
        state = drawn(keys)
        found = LAYOUTS[layout](state, "", classes)
        assert (found.method, found.backbone, found.left) == (method, backbone, ())
        assert found.normalization == normalization
        size = 32 if backbone.endswith("-cifar") else 64
        recipe = resolve_recipe(method, {"backbone": backbone, **found.settings})
        network = build_backbone(backbone, 3, size)
        classifier = assemble(recipe, network, Transform(size), [str(number) for number in range(classes)]).eval()
        own = classifier.state_dict()
        lacking = set(own) - set(found.state)
        assert lacking <= {"head.prototypes"} and set(found.state) <= set(own)
        classifier.load_state_dict(found.state, strict=False)
        images = torch.randn(2, 3, size, size)
    return Network(state), classifier, images


def close(found: Tensor, expected: Tensor, rtol: float = 1e-4) -> None:
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * expected.abs().max().item())


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["ResNet18_32x32", "ResNet18_32x32 of CIFAR-100", "ResNet18_224x224", "ResNet50", "WideResNet of depth 40"]
)
def test_plain_classifiers(name):
    published, classifier, images = read(name)
    features = (published.wide_resnet if "Wide" in name else lambda x: published.resnet("", x))(images)
    close(classifier.features(images), features)
    close(classifier(images), published.layer("fc", features))


def test_the_wide_network_that_openood_trains():
    assert read("WideResNet")[1].dim == 640


@torch.no_grad()
@pytest.mark.parametrize("name", ["CIDERNet", "CIDER of CIFAR-10", "CIDER of CIFAR-100", "CIDER of ImageNet-100"])
def test_cider(name):
    published, classifier, images = read(name)
    features = published.resnet("backbone." if name == "CIDERNet" else "encoder.", images)
    # Its score is a distance of these, brought to unit length.
    close(normalize(classifier.features(images), dim=1), normalize(features, dim=1))
    close(classifier.head.project(features), normalize(published.mlp("head", features), dim=1))


@torch.no_grad()
@pytest.mark.parametrize("name", ["NPOSNet", "NPOS of CIFAR-10", "NPOS of CIFAR-100"])
def test_npos(name):
    published, classifier, images = read(name)
    features = published.resnet("backbone." if name == "NPOSNet" else "encoder.", images)
    close(classifier.features(images), features)
    close(classifier.head.project(features), normalize(published.mlp("head", features), dim=1))
    close(classifier.ood_logit(features), published.mlp("mlp", features)[:, 0])


@torch.no_grad()
def test_npos_of_imagenet_100():
    published, classifier, images = read("NPOS of ImageNet-100")
    features = relu(published.layer("proj.0", published.resnet("model.", images)))
    assert classifier.dim == 512
    close(classifier.features(images), features)
    close(classifier.head.project(features), normalize(features, dim=1))
    close(classifier.ood_logit(features), published.mlp("outlier_MLP", features)[:, 0])


@torch.no_grad()
def test_godin():
    published, classifier, images = read("GodinNet")
    features, weight = published.resnet("backbone.", images), published.state["h.h.weight"]
    # The class adds .0001 to each length.
    cosines = (features / (features.norm(dim=1, keepdim=True) + 1e-4)) @ (
        weight / (weight.norm(dim=1, keepdim=True) + 1e-4)
    ).T
    divisor = published.norm("g.1", published.layer("g.0", features)).sigmoid()
    close(classifier.head.numerators(classifier.features(images)), cosines, 1e-3)
    close(classifier(images), cosines / divisor, 1e-3)


@torch.no_grad()
def test_rotations():
    published, classifier, images = read("RotNet")
    features = published.resnet("backbone.", images)
    close(classifier(images), published.layer("fc", features))
    errors = [
        -published.layer("rot_fc", published.resnet("backbone.", images.rot90(k, (2, 3)))).log_softmax(1)[:, k]
        for k in range(4)
    ]
    close(RotationErrors()(classifier, images), torch.stack(errors).mean(0))


@torch.no_grad()
@pytest.mark.parametrize("name", ["T2FNormNet", "T2FNormNet of 1000 classes"])
def test_t2fnorm(name):
    """Logits are those that OpenOOD scores: without normalised features, and of 1000 classes without τ."""
    published, classifier, images = read(name)
    features = published.resnet("backbone.", images)
    close(classifier(images), published.layer("backbone.fc", features / (1.0 if "1000" in name else 0.7)))


@torch.no_grad()
@pytest.mark.parametrize("name", ["ASCOODNet", "ASCOODNet of Cars"])
def test_ascood(name):
    published, classifier, images = read(name)
    features = published.resnet("backbone.", images)
    standardised = (features - features.mean(1, keepdim=True)) / (features.std(1, keepdim=True) + 1e-6)
    close(classifier.features(images), features)
    close(classifier(images), published.layer("backbone.fc", 0.7 * standardised))


def test_the_last_blocks_of_clip():
    """Names are those of OpenAI's visual transformer with a width of 768; block 0 is the first that is trained."""
    keys: Keys = {
        "ln_post.weight": (768,),
        "ln_post.bias": (768,),
        "proj": (768, 512),
        **mlp("outlier_MLP", 512, 32, 1),
    }
    for block in ("transformer_resblocks.block0", "transformer_resblocks.block1"):
        keys |= {f"{block}.attn.in_proj_weight": (2304, 768), f"{block}.attn.in_proj_bias": (2304,)}
        keys |= layer(f"{block}.attn.out_proj", 768, 768)
        keys |= {**layer(f"{block}.mlp.c_fc", 3072, 768), **layer(f"{block}.mlp.c_proj", 768, 3072)}
        keys |= {f"{block}.{one}.{part}": (768,) for one in ("ln_1", "ln_2") for part in ("weight", "bias")}
    assert len(keys) == 31
    found = LAYOUTS["npos-clip"](drawn(keys), "clip:folder?frozen=10", 100)
    assert found.left == () and len(found.state) == 7 + 2 * 16
    shapes = {name: tuple(value.shape) for name, value in found.state.items()}
    assert shapes["backbone.projection.weight"] == (512, 768)
    assert shapes["backbone.blocks.layers.1.self_attn.k_proj.weight"] == (768, 768)
    assert shapes["backbone.blocks.layers.0.mlp.fc1.weight"] == (3072, 768)
    assert shapes["head.ood_head.network.0.weight"] == (32, 512)
