import json
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.keyset import KeySet
from outskirts.data.transform import Transform
from outskirts.guard.export.exportable import exportable
from outskirts.guard.export.resizing import Resized
from outskirts.methods import registry
from outskirts.models.given.of_onnx import OnnxNetwork
from outskirts.models.heads import NoHead, PrototypeHead, projector
from outskirts.seeding import isolated
from outskirts.training.config import resolve_recipe

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_a_file_gives_the_verdicts_of_a_guard(guard, tmp_path):
    made = guard("mahalanobis", per_class=True)
    file = tmp_path / "made.onnx"
    exported = made.export(file)
    assert exported.compared.score < 1e-5
    assert str(exported).startswith("On 10 images of 5 sizes, the largest difference")
    assert [path.name for path in tmp_path.iterdir()] == ["made.onnx"]
    session = onnxruntime.InferenceSession(file)
    (pixels,) = session.get_inputs()
    assert (pixels.name, pixels.type, pixels.shape) == ("pixels", "tensor(uint8)", ["batch", "height", "width", 3])
    assert {one.name: (one.type, one.shape) for one in session.get_outputs()} == {
        "logits": ("tensor(float)", ["batch", 3]),
        "label": ("tensor(int64)", ["batch"]),
        "score": ("tensor(double)", ["batch"]),
        "p_value": ("tensor(double)", ["batch"]),
        "accepted": ("tensor(bool)", ["batch"]),
    }
    pictures = np.random.default_rng(0).integers(0, 256, (3, 29, 57, 3), dtype=np.uint8)
    given = dict(zip([one.name for one in session.get_outputs()], session.run(None, {"pixels": pictures})))
    verdicts = made.predict(list(pictures))
    assert np.allclose(given["score"], verdicts.scores, rtol=1e-4)
    assert given["label"].tolist() == verdicts.predicted[:, 0].tolist()
    assert np.allclose(given["p_value"], verdicts.p_values)
    assert given["accepted"].tolist() == verdicts.accepted.tolist()
    _check_metadata(session.get_modelmeta().custom_metadata_map, made)
    _check_paths(file.read_bytes())


def _check_paths(content):
    """Exporters write where in which file each operation was called."""
    for path in (Path(osk.__file__).parent, Path(torch.__file__).parent, sys.prefix):
        assert str(path).encode() not in content


def _check_metadata(entries, guard):
    assert json.loads(entries["outskirts.labels"]) == ["ant", "honey bee", "fly"]
    assert Transform.from_json(json.loads(entries["outskirts.transform"])) == guard.classifier.transform
    groups = json.loads(entries["outskirts.calibration"])["groups"]
    assert [group["threshold"] for group in groups] == guard.calibration.thresholds.tolist()
    assert json.loads(entries["outskirts.compared"])["score"] < 1e-5
    assert entries["outskirts.guard"] == guard.fingerprint
    model_info = {name: value for name, value in entries.items() if name.startswith("model_info ")}
    assert model_info["model_info model_type"] == "Classification"
    assert model_info["model_info labels"] == "ant honey_bee fly"
    assert model_info["model_info resize_type"] == "crop"
    assert model_info["model_info mean_values"] == "102 127.5 153"
    assert model_info["model_info scale_values"] == "51 76.5 63.75"
    assert model_info["model_info embedded_processing"] == "True"


def test_torch_runs_a_file_without_outskirts(guard, tmp_path):
    made = guard("knn:k=5")
    compared = made.export(tmp_path / "made.pt2", format="torch").compared
    # Some processors round products with the bank by how many rows there are at once.
    assert compared.logits == 0 and compared.score < 1e-6
    texts = {"metadata.json": ""}
    module = torch.export.load(tmp_path / "made.pt2", extra_files=texts).module()
    pixels = torch.randint(0, 256, (4, 22, 70, 3), dtype=torch.uint8)
    logits, label, score, p_value, accepted = module(pixels)
    assert not (logits.requires_grad or score.requires_grad)
    verdicts = made.predict([one.numpy() for one in pixels])
    assert logits.shape == (4, 3) and label.tolist() == verdicts.predicted[:, 0].tolist()
    assert torch.equal(p_value, verdicts.p_values) and torch.equal(accepted, verdicts.accepted)
    assert json.loads(texts["metadata.json"])["model_info labels"] == "ant honey_bee fly"
    with zipfile.ZipFile(tmp_path / "made.pt2") as parts:
        for name in parts.namelist():
            _check_paths(parts.read(name))


#: Heads of methods, each with a detector that reads what they have.
HEADS = {
    "ce": "fdbd",
    "ascood": "nci",
    "cider": "knn:k=5,space=projection",
    "npos": "ood_head",
    "supcon": "mcm",
    "t2fnorm": "ash",
    "godin": "godin",
    "vos": "energy",
}


@pytest.mark.slow
@pytest.mark.parametrize("method", HEADS)
def test_heads_of_methods(guard, method, tmp_path):
    with isolated(0, method):
        head = registry[method].head(resolve_recipe(method, {}).settings, 32, 3)
    assert guard(HEADS[method], head=head.eval()).export(tmp_path / "made.onnx").compared.score < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("features", "detector"), [("raw", "knn:k=5"), ("projection", "dice")])
