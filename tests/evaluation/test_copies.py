"""What an evaluation says of images that sets share in other files."""

import shutil

import numpy as np
import pytest
from PIL import Image

import outskirts as osk
from outskirts import OutskirtsError, Run
from outskirts.evaluation.evaluate_run import evaluate_run
from outskirts.files import load_json


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Folders with images of large shapes, that look the same when they are compressed: train, test and fog."""
    root = tmp_path_factory.mktemp("scenes")
    random = np.random.default_rng(0)
    for name, classes, count in (("train", ("ant", "bee"), 60), ("test", ("ant", "bee"), 60), ("fog", ("",), 120)):
        for label in classes:
            (root / name / label).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                cells = random.integers(0, 256, (6, 6, 3), np.uint8)
                cells[..., 0] //= 1 + (label == "ant")
                Image.fromarray(cells).resize((32, 32), Image.Resampling.BICUBIC).save(root / name / label / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def trained(scenes, tmp_path_factory):
    """A run on them, that no test changes."""
    out = tmp_path_factory.mktemp("trained") / "run"
    options = {"epochs": 1, "batch_size": 16, "precision": "fp32", "device": "cpu", "augment": "flip"}
    return osk.train("ce", scenes / "train", out=out, **options).path


@pytest.fixture
def run(trained, tmp_path):
    return Run.open(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def mixed(scenes, tmp_path):
    """The fog, in a folder to which images may be added."""
    return shutil.copytree(scenes / "fog", tmp_path / "mixed")


@pytest.fixture
def notes(run, scenes):
    """Evaluates the run beside a set, and returns what is said of the sets."""

    def notes(mixed, test=scenes / "test", name="mixed", group="far", detectors=("msp",)):
        evaluate_run(run, test, {group: {name: osk.open(mixed)}}, detectors)
        return load_json(run.path / "notes.json")

    return notes


def image_of(folder, number=0):
    return Image.open(folder / "ant" / f"{number}.png")


def test_sets_of_different_images_have_no_notes(notes, scenes):
    assert notes(scenes / "fog") == []


def test_equal_pixels_in_another_file_are_said(notes, mixed, scenes):
    image_of(scenes / "test").save(mixed / "again.bmp")
    assert notes(mixed) == ["1 of the 121 images of mixed has the same pixels as an ID test image in another file."]


def test_an_image_of_equal_bytes_is_said_once(notes, mixed, scenes):
    shutil.copy(scenes / "test" / "ant" / "0.png", mixed / "again.png")
    assert notes(mixed) == ["1 of the 121 images of mixed is also among the ID test images."]


def test_a_set_that_was_saved_again_is_refused(notes, scenes, tmp_path, run):
    (tmp_path / "saved").mkdir()
    for path in (scenes / "test").rglob("*.png"):
        Image.open(path).save(tmp_path / "saved" / f"{path.parent.name}{path.name}", compress_level=1)
    with pytest.raises(OutskirtsError, match=r"120 of the 120 images of 'mixed' .* are also among the ID test images"):
        notes(tmp_path / "saved")
    pixels = np.stack([np.asarray(Image.open(path)) for path in (scenes / "train").rglob("*.png")])
    np.savez(tmp_path / "train.npz", images=pixels)
    with pytest.raises(OutskirtsError, match=r"1\d\d of the 120 images of 'mixed' .* are also among the training imag"):
        notes(tmp_path / "train.npz")
    assert not (run.path / "results.csv").exists()


def test_images_that_were_compressed_or_resized_are_said(notes, mixed, scenes):
    image_of(scenes / "test").save(mixed / "0.jpg", quality=80)
    image_of(scenes / "test", 3).resize((64, 64), Image.Resampling.BICUBIC).save(mixed / "large.png")
    (note,) = notes(mixed)
    assert note.startswith("2 of the 122 images of mixed look almost the same as an ID test image, such as ")
    assert note.endswith("…/0.jpg and …/0.png.")


def test_copies_within_a_set_are_said(notes, mixed):
    Image.open(mixed / "0.png").save(mixed / "same.bmp")
    Image.open(mixed / "5.png").save(mixed / "almost.jpg", quality=80)
    equal, alike = notes(mixed)
    assert equal.startswith("Of the 122 images of mixed, 1 has the same pixels as another in another file. Intervals")
    assert alike.startswith("Of the 122 images of mixed, 1 looks almost the same as another, such as …/")


@pytest.mark.parametrize("flat", [0, 130])
def test_flat_images_are_equal_or_nothing(notes, mixed, flat):
    for i in range(3):
        Image.new("RGB", (32, 32 + i), (flat, flat, flat)).save(mixed / f"flat{i}.png")
    assert notes(mixed) == []
    Image.new("RGB", (32, 32), (flat, flat, flat)).save(mixed / "flat.bmp")
    assert [note.partition(".")[0] for note in notes(mixed)] == [
        "Of the 124 images of mixed, 1 has the same pixels as another in another file"
    ]


def test_training_images_are_known_though_nothing_learns_from_them(notes, mixed, scenes, run):
    for i in range(30):
        image_of(scenes / "train", i).save(mixed / f"of train {i}.jpg", quality=90)
    found = notes(mixed)
    count = [int(note.split()[0]) for note in found]
    assert "look almost the same as a training image" in found[0]
    assert sum(count) == 30 and all("a validation image" in note for note in found[1:])
    # Of runs of earlier versions nothing is known, but for what their detectors take.
    (run.path / "likeness.safetensors").unlink()
    assert notes(mixed) == []
    assert notes(mixed, detectors=("msp", "mahalanobis"))[0] == found[0]


def test_from_the_store_the_same_is_said(notes, mixed, scenes, monkeypatch):
    image_of(scenes / "test").save(mixed / "again.bmp")
    image_of(scenes / "train", 1).save(mixed / "0.jpg", quality=80)
    first = notes(mixed)
    assert len(first) == 2
    monkeypatch.setattr("outskirts.extraction.extract.forward", None)
    assert notes(mixed) == first


def test_outputs_of_earlier_versions_say_nothing(notes, mixed, scenes, run):
    image_of(scenes / "test").save(mixed / "again.bmp")
    assert len(notes(mixed)) == 1
    for file in run.outputs.rglob("likeness.safetensors"):
        file.unlink()
    assert notes(mixed) == []
    # They are found again with the next pass.
    assert len(notes(mixed, detectors=("msp", "odin"))) == 1


def test_shifted_images_may_look_like_those_of_the_test(run, scenes, mixed):
    noisy = osk.open(f"folder:{scenes / 'test'}?noise=2")
    evaluate_run(run, scenes / "test", {"far": {"mixed": mixed}, "shifted": {"noisy": noisy}}, ["msp"])
    assert not any("almost" in note for note in load_json(run.path / "notes.json"))


def test_corrupt_images_are_left_out(run, scenes, mixed):
    (mixed / "00.png").write_bytes(b"no image")
    image_of(scenes / "test").save(mixed / "zz.bmp")
    for _ in range(2):
        evaluate_run(run, scenes / "test", {"far": {"mixed": osk.open(mixed)}}, ["msp"], skip_corrupt=True)
        left_out, note = load_json(run.path / "notes.json")
        assert "could not be decoded" in left_out
        assert note == "1 of the 122 images of mixed has the same pixels as an ID test image in another file."
