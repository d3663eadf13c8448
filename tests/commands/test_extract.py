"""``outskirts extract``."""

import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open

import outskirts as osk
from outskirts.extraction import saving
from outskirts.files import load_tensors

NETS = """
import torch
from torch import nn

def make(classes=2):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)]
    return nn.Sequential(*layers)

def three():
    return make(3)
"""
STATED = "size=16&mean=0.5,0.5,0.5&std=0.5,0.5,0.5"
ARRAYS = ["features", "logits", "labels", "weight", "bias"]


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A module of networks, as the text that the name of one completes."""
    (tmp_path / "nets_to_extract.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return "module:nets_to_extract:"


def load_arrays(file):
    with np.load(file) as arrays:
        return dict(arrays)


def tensors_of(outputs):
    head = {} if outputs.head is None else outputs.head._asdict()
    columns = {"features": outputs.features, "logits": outputs.logits, "labels": outputs.labels, **head}
    return {name: values for name, values in columns.items() if values is not None}


def same(arrays, outputs):
    for name, values in tensors_of(outputs).items():
        np.testing.assert_array_equal(arrays[name], values.numpy(), strict=True)


@pytest.mark.parametrize("prefix", ["", "run:"])
def test_a_run(outskirts, finished, bugs, tmp_path, prefix):
    file = tmp_path / "new" / "test.npz"
    outcome = outskirts("extract", bugs / "test", "--model", f"{prefix}{finished}", "--out", file, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert f"Outputs of 20 images in {file}: features, logits, labels, weight, bias, names, classes." in outcome.err
    images, arrays = osk.open(bugs / "test"), load_arrays(file)
    assert list(arrays) == [*ARRAYS, "names", "classes"]
    same(arrays, osk.extract(osk.load(finished), images))
    assert arrays["names"].tolist() == [images.name(i) for i in range(20)]
    assert arrays["names"][0] == str(bugs / "test" / "ant" / "0.png")
    assert arrays["classes"].tolist() == ["ant", "bee"]
    head = (arrays["weight"], arrays["bias"])
    outputs = osk.Outputs(arrays["features"], arrays["logits"], arrays["labels"], head=head)
    assert outputs.accuracy == osk.extract(osk.load(finished), images).accuracy


def test_a_network_of_elsewhere(outskirts, nets, bugs, tmp_path):
    model = f"{nets}make?{STATED}"
    outcome = outskirts("extract", bugs / "test", "--model", model, "--out", "test.safetensors", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "does not name its classes; its logits are taken to be in the order of the classes of the images" in (
        outcome.err
    )
    images = osk.open(bugs / "test")
    tensors, about = load_tensors(tmp_path / "test.safetensors")
    expected = tensors_of(osk.extract(osk.load(model), images))
    assert tensors.keys() == expected.keys() == set(ARRAYS)
    assert all(torch.equal(tensors[name], values) for name, values in expected.items())
    assert about == {"names": images.kept_names(), "classes": ["ant", "bee"]}
    with safe_open(tmp_path / "test.safetensors", "np") as file:
        assert file.get_tensor("features").shape == (20, 8)


def test_options_reach_the_pass(outskirts, refused, nets, finished, bugs, tmp_path):
    few = f"{bugs / 'test'}?limit=4"
    raw = ["--features", "raw", "--keep", "fp16"]
    assert outskirts("extract", few, "--model", finished, "--out", "raw.npz", "--device", "cpu", *raw).code == 0
    same(load_arrays("raw.npz"), osk.extract(osk.load(finished), few, features="raw", keep="fp16"))
    model, stated = f"{nets}make?size=16", ["--mean", "0.5,0.5,0.5", "--std", "0.1,0.1,0.1", "--fit", "squash"]
    assert outskirts("extract", few, "--model", model, "--out", "own.npz", "--device", "cpu", *stated).code == 0
    same(load_arrays("own.npz"), osk.extract(osk.load(f"{model}&mean=0.5,0.5,0.5&std=0.1,0.1,0.1&fit=squash"), few))
    told = refused("extract", few, "--model", finished, "--out", "no.npz", "--crop", "0.5")
    assert "is a run, which knows its own options; leave out crop=." in told


def test_without_a_head_there_are_no_logits(outskirts, nets, bugs):
    line = ["extract", bugs / "test", "--model", f"{nets}make?{STATED}&head=none", "--device", "cpu"]
    assert outskirts(*line, "--out", "test.npz").code == 0
    arrays = load_arrays("test.npz")
    assert list(arrays) == ["features", "labels", "names", "classes"]
    assert arrays["labels"].tolist() == [0] * 10 + [1] * 10 and arrays["classes"].tolist() == ["ant", "bee"]


def test_labels_are_places_in_the_classes_of_the_classifier(outskirts, nets, finished, bugs, tmp_path):
    line = ["extract", bugs / "flies", "--model", finished, "--device", "cpu"]
    outcome = outskirts(*line, "--out", "flies.npz")
    assert "12 images are of classes that the classifier lacks (fly); their labels are -1." in outcome.err
    arrays = load_arrays("flies.npz")
    assert set(arrays["labels"].tolist()) == {-1} and arrays["classes"].tolist() == ["ant", "bee"]
    outskirts("extract", f"{bugs / 'test'}?classes=bee", "--model", finished, "--out", "bees.npz", "--device", "cpu")
    assert load_arrays("bees.npz")["labels"].tolist() == [1] * 10
    three = outskirts("extract", bugs / "test", "--model", f"{nets}three?{STATED}", "--out", "three.npz")
    assert "20 images are of classes that the classifier lacks (ant, bee)" in three.err
    named = f"{nets}three?{STATED}&classes=fly,bee,ant"
    outskirts("extract", bugs / "test", "--model", named, "--out", "named.npz", "--device", "cpu")
    arrays = load_arrays("named.npz")
    assert arrays["classes"].tolist() == ["fly", "bee", "ant"] and arrays["labels"].tolist() == [2] * 10 + [1] * 10


def test_images_without_labels(outskirts, finished, bugs, tmp_path):
    file = tmp_path / "fog.npz"
    outcome = outskirts("extract", bugs / "fog", "--model", finished, "--out", file, "--device", "cpu")
    assert outcome.code == 0 and "lacks" not in outcome.err
    same(load_arrays(file), osk.extract(osk.load(finished), bugs / "fog"))


@pytest.mark.parametrize("name", ["test.csv", "test", "test.npz.gz"])
def test_other_suffixes_are_refused(refused, finished, bugs, tmp_path, name):
    told = refused("extract", bugs / "test", "--model", finished, "--out", tmp_path / name)
    assert f"ends in .npz or .safetensors, not to {tmp_path / name}." in told
    assert not list(tmp_path.iterdir())


def test_an_existing_file_stays(refused, finished, bugs, tmp_path):
    (tmp_path / "test.npz").write_text("kept")
    told = refused("extract", bugs / "test", "--model", finished, "--out", tmp_path / "test.npz")
    assert f"{tmp_path / 'test.npz'} is there already; choose another name, or remove it." in told
    assert (tmp_path / "test.npz").read_text() == "kept"


def test_a_file_that_cannot_hold_the_names_is_refused_at_once(refused, finished, bugs, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_MOST_NAMES", 100)
    told = refused("extract", bugs / "test", "--model", finished, "--out", tmp_path / "test.safetensors")
    assert "cannot hold the names of 20 images; write an .npz file." in told


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_corrupt_image_leaves_nothing_half_written(refused, outskirts, finished, bugs, tmp_path, suffix):
    fog = shutil.copytree(bugs / "fog", tmp_path / "fog")
    (fog / "4.png").write_bytes(b"no image")
    out = tmp_path / "out"
    line = ["extract", fog, "--model", finished, "--out", out / f"fog{suffix}", "--device", "cpu"]
    assert "4.png cannot be decoded" in refused(*line)
    assert not out.exists()
    outcome = outskirts(*line, "--skip-corrupt")
    assert "1 image could not be decoded and was left out, such as" in outcome.err
    assert [path.name for path in out.iterdir()] == [f"fog{suffix}"]
    names = (
        load_arrays(out / "fog.npz")["names"] if suffix == ".npz" else load_tensors(out / f"fog{suffix}")[1]["names"]
    )
    assert len(names) == 11 and str(fog / "4.png") not in names


def test_what_is_missing_is_told(refused, finished, bugs, tmp_path):
    file = tmp_path / "test.npz"
    assert "nowhere" in refused("extract", bugs / "nowhere", "--model", finished, "--out", file)
    assert "nowhere" in refused("extract", bugs / "test", "--model", tmp_path / "nowhere", "--out", file)
    assert "no device 'gpu'" in refused("extract", bugs / "test", "--model", finished, "--out", file, "--device", "gpu")
