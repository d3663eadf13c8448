"""`outskirts.train`: what a run folder holds, and that nothing is left of a training that cannot start."""

import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.imageset import ImageSet
from outskirts.training.config import resolve_recipe
from outskirts.training.loop import Interrupted
from outskirts.training.train import default_folder, resume
from outskirts.training.validation import training_sets


def test_a_finished_run_holds_what_it_says(finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        "checkpoint",
        "config.yaml",
        "data.json",
        "environment.json",
        "likeness.safetensors",
        "metrics.jsonl",
        "model.safetensors",
    ]
    environment = json.loads((finished / "environment.json").read_text())
    assert {"command", "outskirts", "torch", "python", "processor"} <= environment.keys()
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert (config["format"], config["method"], config["outliers"], config["size"]) == (1, "ascood", "shuffle", 16)
    assert "auto" not in config.values()


def test_auto_is_resolved(bugs, small, tmp_path):
    options = {**small, "precision": "auto", "device": "auto", "epochs": 1}
    training = osk.train("ce", bugs / "train", out=tmp_path / "run", **options).recipe().training
    assert training.precision in ("fp32", "bf16")
    assert training.device in ("cpu", "cuda", "mps")


def test_validation_images_are_set_aside(finished):
    train, val = training_sets(osk.Run.open(finished))
    assert (len(train), len(val)) == (38, 2)
    assert not set(train.keys) & set(val.keys)


def test_validation_images_of_one_s_own(bugs, small, tmp_path):
    run = osk.train("ce", bugs / "train", bugs / "test", out=tmp_path / "run", **small)
    train, val = training_sets(run)
    assert (len(train), len(val)) == (40, 20)


@pytest.fixture
def bad(bugs, draw, tmp_path, finished):
    """Arguments of trainings that cannot start, and what is said of them."""
    draw(tmp_path / "one", ("ant",))
    draw(tmp_path / "three", ("ant", "bee", "fly"))
    draw(tmp_path / "gap")
    (tmp_path / "gap" / "cat").mkdir()
    draw(tmp_path / "corrupt")
    (tmp_path / "corrupt" / "ant" / "3.png").write_bytes(b"no image")
    pixels = np.zeros((8, 8, 8), np.uint8)
    np.savez(tmp_path / "labels.npz", images=pixels, labels=np.array([0, 0, 0, 0, 2, 2, 2, 2]))
    np.savez(tmp_path / "channels.npz", images=np.zeros((8, 8, 8, 4), np.uint8), labels=np.zeros(8, int))
    (tmp_path / "empty").mkdir()
    good = bugs / "train"
    return {
        "missing": ((tmp_path / "nowhere",), {}, "There is no"),
        "empty": ((tmp_path / "empty",), {}, "holds no images"),
        "one class": ((tmp_path / "one",), {}, "one class; a classifier needs at least two"),
        "unlabelled": ((bugs / "fog",), {}, "12 of the 12 images.*no label"),
        "class without images": ((tmp_path / "gap",), {}, r"no images of these classes: 2 \(cat\)"),
        "label gap": ((tmp_path / "labels.npz",), {}, r"no images of these classes: 1"),
        "channels": ((tmp_path / "channels.npz",), {}, "1 or 3 channels.*alpha"),
        "corrupt": ((tmp_path / "corrupt",), {}, r"ant/3\.png cannot be decoded"),
        "class mismatch": ((good, tmp_path / "three"), {}, "classes that the training set lacks: fly"),
        "unlabelled validation": ((good, bugs / "fog"), {}, "without a label"),
        "no validation": ((f"{good}?limit=4",), {"val_fraction": 0.001}, "no image for validation"),
        "too few": ((f"{good}?limit=3",), {"batch_size": 1}, "fewer than 2"),
        "backbone": ((good,), {"backbone": "resnet18-cifra"}, "no backbone.*did you mean 'resnet18-cifar'"),
        "augment": ((good,), {"augment": "flop"}, "no augmentation 'flop'; did you mean 'flip'"),
        "large crop": ((good,), {"augment": "crop:40"}, "crop"),
        "weights": ((good,), {"pretrained": str(tmp_path / "w.pt")}, "do not exist"),
        "tracker": ((good,), {"tracker": "tensorbord"}, "no tracker 'tensorbord'; did you mean 'tensorboard'"),
        "absent tracker": (
            (good,),
            {"tracker": "clearml"},
            "'clearml' is not installed: python -m pip install clearml",
        ),
        "device": ((good,), {"device": "gpu"}, "no device 'gpu'"),
        "own network by name": ((good,), {"backbone": "custom:Net"}, "your own network Net; pass an instance"),
        "layer": ((good,), {"train_layers": "block"}, "no layer of the backbone 'block'; did you mean 'blocks"),
        "no run": ((good,), {"init": str(tmp_path / "nowhere")}, "The run folder .*nowhere does not exist"),
        "unfinished run": ((good,), {"init": str(_unfinished(finished, tmp_path))}, "is not finished; continue with"),
        "init backbone": (
            (good,),
            {"init": str(finished), "backbone": "resnet18-cifar"},
            r"has the backbone fast, which .*; leave out the backbone \(--backbone resnet18-cifar\)",
        ),
        "init size": ((good,), {"init": str(finished), "size": 32}, "has the size 16.*leave out the size .--size 32"),
        "init pretrained": (
            (good,),
            {"init": str(finished), "pretrained": "true"},
            "begins either from an earlier run or from published weights",
        ),
    }


