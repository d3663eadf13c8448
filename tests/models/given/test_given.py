"""Classifiers that were trained elsewhere give the logits that they gave there, with their own transform."""

import json
import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

from outskirts.errors import OutskirtsError
from outskirts.models.adapter import adapt
from outskirts.models.given import given_backbone, given_classifier, parse_model
from outskirts.models.heads import CarriedHead, LinearHead, ModuleHead, NoHead, PrototypeHead
from outskirts.testing.clip import save_small_clip
from outskirts.training.rebuilding import rebuild, weights_of

STATED = "size=32&mean=0.5,0.5,0.5&std=0.5,0.5,0.5"
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def open_given(text, classes=(), said=None):
    return given_classifier(parse_model(text), classes, (said if said is not None else []).append)


class Small(nn.Module):
    """A network of five classes that is quick to make and to save."""

    def __init__(self, classes=5):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)

    def forward(self, images):
        return self.fc(self.bn(self.conv(images)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return Small().eval()


@torch.no_grad()
def same(classifier, expected, images=IMAGES):
    """The classifier, which gives these logits; so does one that is built again from its weights."""
    torch.testing.assert_close(classifier(images), expected.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(rebuilt(classifier)(images), classifier(images))
    return classifier


def rebuilt(classifier):
    description = json.loads(json.dumps(classifier.built_from))
    again = rebuild(description, classifier.transform, classifier.classes, weights_of(classifier), Path("a file"))
    assert not again.training and type(again.head) is type(classifier.head)
    assert again.fingerprint() == classifier.fingerprint()
    return again


@pytest.mark.parametrize(
    "name", ["torchvision:resnet18", "torchvision:mnasnet0_5", "timm:resnet10t", "timm:resnetv2_18"]
)
def test_a_library_model_keeps_the_head_of_its_weights(name, tmp_path):
    library, _, bare = name.partition(":")
    make = torchvision.models.get_model if library == "torchvision" else timm.create_model
    torch.manual_seed(0)
    model = make(bare, num_classes=7).eval()
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "w.pt")
    classifier = same(open_given(f"{name}?weights={tmp_path / 'w.pt'}&size=32"), model(IMAGES))
    assert isinstance(classifier.head, LinearHead) and len(classifier.classes) == 7
    assert classifier.architecture == name and not classifier.training


def test_the_transform_is_the_library_s_own():
    transform = open_given("timm:vit_tiny_patch16_224?weights=none").transform
    config = timm.get_pretrained_cfg("vit_tiny_patch16_224")
    assert transform.mean == config.mean == (0.5, 0.5, 0.5) and transform.interpolation == "bicubic"
    assert (transform.size, transform.resize) == (224, int(224 / config.crop_pct))
    transform = open_given("torchvision:resnet18?weights=none").transform
    assert (transform.size, transform.resize, transform.interpolation) == (224, 256, "bilinear")


def test_what_the_text_states_of_the_transform_goes_over_it():
    text = "torchvision:resnet18?weights=none&size=64&mean=.1,.2,.3&std=1,1,1&interpolation=bicubic&crop=.8&fit=squash"
    transform = open_given(text).transform
    assert (transform.size, transform.resize, transform.mean, transform.std) == (64, 80, (0.1, 0.2, 0.3), (1, 1, 1))
    assert (transform.interpolation, transform.fit) == ("bicubic", "squash")
    with pytest.raises(OutskirtsError, match=r"crop=1\.5 in .* is a share of the image"):
        open_given("torchvision:resnet18?weights=none&crop=1.5")


def test_networks_without_a_head_are_feature_backbones():
    classifier = open_given("timm:vit_small_patch14_dinov2?weights=none&size=28", ["a", "b"])
    assert isinstance(classifier.head, NoHead) and classifier.dim == 384 and classifier.classes == ["a", "b"]
    assert open_given("torchvision:resnet18?weights=none&size=32&head=none", "ab").dim == 512


def test_weights_of_a_backbone_alone_need_no_head(tmp_path):
    model = timm.create_model("resnet10t", num_classes=0)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    text = f"timm:resnet10t?weights={tmp_path / 'w.pt'}&size=32"
    assert open_given(f"{text}&head=none").dim == 512
    with pytest.raises(OutskirtsError, match=r"fc\.weight is missing"):
        open_given(text)


def test_one_s_own_function(small, tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(
        "from tests_of_given import Small\ndef make():\n    return Small()\nnet = Small()\nnumber = 3\n"
        "def none():\n    return 3\ndef wants(x):\n    return x\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tests_of_given", sys.modules[__name__])
    torch.save(small.state_dict(), "w.pt")
    for name in ("make", "net"):
        same(open_given(f"module:own_networks:{name}?weights=w.pt&{STATED}"), small(IMAGES))
    for text, told in (
        ("own_networks:mak", "no function 'mak' in own_networks; did you mean 'make'"),
        ("own_networks:none", "own_networks:none returns int, not a torch.nn.Module"),
        ("own_networks:wants", "own_networks:wants cannot be called without arguments"),
        ("nowhere:make", "The module nowhere cannot be imported"),
        ("own_networks", "names no function; write module:package.file:name"),
    ):
        with pytest.raises(OutskirtsError, match=told):
            open_given(f"module:{text}?{STATED}")
    with pytest.raises(OutskirtsError, match=r"add size=, mean=, std=, such as size=224"):
        open_given("module:own_networks:make")


def test_transformers_bring_their_processor_and_their_classes(tmp_path):
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": {0: "owl", 1: "ant", 2: "bee"}, "label2id": {"owl": 0, "ant": 1, "bee": 2}}
    model = transformers.ViTForImageClassification(
        transformers.ViTConfig(**shape, image_size=32, patch_size=8, **labels)
    ).eval()
    model.save_pretrained(tmp_path / "vit")
    about = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3}
    about |= {"do_normalize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(about))
    classifier = same(open_given(f"hf:{tmp_path / 'vit'}", ["ant", "bee", "owl"]), model(IMAGES).logits)
    assert classifier.classes == ["owl", "ant", "bee"], "the order of its logits"
    transform = classifier.transform
    assert (transform.mean, transform.interpolation, transform.fit) == ((0.1, 0.2, 0.3), "bicubic", "squash")
    for change, told in (
        ({"resample": 1}, "asks for a preprocessing that is not known here"),
        (
            {"size": {"height": 32, "width": 48}},
            "It must resize .* crop a square, and normalise; say all of what is right: size=",
        ),
        ({"resample": {}}, "is damaged: its resample is"),
        ({"size": {"height": {"x": 1}, "width": 32}}, "is damaged: .*height"),
    ):
        (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(OutskirtsError, match=told):
            open_given(f"hf:{tmp_path / 'vit'}")
    model.vit.save_pretrained(tmp_path / "bare")
    bare = open_given(f"hf:{tmp_path / 'bare'}?{STATED}", "ab")
    assert isinstance(bare.head, NoHead) and bare.dim == 16
    with torch.no_grad():
        expected = model.vit(IMAGES).last_hidden_state[:, 0]
        torch.testing.assert_close(bare.features(IMAGES), expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(rebuilt(bare).features(IMAGES), bare.features(IMAGES))
    with pytest.raises(OutskirtsError, match=r"is not a folder of transformers: it has no config\.json"):
        open_given(f"hf:{tmp_path}")


def test_clip_knows_classes_by_their_names(tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = save_small_clip(tmp_path / "clip")
    classifier = open_given(f"clip:{folder}?template=a {{}}", ["ant", "bee"])
    assert isinstance(classifier.head, PrototypeHead) and classifier.classes == ["ant", "bee"]
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        words = tokenizer(["a ant", "a bee"], padding=True, return_tensors="pt")
        expected = model(pixel_values=IMAGES, **words).logits_per_image
        # Rounding is that of the cosines, which the temperature multiplies.
        cosines = classifier(IMAGES) * classifier.head.temperature
        assert torch.equal(rebuilt(classifier)(IMAGES), classifier(IMAGES))
    torch.testing.assert_close(cosines, expected / model.logit_scale.exp(), rtol=1e-4, atol=1e-5)
    assert open_given(f"clip:{folder}?words=owl,ant,bee").classes == ["owl", "ant", "bee"]
    with pytest.raises(OutskirtsError, match="There are 2 classes and 1 words"):
        open_given(f"clip:{folder}?words=owl", ["ant", "bee"])
    with pytest.raises(OutskirtsError, match="a single class, so all would be of it"):
        open_given(f"clip:{folder}?words=owl")


def export_onnx(model, file, outputs=("y",)):
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    axes = {"x": {0: "batch"}}
    torch.onnx.export(
        model, (IMAGES,), str(file), dynamo=False, input_names=["x"], output_names=list(outputs), dynamic_axes=axes
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_shows_its_last_layer(small, tmp_path):
    export_onnx(small, tmp_path / "m.onnx")
    text = f"{tmp_path / 'm.onnx'}?mean=0.5,0.5,0.5&std=0.5,0.5,0.5&size=32"
    classifier = same(open_given(text), small(IMAGES))
    assert isinstance(classifier.head, LinearHead) and classifier.dim == 8
    torch.testing.assert_close(classifier.head.linear.weight, small.fc.weight)
    with pytest.raises(OutskirtsError, match="An ONNX file gives no gradients"):
        classifier(IMAGES.clone().requires_grad_())
    again = open_given(text)
    assert again.fingerprint() == classifier.fingerprint()
    torch.manual_seed(1)
    export_onnx(Small().eval(), tmp_path / "m.onnx")
    assert open_given(text).fingerprint() != classifier.fingerprint(), "another file is another classifier"
    with pytest.raises(OutskirtsError, match="no node 'nope' of"):
        open_given(f"{text}&features=nope")
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    with pytest.raises(OutskirtsError, match="cannot be read as an ONNX file"):
        open_given(text)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_of_other_layers_carries_its_logits(small, tmp_path):
    model = nn.Sequential(small, nn.Hardtanh(-0.1, 0.1)).eval()
    export_onnx(model, tmp_path / "m.onnx")
    text = f"{tmp_path / 'm.onnx'}?{STATED}"
    classifier = same(open_given(text), model(IMAGES))
    assert isinstance(classifier.head, CarriedHead) and classifier.head.dim == 0


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_gives_logits_and_named_features(small, tmp_path):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small

        def forward(self, images):
            maps = self.inner.bn(self.inner.conv(images)).relu()
            return self.inner.fc(maps.mean((2, 3))), maps

    torch.jit.trace(small, IMAGES).save(str(tmp_path / "m.ts"))
    classifier = same(open_given(f"torchscript:{tmp_path / 'm.ts'}?{STATED}"), small(IMAGES))
    assert isinstance(classifier.head, CarriedHead) and classifier.head.dim == 0
    torch.jit.trace(Both().eval(), IMAGES).save(str(tmp_path / "both.ts"))
    classifier = same(open_given(f"torchscript:{tmp_path / 'both.ts'}?{STATED}&output=0&features=1"), small(IMAGES))
    assert classifier.head.dim == 8
    with pytest.raises(OutskirtsError, match=r"\(1, 32, 32\).* to have 3 channels, but got 1 .* a value for each"):
        open_given(f"torchscript:{tmp_path / 'm.ts'}?size=32&mean=0.5&std=0.5")
    with pytest.raises(OutskirtsError, match=r"cannot be read as a file of torch\.jit\.save"):
        (tmp_path / "m.ts").write_bytes(b"nothing")
        open_given(f"torchscript:{tmp_path / 'm.ts'}?{STATED}")


def test_exported_programs_show_their_last_layer(small, tmp_path):
    batch = torch.export.Dim("batch")
    program = torch.export.export(small, (IMAGES,), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "m.pt2")
    classifier = same(open_given(f"{tmp_path / 'm.pt2'}?{STATED}"), small(IMAGES))
    assert isinstance(classifier.head, LinearHead) and classifier.dim == 8
    named = same(open_given(f"{tmp_path / 'm.pt2'}?{STATED}&features=conv2d"), small(IMAGES))
    assert isinstance(named.head, CarriedHead) and named.head.dim == 8
    with pytest.raises(OutskirtsError, match=r"says size=64, and the network takes 32; leave out size="):
        open_given(f"{tmp_path / 'm.pt2'}?{STATED.replace('size=32', 'size=64')}")
    with pytest.raises(OutskirtsError, match="says mean and std of 1 channel, and the network takes 3"):
        open_given(f"{tmp_path / 'm.pt2'}?size=32&mean=0.5&std=0.5")


def test_classes_are_agreed_by_name(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("from tests_of_given import Small\nmake = Small\n")
    monkeypatch.setitem(sys.modules, "tests_of_given", sys.modules[__name__])
    text = f"module:nets:make?{STATED}"
    assert open_given(text).classes == ["0", "1", "2", "3", "4"]
    assert open_given(text, "abcde").classes == list("abcde")
    assert open_given(f"{text}&classes=e,d,c,b,a", "abcde").classes == list("edcba")
    (tmp_path / "names.txt").write_text("e\nd\nc\nb\na\n")
    assert open_given(f"{text}&classes=names.txt", "abcde").classes == list("edcba")
    said = []
    assert open_given(f"{text}&classes=v,w,x,y,z", "abcde", said).classes == list("abcde")
    assert "other names than those of the training images, such as v and a; they are taken to be in the same" in said[0]
    assert open_given(f"{text}&classes=e,d,c,b,a", "dab", said).classes == list("edcba")
    assert said[1].startswith("The training images are of 3 of the 5 classes of ")
    for classes, options, told in (
        ("abc", "", "gives 5 logits, and the training images are of 3 classes. .*add head=none"),
        ("abcde", "&classes=a,b", "gives 5 logits, and there are 2 names of classes"),
        ("abcdx", "&classes=a,b,c,d,e", "shares only 4 of its 5 classes .* it has e, and these have x"),
    ):
        with pytest.raises(OutskirtsError, match=told):
            open_given(f"{text}{options}", classes)


def test_a_head_that_is_no_layer_is_used_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.py").write_text(
        "from torch import nn\nfrom tests_of_given import Small\ndef make():\n    net = Small()\n"
        "    net.fc = nn.Sequential(nn.Linear(8, 5), nn.PReLU())\n    return net\n"
    )
    monkeypatch.setitem(sys.modules, "tests_of_given", sys.modules[__name__])
    classifier = open_given(f"module:odd:make?{STATED}&head=fc")
    assert isinstance(classifier.head, ModuleHead)
    assert classifier.space(torch.zeros(2, 8), "head")[1] is None, "no linear layer is told of"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("b\xe4r\nant\n".encode("latin-1"), r"classes\.txt is not a list of names in UTF-8 .*; save it in UTF-8"),
        (b"\n \n", r"classes\.txt names no class; write the name of a class into each line"),
        (b"ant\nbee\nant\n", "has two classes that are called 'ant'; each class needs a name of its own"),
    ],
)
def test_a_wrong_list_of_classes_is_refused(names, told, tmp_path):
    (tmp_path / "classes.txt").write_bytes(names)
    with pytest.raises(OutskirtsError, match=told):
        open_given(f"torchvision:resnet18?weights=none&size=32&classes={tmp_path / 'classes.txt'}")


def test_a_list_of_classes_may_begin_with_a_byte_order_mark(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "listed.py").write_text("from tests_of_given import Small\nmake = Small\n")
    monkeypatch.setitem(sys.modules, "tests_of_given", sys.modules[__name__])
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n", encoding="utf-8-sig")
    assert open_given(f"module:listed:make?{STATED}&classes=names.txt").classes == list("abcde")


def test_a_class_that_the_network_has_twice_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "doubled.py").write_text("from tests_of_given import Small\nnet = Small(2)\nnet.classes = ['a', 'a']\n")
    monkeypatch.setitem(sys.modules, "tests_of_given", sys.modules[__name__])
    with pytest.raises(OutskirtsError, match=r"shares only 1 of its 2 classes .*: it has a twice, and these have b"):
        open_given(f"module:doubled:net?{STATED}", "ab")


def test_a_module_that_ends_the_program_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ending.py").write_text("raise SystemExit('no')\n")
    (tmp_path / "ended.py").write_text("def make():\n    raise SystemExit('no')\n")
    with pytest.raises(OutskirtsError, match=r"The module ending cannot be imported \(no\)"):
        open_given(f"module:ending:make?{STATED}")
    with pytest.raises(OutskirtsError, match=r"ended:make cannot be called without arguments \(no\)"):
        open_given(f"module:ended:make?{STATED}")


def test_a_network_that_gives_no_numbers_is_named(small, tmp_path):
    broken = nn.Sequential(small, nn.Threshold(1e9, float("nan")))
    with pytest.raises(OutskirtsError, match=r"Sequential gives NaN .* shape \(2, 4, 4\)\. They may be too small"):
        adapt(nn.Sequential(nn.Flatten(), nn.Linear(32, 3), nn.Threshold(1e9, float("nan"))), torch.zeros(2, 2, 4, 4))
    torch.export.save(torch.export.export(broken, (IMAGES[:2],)), tmp_path / "m.pt2")
    with pytest.raises(OutskirtsError, match=r"m\.pt2 gives NaN or infinity .* or its weights are damaged"):
        open_given(f"{tmp_path / 'm.pt2'}?{STATED}")


@pytest.mark.parametrize("kinds", [[None], [3], "ViT", {"x": 1}])
def test_a_damaged_configuration_of_transformers_is_named(kinds, tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": kinds}))
    with pytest.raises(OutskirtsError, match=r"config\.json is damaged: .*architectures"):
        open_given(f"hf:{tmp_path}")


def test_nothing_is_logged_of_a_file_that_cannot_be_read(tmp_path, outskirts):
    (tmp_path / "m.pt2").write_bytes(b"nothing")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    outcome = outskirts("extract", tmp_path, "--model", f"{tmp_path / 'm.pt2'}?{STATED}", "--out", tmp_path / "o.npz")
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1 and "torch.export.save" in outcome.err


def test_weights_that_timm_does_not_have_are_named():
    told = r"no weights 'test_resnet\.x' of the model 'test_resnet' of timm.* Known: test_resnet\.r160_in1k"
    for text in ("timm:test_resnet.x", "timm:test_resnet.x?weights=none&size=32", "backbone:test_resnet.x?size=32"):
        with pytest.raises(OutskirtsError, match=told):
            open_given(text)
    assert open_given("timm:test_resnet.r160_in1k?weights=none&size=32").dim


@pytest.mark.parametrize("named", ["", "&head=fc"])
def test_grey_networks_of_timm(named, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=4, in_chans=1).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    text = f"timm:resnet10t?weights={tmp_path / 'w.pt'}&channels=1&size=32{named}"
    classifier = same(open_given(f"{text}&mean=0.4&std=0.3"), model(IMAGES[:, :1]), IMAGES[:, :1])
    assert (classifier.transform.channels, classifier.transform.mean) == (1, (0.4,))
    if named:
        assert given_backbone(classifier.architecture, classifier.transform).dim == classifier.dim
    with pytest.raises(OutskirtsError, match=r"of 3 channels; state those of 1: mean= and std=, such as mean=0\.5&"):
        open_given(text)


def test_networks_of_outskirts_without_a_head_name_no_part():
    with pytest.raises(OutskirtsError, match=r"'fast' gives features alone; leave out head=fc and features=a"):
        open_given(f"backbone:fast?{STATED}&head=fc&features=a")
    assert open_given(f"backbone:fast?{STATED}&head=none", "ab").dim
