"""Checkpoints made as the repositories save them, into run folders that evaluate takes."""

import argparse
import html
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

import outskirts as osk
from outskirts.errors import OutskirtsError
from outskirts.methods import registry
from outskirts.seeding import isolated
from outskirts.training.importing import import_checkpoint


@pytest.fixture(scope="module")
def foreign():
    """The networks of the test of layouts."""
    spec = importlib.util.spec_from_file_location("foreign", Path(__file__).parents[1] / "models" / "test_published.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["foreign"] = module
    spec.loader.exec_module(module)
    with isolated(0, "foreign"):
        yield module


def test_an_imported_run_is_evaluated(foreign, bugs, tmp_path, outskirts, in_shell):
    places = {f"PATH_TO_{name.upper()}": str(bugs / name) for name in ("train", "test", "fog")}
    places["PATH_TO_BEST_CKPT"] = str(tmp_path / "best.ckpt")
    model = foreign.ResNet(classes=2).eval()
    torch.save({"state_dict": foreign.wrapped(model.state_dict()), "epoch": 7}, tmp_path / "best.ckpt")
    train, run = f"folder:{bugs / 'train'}", tmp_path / "run"
    done = outskirts("import", "openood", tmp_path / "best.ckpt", "--data", train, "--out", run)
    assert done.code == 0 and "outskirts evaluate" in done.err
    done = outskirts(
        "evaluate", run, "--test", bugs / "test", "--far", f"fog={bugs / 'fog'}", "--detectors", "msp", "knn:k=5"
    )
    assert done.code == 0 and (run / "results.csv").is_file(), done.err
    script = re.search("<pre[^>]*><code>(# Made.*?)</code>", (run / "report.html").read_text(), re.DOTALL)[1]
    again, measured = in_shell(html.unescape(script), **{name: places[name] for name in places if name in script})
    assert outskirts(*again[:-1], tmp_path / "again").code == 0 and measured[:2] == ["evaluate", "repeated/run"]
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    images = osk.open(bugs / "test")
    classifier = osk.load(run)
    pixels, _ = images.resident(classifier.transform)
    with torch.no_grad():
        expected = model(classifier.transform.device(pixels))
    assert classifier.classes == ["ant", "bee"] and classifier.transform.size == 32
    torch.testing.assert_close(osk.extract(classifier, images).logits, expected, rtol=1e-4, atol=1e-4)


def test_prototypes_that_are_not_in_the_file(foreign, bugs, tmp_path):
    model = foreign.Contrastive().eval()
    model.mlp = nn.Sequential(nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 1))
    torch.save(model.state_dict(), tmp_path / "flat.pt")
    told = []
    images = osk.open(bugs / "train")
    run = import_checkpoint("npos", tmp_path / "flat.pt", images, tmp_path / "run", say=told.append)
    classifier = osk.load(run.path)
    assert "no prototypes" in told[0]
    pixels, labels = images.resident(classifier.transform)
    with torch.no_grad():
        points = model.points(classifier.transform.device(pixels))
    means = normalize(torch.stack([points[labels == c].mean(0) for c in range(2)]), dim=1)
    torch.testing.assert_close(classifier.head.prototypes, means, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("layout", "classes", "expected"),
    [("cider", 10, 100), ("cider", 100, 300), ("npos", 10, 300), ("npos", 100, 300), ("cider", 7, 50), ("npos", 7, 50)],
)
def test_the_published_number_of_neighbours(foreign, layout, classes, expected, tmp_path):
    model, told = foreign.Contrastive(), []
    if layout == "npos":
        model.mlp = nn.Sequential(nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 1))
    prototypes = {"prototypes": torch.eye(classes, 128)}
    torch.save({"state_dict": model.state_dict(), "dis_state_dict": prototypes}, tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", images=np.zeros((2 * classes, 8, 8, 3), np.uint8), labels=np.arange(2 * classes) // 2)
    images = osk.open(f"npz:{tmp_path / 'a.npz'}?images=images&labels=labels")
    run = import_checkpoint(layout, tmp_path / "a.pt", images, tmp_path / "run", say=told.append)
    recipe = run.recipe()
    knn = registry[recipe.method].detectors(recipe.settings)[0]
    assert (knn["name"], knn["k"]) == ("knn", expected)
    said = [text for text in told if "knn" in text]
    assert said == [] if expected == 50 else f"k={expected}" in said[0] and "--detectors knn:k=K" in said[0]


@torch.no_grad()
def test_clip(clip_folder, bugs, tmp_path):
    """The last two of four blocks, written in the layout of OpenAI's code from the folder's own weights."""
    from outskirts.models.clip import clip_backbone, text_prototypes

    tower = clip_backbone(f"clip:{clip_folder}?frozen=2").network
    state = {f"ln_post.{key}": value for key, value in tower.norm.state_dict().items()}
    state["proj"] = tower.projection.weight.T.half()
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for i, block in enumerate(tower.blocks.layers):
        at = f"transformer_resblocks.block{i}."
        own = {key: value + 0.01 for key, value in block.state_dict().items()}
        for kind in ("weight", "bias"):
            state[f"{at}attn.in_proj_{kind}"] = torch.cat([own[f"self_attn.{one}_proj.{kind}"] for one in "qkv"])
            state[f"{at}attn.out_proj.{kind}"] = own[f"self_attn.out_proj.{kind}"]
            state |= {f"{at}{new}.{kind}": own[f"{old}.{kind}"] for old, new in names.items()}
    risk = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
    state |= {f"outlier_MLP.{key}": value for key, value in risk.state_dict().items()}
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "clip.pt")
    images = osk.open(bugs / "train")
    with pytest.raises(OutskirtsError, match="--backbone clip:DIR"):
        import_checkpoint("npos-clip", tmp_path / "clip.pt", images, tmp_path / "run")
    backbone = f"clip:{clip_folder}?frozen=2"
    run = import_checkpoint("npos-clip", tmp_path / "clip.pt", images, tmp_path / "run", backbone=backbone)
    classifier = osk.load(run.path)
    for old, new in zip(tower.blocks.parameters(), classifier.backbone.blocks.parameters()):
        torch.testing.assert_close(new, old + 0.01)
    torch.testing.assert_close(classifier.backbone.trunk.state_dict(), tower.trunk.state_dict())
    torch.testing.assert_close(classifier.head.prototypes, text_prototypes(clip_folder, ["ant", "bee"]))