def _unfinished(finished, folder):
    shutil.copytree(finished, folder / "unfinished", ignore=shutil.ignore_patterns("model*"))
    return folder / "unfinished"


CASES = (
    "missing,empty,one class,unlabelled,class without images,label gap,channels,corrupt,class mismatch,"
    "unlabelled validation,no validation,too few,backbone,augment,large crop,weights,tracker,absent tracker,device,"
    "own network by name,layer,no run,unfinished run,init backbone,init size,init pretrained"
)


@pytest.mark.parametrize("case", CASES.split(","))
def test_nothing_is_left_of_a_training_that_cannot_start(bad, case, small, tmp_path):
    sets, options, sentence = bad[case]
    with pytest.raises(OutskirtsError, match=sentence):
        osk.train("ce", *sets, out=tmp_path / "out" / "run", **{**small, **options})
    assert not (tmp_path / "out").exists()


def test_a_tracker_that_does_not_start_leaves_nothing(bugs, small, tmp_path, monkeypatch):
    def fail(self, project, config):
        (tmp_path / "run" / project).mkdir(parents=True)
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(Accelerator, "init_trackers", fail)
    with pytest.raises(OutskirtsError, match=r"tracker 'tensorboard' does not start \(no network\)"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", tracker="tensorboard", **small)
    assert not (tmp_path / "run").exists()


def test_tensorboard_writes_its_events(bugs, small, tmp_path):
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", tracker="tensorboard", **small)
    events = [path.read_bytes() for path in run.path.rglob("events.out.tfevents.*")]
    assert any(b"val/accuracy" in content for content in events)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_an_existing_folder_is_refused_untouched(bugs, small, tmp_path, what):
    out = tmp_path / "run"
    kept = out if what == "file" else out / "mine.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(OutskirtsError, match="exists and is not an empty folder"):
        osk.train("ce", bugs / "train", out=out, **small)
    assert kept.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_empty_folder_is_taken(bugs, small, tmp_path):
    (tmp_path / "run").mkdir()
    assert osk.train("ce", bugs / "train", out=tmp_path / "run", **small).model.is_file()


def test_a_finished_run_is_not_resumed(finished):
    with pytest.raises(OutskirtsError, match="is finished; there is nothing to resume"):
        resume(finished)


def test_corrupt_images_are_left_out_and_counted(draw, small, tmp_path):
    folder = draw(tmp_path / "set")
    for name in ("ant/0.png", "bee/7.png"):  # The first is where the size is read from.
        (folder / name).write_bytes(b"no image")
    run = osk.train("ce", folder, out=tmp_path / "run", skip_corrupt=True, **small)
    data = next(run.records())
    assert sorted(name[-9:] for name in data["skipped"]) == ["ant/0.png", "bee/7.png"]


def test_images_made_in_python(small, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 12, 12, 3), dtype=np.uint8)
    images = ImageSet(pixels, torch.arange(24) % 2, ["a", "b"])
    run = osk.train("ce", images, out=tmp_path / "run", **small)
    assert osk.load(run.path).classes == ["a", "b"]
    with pytest.raises(OutskirtsError, match="made in Python, which no spec can open again"):
        training_sets(run)


def test_one_s_own_network(bugs, small, tmp_path, network):
    model = network()
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", model=model, **small)
    classifier = osk.load(run.path, model=network())
    assert classifier.architecture == "custom:Dropping"
    images = torch.randn(4, 3, 16, 16)
    with pytest.raises(OutskirtsError, match=r"your own network Dropping; pass an instance of it: load\(path, model="):
        osk.load(run.path)
    with torch.no_grad():
        # It was changed in place; its layout in memory is another, and so is the rounding of some processors.
        torch.testing.assert_close(classifier.features(images), model.eval()(images))
        logits = classifier(images)
    assert logits.shape == (4, 2)
    with pytest.raises(OutskirtsError, match="does not fit the network"):
        osk.load(run.path, model=network(channels=3, classes=2).apply(_widen))