def test_features_that_are_asked_for(guard, features, detector, tmp_path):
    head = PrototypeHead(projector("mlp", 32, 8), 3, 8, 0.1).eval()
    assert guard(detector, head=head, features=features).export(tmp_path / "made.onnx").compared.score < 1e-5


@pytest.mark.slow
def test_a_network_without_a_head(guard, tmp_path):
    exported = guard("knn:k=5", head=NoHead()).export(tmp_path / "made.onnx")
    assert exported.compared.logits is None and exported.compared.score < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "made.onnx")
    assert [one.name for one in session.get_outputs()] == ["score", "p_value", "accepted"]


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["gram:stages=1", "mahalanobis_ensemble:stages=1"])
def test_maps_within_the_network(guard, detector, tmp_path):
    assert guard(detector).export(tmp_path / "made.onnx").compared.score < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("transform", [
    Transform(16, 1), Transform(16, 1, fit="pad"), Transform(16, 3, interpolation="bicubic", fit="squash", resize=20),
])  # fmt: skip
def test_every_transform(guard, transform, tmp_path):
    assert guard(transform=transform).export(tmp_path / "made.onnx").compared.score < 1e-5


@pytest.mark.slow
def test_trained_networks_and_those_of_others(finished, bugs, tmp_path):
    images = bugs / "test"
    run = osk.Guard.fit(finished, calibration=images, detector="mahalanobis", acceptance=0.8)
    compared = run.export(tmp_path / "run.onnx", bugs / "fog").compared
    assert compared.images == 12 and compared.score < 1e-5
    given = {"train": bugs / "train", "calibration": images, "acceptance": 0.8, "detector": "react"}
    weights = tmp_path / "my.pt"
    with isolated(0, "resnet10t"):
        torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), weights)
    other = osk.Guard.fit(f"timm:resnet10t?weights={weights}&size=32", **given)
    assert other.export(tmp_path / "other.onnx").compared.score < 1e-5


@pytest.mark.slow
def test_networks_of_transformers(clip_folder, bugs, tmp_path):
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with isolated(0, "vit"):
        config = transformers.ViTConfig(**shape, image_size=16, patch_size=8, num_labels=2)
        transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    stated = "size=16&mean=0.5,0.5,0.5&std=0.5,0.5,0.5&classes=ant,bee"
    for number, model in enumerate((f"hf:{tmp_path / 'vit'}?{stated}", f"clip:{clip_folder}?words=ant,bee")):
        made = osk.Guard.fit(model, bugs / "train", bugs / "test", "energy", 0.8)
        assert made.export(tmp_path / f"{number}.onnx", bugs / "fog").compared.score < 1e-4


@pytest.mark.slow
def test_eight_bits_have_thresholds_of_their_own(guard, bugs, tmp_path):
    made = guard("knn:k=5")
    before = made.calibration.thresholds
    said = []
    # Its name is that of no file on the way.
    exported = made.export(tmp_path / "plain.onnx", int8=True, calibration=bugs / "test" / "ant", say=said.append)
    assert said == ["Quantising the network with 2 images.", "Calibrating the thresholds anew on 8 images."]
    assert exported.compared is None and "same label" in str(exported) and "accuracy" not in str(exported)
    assert [path.name for path in tmp_path.iterdir()] == ["plain.onnx"]
    assert torch.equal(made.calibration.thresholds, before), "the guard stays as it is"
    _check_paths((tmp_path / "plain.onnx").read_bytes())
    graph = onnx.load(tmp_path / "plain.onnx").graph
    assert any(node.op_type == "DequantizeLinear" for node in graph.node)
    session = onnxruntime.InferenceSession(tmp_path / "plain.onnx")
    entries = session.get_modelmeta().custom_metadata_map
    (group,) = json.loads(entries["outskirts.calibration"])["groups"]
    assert group["n"] == 8 and group["threshold"] != before.item()
    cost = json.loads(entries["outskirts.int8"])
    assert cost["images"] == 8 and cost["accuracy"] is None and cost["auroc"] is None


@pytest.mark.slow
def test_images_that_cannot_be_decoded_are_told(guard, bugs, tmp_path):
    images = tmp_path / "images"
    for source in (bugs / "test" / "ant", bugs / "fog"):
        shutil.copytree(source, images, dirs_exist_ok=True)
    (images / "0.png").write_text("no picture")
    made, said = guard("knn:k=5"), []
    exported = made.export(tmp_path / "made.onnx", images)
    count = len(list(images.iterdir())) - 1
    assert exported.compared.images == count and str(exported).endswith(" 1 image could not be decoded.")
    made.export(tmp_path / "small.onnx", int8=True, calibration=images, say=said.append)
    assert said[0].startswith("Left out: ") and "0.png cannot be decoded" in said[0]


