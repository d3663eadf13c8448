import logging
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from outskirts.errors import OutskirtsError
from outskirts.models.backbones import build_backbone, build_split, known_backbones

FAMILIES = [
    ("fast", 1, 28, 256),
    ("resnet18-cifar", 1, 28, 512),
    ("torchvision:resnet18", 3, 32, 512),
    ("mobilenet_v3_small", 3, 32, 1024),
    ("googlenet", 3, 64, 1024),
    ("vit_tiny_patch16_224", 3, 32, 192),
    ("timm:test_vit", 1, 32, 64),
    ("convnext_atto", 3, 32, 320),
    ("timm:densenet121", 1, 32, 1024),
    ("torchvision:densenet121", 3, 32, 1024),
    ("torchvision:squeezenet1_1", 3, 64, 512),
    ("wrn10-2-cifar", 1, 28, 128),
    ("resnet18-cifar-rectified32", 3, 32, 32),
]


@pytest.mark.parametrize(("name", "channels", "size", "dim"), FAMILIES)
def test_families(name, channels, size, dim):
    backbone = build_backbone(name, channels, size)
    assert (backbone.dim, backbone.name) == (dim, name)
    images = torch.randn(2, channels, size, size)
    with torch.no_grad():
        # Training mode: some networks return more than logits there.
        assert backbone.network.train()(images).shape == (2, dim)
        assert backbone.network.eval()(images).shape == (2, dim)


def test_rectified_features_are_not_negative():
    backbone = build_backbone("fast-rectified16", 3, 32)
    with torch.no_grad():
        features = backbone.network(torch.randn(4, 3, 32, 32))
    assert features.shape == (4, 16) and features.min() == 0 < features.max()


def test_what_cannot_be_a_backbone_is_told():
    with pytest.raises(OutskirtsError, match=r"depth of 10, 16, 22, .*, not 29"):
        build_backbone("wrn29-10-cifar", 3, 32)
    with pytest.raises(OutskirtsError, match="'wrn28-10-cifar' has no published weights"):
        build_backbone("wrn28-10-cifar", 3, 32, pretrained=True)
    with pytest.raises(OutskirtsError, match=r"AlexNet cannot take images of shape \(3, 32, 32\)"):
        build_backbone("alexnet", 3, 32)
    with pytest.raises(OutskirtsError, match="leave out channels, or set them to 3"):
        build_backbone("torchvision:resnet18", 1, 32)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fats", "did you mean 'fast'"),
        ("resnet18-cfar", "did you mean 'resnet18-cifar'"),
        ("timm:convnext_ato", "did you mean 'convnext_atto'"),
        ("tim:resnet18", "no model library 'tim'; did you mean 'timm'"),
        ("fcn_resnet50", "There is no backbone 'fcn_resnet50'"),
    ],
)
def test_unknown_names_suggest_the_nearest(name, hint):
    with pytest.raises(OutskirtsError, match=hint) as error:
        build_backbone(name, 3, 32)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("name", known_backbones())
def test_ours_have_no_published_weights(name):
    with pytest.raises(OutskirtsError, match="no published weights; pass the path of a state dict"):
        build_backbone(name, 3, 32, pretrained=True)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet50.tv_in1k"])
def test_weights_that_cannot_be_fetched_are_told(name, monkeypatch):
    def offline(*args, weights=None, pretrained=False, **options):
        assert weights == "DEFAULT" or pretrained is True
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models.get_model", offline)
    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(
        OutskirtsError, match=f"weights of '{name}' cannot be .*no route.*pass the file: weights=FILE after"
    ):
        build_backbone(name, 3, 32, pretrained=True)


def test_weights_by_their_published_name(monkeypatch):
    asked = []

    def offline(name, weights=None, **options):
        asked.append((name, weights))
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models.get_model", offline)
    for pretrained in ("IMAGENET1K_V1", True):
        with pytest.raises(OutskirtsError, match="cannot be fetched"):
            build_backbone("mobilenet_v2", 3, 32, pretrained=pretrained)
    assert asked == [("mobilenet_v2", "IMAGENET1K_V1"), ("mobilenet_v2", "DEFAULT")]
    # Of no other library, and of no other model: such a name is a path there.
    with pytest.raises(OutskirtsError, match="IMAGENET1K_V9"):
        monkeypatch.undo()
        build_backbone("mobilenet_v2", 3, 32, pretrained="IMAGENET1K_V9")


# Weights from files

#: A head's name begins as that of layers before it does in all but the first.
ARCHITECTURES = ["resnet18", "mobilenet_v3_small", "timm:test_convnext", "timm:test_vit", "timm:test_efficientnet"]


@pytest.fixture
def weights():
    """The state dict of a library's model with random weights."""

    def weights(name, classes=7):
        library, _, bare = name.rpartition(":")
        if library == "timm":
            import timm

            model = timm.create_model(bare, img_size=32) if "vit" in bare else timm.create_model(bare)
        else:
            model = torchvision.models.get_model(bare, num_classes=classes)
        generator = torch.Generator().manual_seed(0)
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.1, 0.5, generator=generator)
        return model.state_dict()

    return weights


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_weights_but_the_heads_are_loaded(name, weights, tmp_path):
    state = weights(name)
    torch.save(state, tmp_path / "weights.pt")
    loaded = build_backbone(name, 3, 32, pretrained=str(tmp_path / "weights.pt")).network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert {key.rpartition(".")[2] for key in state.keys() - loaded.keys()} == {"weight", "bias"}
    assert len(state) - len(loaded) == 2