def _widen(module):
    if isinstance(module, torch.nn.BatchNorm2d):
        module.register_buffer("more", torch.zeros(1))


def test_one_s_own_network_resumes_with_an_instance(bugs, small, tmp_path, network):
    def stop(step, steps, latest):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        osk.train("ce", bugs / "train", out=tmp_path / "run", model=network(), head="last", progress=stop, **small)
    with pytest.raises(OutskirtsError, match="your own network Dropping; pass an instance"):
        resume(tmp_path / "run")
    resume(tmp_path / "run", model=network(), head="last")
    osk.load(tmp_path / "run", model=network(), head="last")


def test_one_s_own_network_of_grey_images(small, tmp_path, network):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "grey.npz", images=pixels, labels=np.arange(24) % 2)
    for channels in (1, 3):
        run = osk.train(
            "ce", tmp_path / "grey.npz", out=tmp_path / str(channels), model=network(channels=channels), **small
        )
        assert osk.load(run.path, model=network(channels=channels)).transform.channels == channels


def test_a_network_for_other_images_is_told(bugs, small, tmp_path, network):
    with pytest.raises(OutskirtsError, match=r"shape \(1, 16, 16\)"):
        model = network(channels=1)
        model.body[0] = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(3, 8, 3))
        osk.train("ce", bugs / "train", out=tmp_path / "run", model=model, **small)


def test_a_timm_model(bugs, small, tmp_path):
    options = {**small, "backbone": "timm:test_resnet", "epochs": 1, "size": 32}
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", **options)
    classifier = osk.load(run.path)
    assert (classifier.architecture, classifier.transform.size) == ("timm:test_resnet", 32)


def test_adamw_and_sgd_differ(bugs, small, tmp_path):
    a, b = (
        osk.train("ce", bugs / "train", out=tmp_path / name, **{**small, "optimizer": name})
        for name in ("sgd", "adamw")
    )
    heads = [osk.load(run.path).head.linear.weight for run in (a, b)]
    assert not torch.equal(*heads)


def test_seeds_differ_and_repeat(bugs, small, tmp_path):
    def weight(name, seed):
        return osk.load(
            osk.train("ce", bugs / "train", out=tmp_path / name, seed=seed, **small).path
        ).head.linear.weight

    a, b, c = weight("a", 0), weight("b", 0), weight("c", 1)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_folder_is_named_after_method_data_and_seed(bugs):
    assert (
        str(default_folder(resolve_recipe("ce", {"data": "parquet:/a/b.parquet?limit=3", "seed": 4}))) == "runs/ce-b-s4"
    )
    assert str(default_folder(resolve_recipe("ce", {"data": "mnist5k?classes=0-5"}))) == "runs/ce-mnist5k-s0"


# Images of outliers


def test_training_with_images_of_outliers(bugs, small, refused, tmp_path):
    options = {**small, "outlier_images": str(bugs / "fog"), "outlier_batch": 4}
    for method, own in (("ncis", {"far_share": 0.25}), ("oe", {"outliers": "images"})):
        run = osk.train(method, bugs / "train", out=tmp_path / method, **options, **own)
        assert all("outlier_accuracy" in r or method == "oe" for r in run.records() if r["kind"] == "train")
    caption = json.loads((tmp_path / "ncis" / "gallery" / "outliers.json").read_text())["caption"]
    assert caption.startswith("Some of the 12 outliers of") and (tmp_path / "ncis/gallery/outliers.png").is_file()
    # Neither they nor copies of them can be measured afterwards.
    sentence = refused("evaluate", tmp_path / "ncis", "--test", bugs / "test", "--far", f"fog={bugs / 'fog'}")
    assert re.search(r"was trained with (\d+) of the \1 'fog' images as outliers", sentence)


def test_methods_and_images_of_outliers_must_agree(bugs, small, tmp_path):
    with pytest.raises(OutskirtsError, match="The method 'ncis' trains with images of outliers; make some"):
        osk.train("ncis", bugs / "train", out=tmp_path / "run", **small)
    with pytest.raises(OutskirtsError, match="The method 'ce' takes no images of outliers; leave them out"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", outlier_images=str(bugs / "fog"), **small)
    assert not (tmp_path / "run").exists()
