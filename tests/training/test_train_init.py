"""`outskirts.train` with ``init``: what a run takes over from an earlier one."""

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.files import load_tensors
from outskirts.training.loop import Interrupted
from outskirts.training.train import resume


@pytest.fixture(scope="module")
def sphere(bugs, tmp_path_factory):
    """A finished run of CIDER, on one of two sizes of the embedding; not to be changed."""
    out = tmp_path_factory.mktemp("sphere") / "run"
    options = {"epochs": 1, "batch_size": 8, "lr": 0.1, "precision": "fp32", "device": "cpu", "augment": "flip"}
    return osk.train("cider", bugs / "train", out=out, embedding=8, **options).path


@pytest.fixture
def begun(bugs, small, tmp_path):
    """A run from an earlier one before its first step, and what both hold: weights by name."""

    def begin(method, earlier, data=bugs / "train", **options):
        run = osk.train(method, data, out=tmp_path / "begun", init=str(earlier), **{**small, "epochs": 0, **options})
        return (run, *(load_tensors(path / "model.safetensors")[0] for path in (run.path, earlier)))

    return begin


def inherited(own, earlier):
    """Names of weights that are those of the earlier run; all of the backbone must be."""
    same = {name for name in own if name in earlier and torch.equal(own[name], earlier[name])}
    assert {name for name in own if name.startswith("backbone.")} <= same
    return {name for name in same if name.startswith("head.")}


@pytest.mark.parametrize("method", ["ascood", "ce"])
def test_backbone_and_linear_head_are_taken_over(begun, finished, method):
    _, own, earlier = begun(method, finished)
    assert {"head.linear.weight", "head.linear.bias"} <= inherited(own, earlier)


def test_the_projection_is_taken_over_and_prototypes_are_those_of_the_data(begun, sphere):
    _, own, earlier = begun("cider", sphere, embedding=8)
    assert {name for name in own if "projection" in name} == inherited(own, earlier)


def test_what_fits_of_a_projection_is_taken_over(begun, sphere):
    _, own, earlier = begun("cider", sphere, embedding=4)
    assert inherited(own, earlier) == {"head.projection.0.weight", "head.projection.0.bias"}


@pytest.mark.parametrize("method", ["cider", "ascood"])
def test_a_head_of_another_kind_begins_anew(begun, finished, sphere, method):
    _, own, earlier = begun(method, {"cider": finished, "ascood": sphere}[method])
    assert not inherited(own, earlier)


def test_other_classes_keep_the_backbone_only(begun, finished, draw, tmp_path):
    run, own, earlier = begun("ascood", finished, draw(tmp_path / "others", ("ant", "fly")))
    assert inherited(own, earlier) <= {"head.inputs.sigma"} and osk.load(run.path).classes == ["ant", "fly"]


def test_settings_of_the_method_are_not_taken_over(begun, finished):
    _, own, earlier = begun("ascood", finished, sigma=2.0)
    assert own["head.inputs.sigma"] == 2.0 != earlier["head.inputs.sigma"]


def test_backbone_size_and_transform_are_those_of_the_run(begun, finished, bugs, draw, tmp_path):
    darker = draw(tmp_path / "darker", seed=5)
    for image in darker.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(image).resize((24, 24))) // 2).save(image)
    run, _, _ = begun("ce", finished, darker)
    assert osk.load(run.path).transform == osk.load(finished).transform
    training = run.recipe().training
    assert (training.backbone, training.size, training.init) == ("fast", 16, str(finished))


def test_what_init_takes_over_may_be_said_again(begun, finished):
    begun("ce", finished, backbone="fast", size=16)


def test_a_run_from_an_earlier_one_trains_on_and_repeats(bugs, small, tmp_path, sphere):
    options = {**small, "init": sphere, "embedding": 8}
    one, other = (osk.train("cider", bugs / "train", out=tmp_path / name, **options) for name in "ab")
    a, b, earlier = (load_tensors(path / "model.safetensors")[0] for path in (one.path, other.path, sphere))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["backbone.blocks.0.widen.weight"], earlier["backbone.blocks.0.widen.weight"])


def test_a_run_from_an_earlier_one_resumes(bugs, small, tmp_path, sphere):
    options = {**small, "init": sphere, "embedding": 8, "train_layers": "blocks.2"}
    whole = osk.train("cider", bugs / "train", out=tmp_path / "whole", **options)

    def stop(step, steps, latest):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        osk.train("cider", bugs / "train", out=tmp_path / "cut", progress=stop, **options)
    resume(tmp_path / "cut")
    a, b = (load_tensors(path / "model.safetensors")[0] for path in (whole.path, tmp_path / "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_one_s_own_network_begins_from_its_earlier_run(bugs, small, tmp_path, network):
    first = osk.train("ce", bugs / "train", out=tmp_path / "first", model=network(), **small)
    with pytest.raises(OutskirtsError, match="your own network Dropping; pass an instance"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", init=first.path, **small)
    options = {**small, "init": first.path, "epochs": 0}
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", model=network(), **options)
    a, b = (load_tensors(one.model)[0] for one in (first, run))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_init_works_from_the_command_line(outskirts, refused, bugs, finished, tmp_path):
    options = ("--data", bugs / "train", "--out", tmp_path / "run", "--init", finished, "--epochs", 0)
    assert "--size 32" in refused("train", "cider", *options, "--size", 32)
    outcome = outskirts("train", "cider", *options, "--embedding", 4, "--device", "cpu", "--precision", "fp32")
    assert outcome.code == 0, outcome.err
    own, earlier = (load_tensors(path / "model.safetensors")[0] for path in (tmp_path / "run", finished))
    assert not inherited(own, earlier) and own["head.prototypes"].shape == (2, 4)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["onnx", "pt2", "torchscript"])
def test_compiled_files_cannot_be_trained(begun, kind, tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 3)).eval()
    image, file = torch.zeros(2, 3, 16, 16), tmp_path / "network"
    if kind == "onnx":
        pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
        torch.onnx.export(network, (image,), str(file), dynamo=False)
    elif kind == "pt2":
        with open(file, "wb") as stream:
            torch.export.save(torch.export.export(network, (image,)), stream)
    else:
        torch.jit.trace(network, image).save(str(file))
    told = rf"cannot be trained: a file of the kind {kind} .*by one of the other kinds: run, timm, .*, clip, module\."
    with pytest.raises(OutskirtsError, match=told):
        begun("ce", f"{kind}:{file}?size=16&mean=0.5,0.5,0.5&std=0.5,0.5,0.5")