def test_the_forms_a_state_dict_comes_in(weights, tmp_path):
    state = weights("resnet18")
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pt")
    torch.save(old, tmp_path / "old.pt")
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}, "lr": 0.1}, tmp_path / "parallel.pt")
    torch.save({"net": {f"_orig_mod.{key}": value for key, value in state.items()}}, tmp_path / "compiled.pt")
    lightning = {f"model.{key}": value for key, value in state.items()}
    torch.save({"state_dict": lightning, "optimizer_states": [], "optimizer": {"state": {}}}, tmp_path / "lightning.pt")
    average = {"n_averaged": torch.tensor(7), **{f"module.{key}": value for key, value in state.items()}}
    torch.save({"ema": {"shadow": average}}, tmp_path / "average.pt")
    torch.save({"model_state_dict": state, "model_ema": state}, tmp_path / "both.pt")
    save_file(state, tmp_path / "ours.safetensors")
    # As the Hugging Face hub has them.
    save_file(state, tmp_path / "hub.safetensors", {"format": "pt"})
    for file in tmp_path.iterdir():
        part = "#model_ema" if file.name == "both.pt" else ""
        network = build_backbone("torchvision:resnet18", 3, 32, pretrained=f"{file}{part}").network
        assert torch.equal(network.layer4[1].conv2.weight, state["layer4.1.conv2.weight"]), file.name


def test_weights_of_the_fast_network(tmp_path):
    network = build_backbone("fast", 3, 32).network
    torch.save(network.state_dict(), tmp_path / "fast.pt")
    loaded = build_backbone("fast", 3, 32, pretrained=str(tmp_path / "fast.pt")).network
    assert torch.equal(loaded.blocks[2].refine.weight, network.blocks[2].refine.weight)


def test_weights_that_do_not_fit_are_listed(weights, tmp_path):
    state = weights("resnet18")
    del state["conv1.weight"]
    state["stray.weight"] = torch.zeros(1)
    state["bn1.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(OutskirtsError) as error:
        build_backbone("resnet18", 3, 32, pretrained=str(tmp_path / "weights.pt"))
    for part in (
        "conv1.weight is missing",
        "stray.weight is left over",
        "bn1.weight has shape (3,) instead of (64,)",
        str(tmp_path),
    ):
        assert part in str(error.value)
    torch.save({f"other_{key}": value for key, value in state.items()}, tmp_path / "weights.pt")
    with pytest.raises(
        OutskirtsError, match=r"bn1\.bias is missing \(the file has other_bn1\.bias\); .*; and \d+ more\.$"
    ):
        build_backbone("resnet18", 3, 32, pretrained=str(tmp_path / "weights.pt"))


def test_files_that_hold_no_weights_are_told(tmp_path):
    def build(name):
        build_backbone("resnet18", 3, 32, pretrained=str(tmp_path / name))

    with pytest.raises(OutskirtsError, match=r"absent\.pt do not exist"):
        build("absent.pt")
    for content in (b"not weights at all", b"", b"train: photos/train\ntest: x\n"):
        for name in ("some.pt", "some.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(OutskirtsError, match="is not a state dict that can be read safely"):
                build(name)
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(OutskirtsError, match="is not a state dict that can be read safely"):
        build("module.pt")
    for name, value in (("list.pt", [1, 2]), ("nested.pt", {"weights": {"a": "text"}}), ("numbers.pt", {"a": 1})):
        torch.save(value, tmp_path / name)
        with pytest.raises(OutskirtsError, match="does not hold named tensors only"):
            build(name)
    torch.save({"state_dict": {"a": torch.zeros(1)}, "ema": {"a": torch.zeros(1)}, "epoch": 3}, tmp_path / "two.pt")
    with pytest.raises(
        OutskirtsError, match=r"weights in several parts: state_dict, ema\. Name one: .*two\.pt#state_dict"
    ):
        build("two.pt")
    with pytest.raises(OutskirtsError, match=r"no part 'emma' of .*two\.pt that holds weights; did you mean 'ema'"):
        build("two.pt#emma")


def test_an_architecture_without_a_head_gives_what_it_returns():
    backbone, head = build_split("timm:eva02_tiny_patch14_224", 3, 56)
    assert backbone.dim == 192 and head is None
    assert backbone.network.eval()(torch.zeros(2, 3, 56, 56)).shape == (2, 192)


@pytest.mark.parametrize("debug", ["", "1"])
def test_the_log_of_the_hub_is_for_those_who_look_for_a_fault(debug, monkeypatch):
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    def unreachable(*_args, **_options):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no route to host")

    hub, listener = logging.getLogger("huggingface_hub"), Listener()
    level = hub.level
    hub.addHandler(listener)
    monkeypatch.setenv("OUTSKIRTS_DEBUG", debug)
    monkeypatch.setattr("timm.create_model", unreachable)
    try:
        with pytest.raises(OutskirtsError, match=r"cannot be fetched .*no route"):
            build_backbone("timm:test_vit", 3, 32, pretrained=True)
    finally:
        hub.removeHandler(listener)
    assert len(lines) == bool(debug) and hub.level == level
