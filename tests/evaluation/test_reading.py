"""How pixels are read belongs to what is measured, and results say what images lose."""

import json

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

import outskirts as osk
from outskirts.data.reading import FIRST, USUAL, Reading


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network of two classes, with random weights."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "my.pt"
    torch.save({"model": torchvision.models.resnet18(num_classes=2).state_dict()}, file)
    return f"torchvision:resnet18?weights={file}&size=32&crop=1"


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """16-bit images of two classes, those of a test, and OOD images of which two are beyond the range of the others."""
    folder = tmp_path_factory.mktemp("deep")
    random = np.random.default_rng(0)
    for name, count in (("train", 40), ("test", 12), ("fog", 6)):
        labels = np.arange(count) % 2
        pixels = (random.integers(1000, 1200, (count, 16, 16)) + 700 * labels[:, None, None]).astype(np.uint16)
        if name == "fog":
            pixels[:2] = 5000
        np.savez(folder / f"{name}.npz", images=pixels, labels=labels)
    return folder


@pytest.fixture
def sets(deep):
    return {"train": deep / "train.npz", "test": deep / "test.npz", "ood": {"far": {"fog": deep / "fog.npz"}}}


def test_the_range_of_the_training_images_is_kept_with_a_classifier(model, sets, deep, tmp_path):
    said = []
    results = osk.evaluate_model(model, **sets, detectors=["msp", "knn:k=3"], out=tmp_path / "out", say=said.append)
    low, high = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["reading"]["levels"]
    assert 1000 <= low < 1010 and 1890 < high < 1900
    assert any(f"pixels from {low:g} to {high:g} become 0 to 255" in one for one in said)
    classifier = osk.load(tmp_path / "out")
    assert classifier.transform.reading == Reading(levels=(low, high))
    alike = osk.load(model, classes=["0", "1"])
    scaled = np.load(deep / "test.npz")["images"].astype(float)
    scaled = np.round((scaled - low) * 255 / (high - low)).clip(0, 255).astype(np.uint8)
    expected = osk.extract(alike, osk.ImageSet(scaled)).logits
    assert torch.equal(osk.extract(classifier, deep / "test.npz").logits, expected)
    again = osk.evaluate_run(tmp_path / "out", sets["test"], sets["ood"], ["msp", "knn:k=3"])
    once_more = osk.evaluate_model(model, **sets, detectors=["msp", "knn:k=3"], out=tmp_path / "out")
    for other in (again, once_more):
        assert [row.auroc for row in other.rows] == [row.auroc for row in results.rows]
    notes = json.loads((tmp_path / "out" / "notes.json").read_text())
    assert any(
        note.startswith("Of the 6 images of fog, 2 have more than a tenth of the pixels beyond") for note in notes
    )


def test_a_folder_that_was_made_before_is_read_as_before(model, bugs, tmp_path):
    sets = {"train": bugs / "train", "test": bugs / "test", "ood": {"far": {"fog": bugs / "fog"}}}
    osk.evaluate_model(model, **sets, detectors=["msp"], out=tmp_path / "out")
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert config.pop("reading") == {"upright": True, "background": 255, "levels": None}
    (tmp_path / "out" / "config.yaml").write_text(yaml.safe_dump(config))
    assert osk.load(tmp_path / "out").transform.reading == FIRST
    osk.evaluate_model(model, **sets, detectors=["msp"], out=tmp_path / "out")
    assert "reading" not in yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())


def test_exif_data_is_applied_or_ignored(model, bugs, tmp_path, outskirts):
    assert osk.load(model).transform.reading == USUAL
    assert osk.load(f"{model}&exif=ignore").transform.reading == Reading(upright=False)
    with pytest.raises(osk.OutskirtsError, match="exif"):
        osk.load(f"{model}&exif=turn")
    words = ("--train", bugs / "train", "--test", bugs / "test", "--far", f"fog={bugs / 'fog'}", "--detectors", "msp")
    found = outskirts("evaluate", "--model", model, *words, "--exif", "ignore", "--out", tmp_path / "out")
    assert found.code == 0, found.err
    assert osk.load(tmp_path / "out").transform.reading == Reading(upright=False)
    assert osk.Run.open(tmp_path / "out").given.model.endswith("&exif=ignore")


def test_a_classifier_that_is_open_stays_as_it_is(model, sets, tmp_path):
    classifier = osk.load(model, classes=["0", "1"])
    osk.evaluate_model(classifier, **sets, detectors=["msp"], out=tmp_path / "out")
    assert classifier.transform.reading == USUAL


def test_results_say_what_a_crop_cuts_off(model, bugs, tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "strips").mkdir()
    for i in range(5):
        pixels = random.integers(0, 256, (32, 800 if i < 3 else 33, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "strips" / f"{i}.png")
    sets = {"train": bugs / "train", "test": bugs / "test", "ood": {"far": {"strips": tmp_path / "strips"}}}
    expected = "Of the 5 images of strips, 3 lose more than a tenth to the crop; --fit squash or --fit pad shows all."
    # The second time, outputs come from the store.
    for _ in range(2):
        said = []
        osk.evaluate_model(model, **sets, detectors=["msp"], out=tmp_path / "out", say=said.append)
        notes = json.loads((tmp_path / "out" / "notes.json").read_text())
        assert notes.count(expected) == said.count(expected) == 1
        assert not any("to the crop" in note for note in notes if note != expected)
        assert not any("to the crop" in sentence for sentence in said if sentence != expected)
    for fit in ("squash", "pad"):
        osk.evaluate_model(f"{model}&fit={fit}", **sets, detectors=["msp"], out=tmp_path / fit)
        assert expected not in json.loads((tmp_path / fit / "notes.json").read_text())


def test_what_a_crop_cuts_off_is_said_once_of_each_set(tmp_path, outskirts):
    random = np.random.default_rng(0)
    for name, count in (("train/ant", 10), ("train/bee", 10), ("test/ant", 4), ("test/bee", 4), ("strips", 5)):
        (tmp_path / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(random.integers(0, 256, (32, 800, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    run, sets = tmp_path / "run", ["--test", tmp_path / "test", "--far", f"strips={tmp_path / 'strips'}"]
    options = ["--epochs=0", "--size=16", "--device=cpu", "--precision=fp32", f"--out={run}", "--val-fraction=0.1"]
    told = outskirts("train", "ce", "--data", tmp_path / "train", *options).err
    told += outskirts("evaluate", run, *sets, "--tune", "--detectors", "knn", "odin", "--device=cpu").err
    page = (run / "report.html").read_text()
    counts = {"18 training images": 18, "2 validation images": 2, "8 images of id": 8, "5 images of strips": 5}
    for which, count in counts.items():
        sentence = f"Of the {which}, {count} lose more than a tenth to the crop"
        assert told.count(sentence) == page.count(sentence) == 1, (which, told)
    assert told.count("to the crop") == len(counts)
    # Of a classifier that was trained elsewhere, no training has told.
    net = torchvision.models.resnet18(num_classes=2).state_dict()
    torch.save(net, tmp_path / "net.pt")
    given = [
        "--model",
        f"torchvision:resnet18?weights={tmp_path / 'net.pt'}&size=16&crop=1",
        "--train",
        tmp_path / "train",
        f"--out={tmp_path / 'given'}",
    ]
    said = outskirts("evaluate", *given, *sets, "--detectors", "knn:k=5", "--device=cpu").err
    assert said.count("18 training images, 18 lose more") == 1 and said.count("to the crop") == 3