@pytest.mark.slow
def test_what_eight_bits_cost_is_told(guard, bugs, tmp_path):
    exported = guard().export(tmp_path / "made.onnx", int8=True, calibration=f"folder:{bugs / 'test'}?classes=ant")
    assert all(0 <= area <= 1 for area in (*exported.cost.auroc, *exported.cost.accuracy))
    assert exported.cost.auroc[1] == pytest.approx(exported.cost.auroc[0], abs=0.2)
    assert "AUROC" in str(exported) and str(exported).endswith("% of the time.")


def test_images_that_were_learnt_from_set_no_threshold(guard, bugs, tmp_path):
    images = bugs / "test" / "ant"
    made = replace(guard("energy"), seen={"training": KeySet.of(osk.open(images).keys)})
    with pytest.raises(OutskirtsError, match=r"10 of the 10 calibration images .* are also training images"):
        made.export(tmp_path / "made.onnx", int8=True, calibration=images)
    with pytest.raises(OutskirtsError, match="A file of 8 bits has scores of its own"):
        made.export(tmp_path / "made.onnx", int8=True, calibration=images, images=images)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_wrong_is_not_left(guard, tmp_path, monkeypatch):
    usual = Resized._bytes
    monkeypatch.setattr(Resized, "_bytes", lambda self, images: usual(self, images + 3))
    with pytest.raises(OutskirtsError, match="its score differs"):
        guard("mahalanobis").export(tmp_path / "made.pt2", format="torch")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays(guard, tmp_path):
    (tmp_path / "made.pt2").write_text("earlier")
    (tmp_path / "weights.onnx.data").write_text("earlier")
    for name, form in (("made.pt2", "torch"), ("weights.onnx", "onnx")):
        with pytest.raises(OutskirtsError, match="is there already"):
            guard().export(tmp_path / name, format=form)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier", "earlier"]


@pytest.mark.parametrize("detector", ["odin", "rotation", "combination:detectors=[energy,iodin]", "knn:index=faiss"])
def test_what_takes_more_than_one_pass_is_refused(guard, detector, tmp_path):
    made = guard()
    object.__setattr__(made, "detector", osk.detectors.create(detector))
    with pytest.raises(OutskirtsError, match=r"cannot be exported.*energy, entropy"):
        made.export(tmp_path / "made.onnx")
    assert "energy" in exportable() and "odin" not in exportable()


def test_an_onnx_file_is_refused(guard, tmp_path):
    made = guard()
    network = OnnxNetwork.__new__(OnnxNetwork)
    nn.Module.__init__(network)
    made.classifier.backbone = network
    with pytest.raises(OutskirtsError, match="This classifier is an ONNX file"):
        made.export(tmp_path / "made.onnx")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_file_is_refused(guard, tmp_path):
    made = guard()
    made.classifier.backbone = torch.jit.script(nn.Sequential(nn.ReLU()))
    with pytest.raises(OutskirtsError, match="This classifier is a TorchScript file"):
        made.export(tmp_path / "made.onnx")


def test_too_few_images_for_eight_bits(guard, bugs, tmp_path):
    made = guard(acceptance=0.99)
    with pytest.raises(OutskirtsError, match=r"2 of the 10 .* tell the range.* at least 99 calibration images"):
        made.export(tmp_path / "made.onnx", int8=True, calibration=bugs / "test" / "ant")


@pytest.mark.slow
def test_large_weights_are_beside_the_file(guard, tmp_path, monkeypatch):
    usual = torch.onnx.ONNXProgram.save
    monkeypatch.setattr(torch.onnx.ONNXProgram, "save", lambda self, path: usual(self, path, external_data=True))
    guard().export(tmp_path / "made.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.onnx", "made.onnx.data"]
    session = onnxruntime.InferenceSession(tmp_path / "made.onnx")
    assert session.run(["accepted"], {"pixels": np.zeros((2, 9, 9, 3), np.uint8)})[0].shape == (2,)


class Deciding(nn.Module):
    """A network that looks at what it sees before it goes on."""

    def forward(self, images):
        return images.flatten(1)[:, :32] if images.mean() > 100 else images.flatten(1)[:, 32:64]


def test_a_network_that_no_graph_holds(guard, tmp_path):
    made = guard()
    made.classifier.backbone = Deciding()
    with pytest.raises(OutskirtsError, match="This guard cannot be exported: torch cannot make a graph of it"):
        made.export(tmp_path / "made.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("made.pt2", {}, "ends in .onnx"),
        ("made.onnx", {"format": "torch"}, "ends in .pt2"),
        ("made.onnx", {"int8": True}, "Calibration images go with int8"),
        ("made.onnx", {"calibration": "x"}, "Calibration images go with int8"),
    ],
)
def test_what_does_not_go_together(guard, tmp_path, name, options, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        guard().export(tmp_path / name, **options)


def test_half_precision_is_refused(guard, tmp_path):
    made = guard()
    object.__setattr__(made, "precision", "bf16")
    with pytest.raises(OutskirtsError, match="precision fp32"):
        made.export(tmp_path / "made.onnx")