def test_what_does_not_fit_is_listed(foreign, bugs, tmp_path):
    images, state = osk.open(bugs / "train"), foreign.ResNet(classes=2).state_dict()
    file, folder = tmp_path / "a.pt", tmp_path / "run"

    def refused(changed: object) -> str:
        torch.save(changed, file)
        with pytest.raises(OutskirtsError) as error:
            import_checkpoint("openood", file, images, folder)
        assert not folder.exists()
        return str(error.value)

    assert "not laid out as 'openood': backbone.bn1.weight is missing" in refused(
        {key: value for key, value in state.items() if key != "bn1.weight"}
    )
    assert "backbone.extra.weight is left over" in refused({**state, "extra.weight": state["bn1.weight"]})
    assert "backbone.bn1.weight has shape (3,) instead of (64,)" in refused({**state, "bn1.weight": torch.zeros(3)})
    assert "trained on 5 classes, and these images are of 2" in refused(foreign.ResNet(classes=5).state_dict())
    assert "that can be read safely (it holds argparse.Namespace); save the weights alone" in refused(
        {"state_dict": state, "args": argparse.Namespace(lr=0.1)}
    )
    with pytest.raises(OutskirtsError, match="do not exist"):
        import_checkpoint("openood", tmp_path / "none.pt", images, folder)


