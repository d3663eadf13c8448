"""What a training measures of its images' pixels is kept, and holds for all other images."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import outskirts as osk
from outskirts.data.corruptions import Faded
from outskirts.data.losses import Losses
from outskirts.data.reading import FIRST, USUAL, Reading
from outskirts.data.transform import Transform
from outskirts.training.train import resume

SMALL = {"epochs": 4, "batch_size": 8, "lr": 0.1, "precision": "fp32", "device": "cpu", "augment": "none"}


def thermal(folder, count=30, seed=0, shape=(16, 16)):
    """16-bit images from 29000 to 30000, of two classes that differ by 100."""
    random = np.random.default_rng(seed)
    for name, level in (("cold", 29250), ("warm", 29350)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.normal(level, 15, shape).clip(29184, 29439)
            pixels[0, :2] = 29000, 30000
            Image.fromarray(pixels.round().clip(29000, 30000).astype(np.uint16)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("thermal")
    return {name: thermal(root / name, seed=seed) for seed, name in enumerate(("train", "test"))}


@pytest.fixture(scope="module")
def run(sets, tmp_path_factory):
    said = []
    run = osk.train("ce", sets["train"], out=tmp_path_factory.mktemp("run") / "run", say=said.append, **SMALL)
    assert any("pixels from 29000 to 30000 become 0 to 255, of all images alike." in line for line in said)
    return run


def test_a_range_that_8_bits_lose_is_learned(run, sets):
    test = osk.open(sets["test"])
    # Of all images, the high bytes are the same: with them, half of the answers are right.
    assert all(torch.equal(test.image(i, FIRST), test.image(0, FIRST)) for i in range(len(test)))
    classifier = osk.load(run)
    assert classifier.transform.reading == Reading(levels=(29000, 30000))
    assert osk.extract(classifier, test).accuracy == 1


@pytest.mark.parametrize(("budget", "workers"), [(2**31, 0), (0, 0), (0, 2)])
def test_arrays_on_disk_train_as_files_do(run, sets, tmp_path, budget, workers):
    files = osk.open(sets["train"])
    np.save(tmp_path / "x.npy", np.stack([np.array(Image.open(path)) for path in files.items]))
    np.save(tmp_path / "y.npy", files.labels.numpy())
    options = {**SMALL, "memory_budget": budget, "workers": workers}
    other = osk.train("ce", f"{tmp_path}/x.npy?labels={tmp_path}/y.npy", out=tmp_path / "run", size=16, **options)
    first, second = (osk.load(one) for one in (run, other))
    assert second.transform.reading == first.transform.reading
    assert first.fingerprint() == second.fingerprint()


def test_a_run_that_is_opened_again_gives_equal_logits(run, sets):
    first, second = (osk.extract(osk.load(run.path), osk.open(sets["test"])).logits for _ in range(2))
    assert torch.equal(first, second)
    pixels = np.stack([np.array(Image.open(path)) for path in sorted(sets["test"].glob("*/*.png"))[:3]])
    alike = osk.extract(osk.load(run.path), osk.ImageSet(pixels)).logits
    files = osk.extract(osk.load(run.path), osk.ImageSet(sorted(sets["test"].glob("*/*.png"))[:3])).logits
    assert torch.equal(alike, files)


def test_images_of_8_bits_train_no_range(bugs, sets, tmp_path):
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", **{**SMALL, "epochs": 0})
    assert osk.load(run).transform.reading == USUAL
    with pytest.raises(
        osk.OutskirtsError, match=r"0\.png holds uint16 from .* and no range is known .* train on such images"
    ):
        osk.extract(osk.load(run), sets["test"])


def test_exif_data_is_applied_or_ignored(tmp_path):
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("ant", "bee"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(8):
            picture = Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8))
            picture.save(tmp_path / "set" / name / f"{i}.png", exif=exif)
    stored = torch.from_numpy(np.array(Image.open(tmp_path / "set" / "ant" / "0.png"))).permute(2, 0, 1)
    for option, expected in (("apply", stored.rot90(-1, (1, 2))), ("ignore", stored)):
        run = osk.train("ce", tmp_path / "set", out=tmp_path / option, exif=option, **{**SMALL, "epochs": 0})
        transform = osk.load(run).transform
        assert transform.reading == Reading(upright=option == "apply") and run.options()["exif"] == option
        assert torch.equal(osk.open(tmp_path / "set").resident(transform)[0][0], expected)
        # What is trained on is read as before, unless it is said otherwise.
        again = osk.train(
            "ce", tmp_path / "set", out=tmp_path / f"{option}-2", init=str(run.path), **{**SMALL, "epochs": 0}
        )
        assert osk.load(again).transform.reading.upright == (option == "apply")


def test_a_run_that_was_begun_before_reads_as_before(bugs, tmp_path):
    class Stop(Exception):
        pass

    def stop(step, steps, latest):
        if step == 6:
            raise Stop

    with pytest.raises(Stop):
        osk.train("ce", bugs / "train", out=tmp_path / "run", progress=stop, **SMALL)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config.pop("exif") == "apply"
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    assert osk.load(resume(tmp_path / "run")).transform.reading == FIRST


def strips(folder, shape=(32, 800)):
    random = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (folder / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(random.integers(0, 256, (*shape, 3), np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("fit", "budget", "which"),
    [("crop", 2**31, "9 training"), ("crop", 0, "9 training"), ("squash", 2**31, ""), ("pad", 2**31, "")],
)
def test_what_a_crop_cuts_off_is_said(fit, budget, which, tmp_path):
    said = []
    options = {**SMALL, "epochs": 0, "size": 16, "fit": fit, "val_fraction": 0.2, "memory_budget": budget, "workers": 0}
    run = osk.train("ce", strips(tmp_path / "set"), out=tmp_path / "run", say=said.append, **options)
    lines = [line for line in said if "to the crop" in line]
    notes = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0]).get("notes", [])
    notes = [note for note in notes if "too few to rely on" not in note]
    assert lines == notes and len(notes) == (2 if which else 0)
    if which:
        assert notes[0].startswith(f"Of the {which} images, 9 lose more than a tenth to the crop; --fit squash or")


def test_ends_of_a_strip_are_lost_to_the_crop_alone():
    strip = np.zeros((32, 800), np.uint8)
    strip[:, :200] = strip[:, -200:] = 255
    images = osk.ImageSet([strip, strip[:, :32], strip[:, 380:415], strip[:, 380:416]])
    shown = {fit: images.resident(Transform(32, 1, fit=fit))[0][0] for fit in ("crop", "squash", "pad")}
    assert shown["crop"].max() == 0
    assert all(shown[fit].max() == 255 for fit in ("squash", "pad"))
    # Of 35 pixels, 32 stay; of 36, a ninth is lost.
    assert Losses.of(images.lost) == Losses(4, ends=2)


def test_pixels_beyond_the_range_are_counted(run, sets, tmp_path):
    hot = np.full((3, 16, 16), 29500, np.uint16)
    hot[0] = 40000
    hot[1, :2] = 40000
    images = osk.ImageSet(hot)
    osk.extract(osk.load(run), images)
    assert images.losses.beyond == 2
    grey = osk.ImageSet(hot.clip(0, 255).astype(np.uint8))
    osk.extract(osk.load(run), grey)
    assert next(grey.losses.sentences("images of grey", 3, "crop")).startswith("Of the 3 images of grey, 3 have 8 bits")
    changed = images.changed(Faded(images.items, 50))
    osk.extract(osk.load(run), changed)
    assert not list(changed.losses.sentences("images of fire", 3, "crop"))
    assert list(images.losses.sentences("images of fire", 3, "crop")) == [
        "Of the 3 images of fire, 2 have more than a tenth of the pixels beyond the range of the training images, "
        "where they are cut off."
    ]
