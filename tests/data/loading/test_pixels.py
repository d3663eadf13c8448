"""A command on images of which one is damaged, or whose workers end, stops soon and with a sentence."""

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.imageset import ImageSet
from outskirts.data.loading.pixels import image_source
from outskirts.data.transform import Transform

#: No image is in memory, so that all are streamed.
OPTIONS = ["--epochs=1", "--batch-size=8", "--precision=fp32", "--device=cpu", "--augment=none", "--memory-budget=0"]


@pytest.fixture(params=["jpg", "png"])
def noise(request, tmp_path):
    """A folder of noise, photographs of 8 or arrays of 16 bits, and its files."""
    random = np.random.default_rng(0)
    for part, count in (("train", 160), ("test", 4)):
        for name in ("ant", "bee"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
                wide = random.integers(20000, 30000, (16, 16)).astype(np.uint16)
                picture = Image.fromarray(pixels if request.param == "jpg" else wide)
                picture.save(tmp_path / part / name / f"{i:03}.{request.param}")
    return tmp_path, request.param


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_ends_a_training_with_a_sentence(noise, workers, outskirts):
    root, suffix = noise
    # Of 304 training images, at most 256 are looked at before the first step: not every one of these six.
    damaged = [truncated(root / "train" / "bee" / f"{i}.{suffix}") for i in range(101, 107)]
    line = ["train", "ce", "--data", root / "train", "--val", root / "test", "--workers", workers, *OPTIONS]
    outcome = outskirts(*line, "--out", root / "run")
    assert outcome.code == 2 and "Mend or remove it, or leave out such images" in outcome.err, outcome.err
    assert any(f"{path} cannot be decoded" in outcome.err for path in damaged)
    assert "Traceback" not in outcome.err and "Caught" not in outcome.err
    assert outskirts(*line, "--skip-corrupt", "--out", root / "other").code == 0


def test_a_damaged_image_is_told_by_whoever_decodes_it(noise):
    root, suffix = noise
    images = osk.open(root / "train")
    truncated(root / "train" / "bee" / f"101.{suffix}")
    transform = Transform(16, 3) if suffix == "jpg" else Transform(16, 1)
    for workers in (0, 2):
        read = image_source([images], transform, torch.device("cpu"), 0, workers, False, torch.Generator())
        sentence = "101.jpg cannot be decoded .* Mend or remove it" if suffix == "jpg" else "no range is known"
        with pytest.raises(OutskirtsError, match=sentence) as told:
            list(read(iter(torch.arange(len(images)).split(40))))
        assert "\n" not in str(told.value)


def test_a_worker_that_ends_is_told(bugs, tmp_path, monkeypatch):
    def ended(images, i, reading=None, image=ImageSet.image):
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return image(images, i) if reading is None else image(images, i, reading)

    monkeypatch.setattr(ImageSet, "image", ended)
    options = {"epochs": 1, "batch_size": 8, "precision": "fp32", "device": "cpu", "memory_budget": 0, "workers": 2}
    with pytest.raises(OutskirtsError, match=r"A process that decodes images has ended .*--workers 0"):
        osk.train("ce", bugs / "train", bugs / "test", out=tmp_path / "run", augment="none", **options)