def test_the_images_by_their_spec(foreign, bugs, tmp_path, outskirts):
    file = tmp_path / "resnet.pt"
    torch.save(foreign.ResNet(classes=2).state_dict(), file)
    runs = [
        import_checkpoint("openood", f"{file}", f"{bugs / 'train'}", f"{tmp_path / 'a'}"),
        import_checkpoint("openood", file, osk.open(bugs / "train"), tmp_path / "b", size=32),
    ]
    before = import_checkpoint("openood", file, bugs / "train", tmp_path / "d", backbone="", size=0, resize=0)
    assert before.recipe() == runs[0].recipe()
    assert osk.load(before.path).transform == osk.load(runs[0].path).transform
    assert outskirts("import", "openood", file, "--data", bugs / "train", "--out", tmp_path / "c").code == 0
    prints = {osk.load(path).fingerprint() for path in (runs[0].path, runs[1].path, tmp_path / "c")}
    assert len(prints) == 1 and runs[1].recipe().training.size == 32
    assert runs[0].recipe() == osk.Run.open(tmp_path / "c").recipe()


def test_a_network_of_openood_about_a_backbone(foreign, bugs, tmp_path):
    """CIDERNet and PALMNet have no prototypes, and their kNN is OpenOOD's."""
    model, told = foreign.Contrastive().eval(), []
    state = {k.replace("encoder.", "backbone."): v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "best.ckpt")
    run = import_checkpoint("openood", tmp_path / "best.ckpt", bugs / "train", tmp_path / "run", say=told.append)
    recipe = run.recipe()
    knn, mahalanobis = registry["cider"].detectors(recipe.settings)
    assert (recipe.method, knn["k"], mahalanobis["normalize"]) == ("cider", 50, True)
    assert "no prototypes" in told[0] and "mahalanobis with PALM" in told[1] and len(told) == 2
    images = osk.open(bugs / "train")
    pixels, _ = images.resident(osk.load(run.path).transform)
    with torch.no_grad():
        expected = model.encoder(osk.load(run.path).transform.device(pixels))
    torch.testing.assert_close(osk.extract(osk.load(run.path), images).features, expected, rtol=1e-3, atol=1e-4)


def test_ncis_on_large_images(foreign, bugs, tmp_path):
    """The stem is the one for small images; size, mean and deviation are ImageNet's all the same."""
    torch.save(foreign.ncis_state(2), tmp_path / "ncis.pt")
    small = osk.open(bugs / "train")
    np.savez(tmp_path / "large.npz", images=np.zeros((20, 80, 90, 3), np.uint8), labels=np.arange(20) % 2)
    large = osk.open(f"npz:{tmp_path / 'large.npz'}?images=images&labels=labels")
    made = {
        name: osk.load(import_checkpoint("ncis", tmp_path / "ncis.pt", images, tmp_path / name, **given).path).transform
        for name, images, given in (("small", small, {}), ("large", large, {}), ("as-said", large, {"size": 32}))
    }
    assert (made["small"].size, made["small"].mean) == (32, (0.4914, 0.4824, 0.4467))
    assert (made["large"].size, made["large"].resize, made["large"].mean) == (224, 256, (0.485, 0.456, 0.406))
    assert (made["as-said"].size, made["as-said"].resize) == (32, None)


def test_mean_deviation_and_size_can_be_said(foreign, bugs, tmp_path, outskirts):
    file, data = tmp_path / "resnet.pt", bugs / "train"
    torch.save(foreign.ResNet(classes=2).state_dict(), file)
    given = ("--mean", "0.1", "0.2", "0.3", "--std", "0.4", "0.5", "0.6", "--size", "48")
    assert outskirts("import", "openood", file, "--data", data, "--out", tmp_path / "a", *given).code == 0
    run = import_checkpoint("openood", file, data, tmp_path / "b", mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], size=48)
    found = osk.load(run.path).transform
    assert (found.size, found.mean, found.std) == (48, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert osk.load(tmp_path / "a").transform == found
    with pytest.raises(OutskirtsError, match="mean has 1 values for 3 channels"):
        import_checkpoint("openood", file, data, tmp_path / "c", mean=[0.1])


def test_the_command_says_what_it_needs(outskirts, tmp_path):
    done = outskirts("import", "cider", tmp_path / "a.pt")
    assert done.code == 2 and "--data" in done.err and "--out" in done.err
    done = outskirts("import", "cidr", tmp_path / "a.pt", "--data", "mnist5k", "--out", tmp_path / "run")
    assert done.code == 2 and "did you mean 'cider'" in done.err.lower()
