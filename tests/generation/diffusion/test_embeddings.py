"""Embeddings of a set on disk, by a small Stable Diffusion with random weights."""

import shutil
import threading

import numpy as np
import pytest
import torch

from outskirts.data.imageset import ImageSet
from outskirts.errors import OutskirtsError

pytest.importorskip("diffusers")

from outskirts.generation.diffusion.embeddings import Embedder, embed, open_embeddings, repeatability
from outskirts.generation.diffusion.inversion import Inversion
from outskirts.models.diffusion.stable import load_stable_diffusion

HOW = Inversion(steps=2, draws=4)


@pytest.fixture(scope="module")
def model(stable_folder):
    return load_stable_diffusion(stable_folder, ["cat", "dog"])


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 20, 3), np.uint8)
    return ImageSet(pixels, torch.arange(10) % 2, ["cat", "dog"], spec="noise")


def embedded(model, images, folder, **options):
    options = {"about": {"model": "a"}, "block": 4, "batch": 3, **options}
    embed(Embedder(model, options.pop("how", HOW)), images, folder, **options)


def test_every_image_in_order(model, images, tmp_path):
    done = []
    embedded(model, images, tmp_path, progress=done.append)
    assert done == [4, 8, 10]
    made = open_embeddings(tmp_path)
    assert made.vectors.shape == (10, 8) and made.vectors.dtype == torch.float32 and len(made) == 10
    assert torch.equal(made.labels, images.labels) and made.course.shape == (10, 2)
    assert [bytes(row.tolist()).hex() for row in made.keys] == images.keys
    assert made.about["data"] == "noise" and made.about["inversion"]["steps"] == 2
    starts = model.prompts.vectors(made.labels)
    assert 0.01 < (made.vectors - starts).abs().max() < 0.021, "two steps of 0.01"


def test_processes_share_the_blocks(model, images, tmp_path):
    embedded(model, images, tmp_path / "whole")
    embedded(model, images, tmp_path / "shared", shard=(1, 2))
    assert [path.name for path in sorted((tmp_path / "shared").glob("*.safetensors"))] == ["vectors-00001.safetensors"]
    with pytest.raises(OutskirtsError, match="2 of 3 blocks are missing"):
        open_embeddings(tmp_path / "shared")
    embedded(model, images, tmp_path / "shared", shard=(0, 2))
    whole, shared = (open_embeddings(tmp_path / name) for name in ("whole", "shared"))
    assert torch.equal(whole.vectors, shared.vectors)


def test_processes_that_begin_in_the_same_moment(model, images, tmp_path):
    """One finds the other's file before its manifest is there."""
    embedded(model, images, tmp_path / "first", shard=(1, 2))
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "manifest.json.partial").touch()
    later = threading.Timer(0.2, shutil.copy, [tmp_path / "first" / "manifest.json", tmp_path / "second"])
    later.start()
    embedded(model, images, tmp_path / "second", shard=(0, 2))
    later.join()
    assert len(list((tmp_path / "second").glob("*.safetensors"))) == 2


def test_what_was_stopped_goes_on(model, images, tmp_path):
    def stop(done):
        if done == 8:
            raise KeyboardInterrupt

    embedded(model, images, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        embedded(model, images, tmp_path / "half", progress=stop)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "half").glob("*.safetensors")}
    assert len(before) == 2
    embedded(model, images, tmp_path / "half")
    assert all(path.stat().st_mtime_ns == written for path, written in before.items()), "nothing is made twice"
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "half" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("options", "name"),
    [({"seed": 1}, "seed"), ({"how": Inversion(steps=3)}, "inversion"), ({"about": {"model": "b"}}, "model")],
)
def test_what_was_begun_otherwise(model, images, tmp_path, options, name):
    embedded(model, images, tmp_path)
    with pytest.raises(OutskirtsError, match=f"was begun with the {name}"):
        embedded(model, images, tmp_path, **options)


def test_no_embeddings(tmp_path):
    with pytest.raises(OutskirtsError, match="holds no embeddings; make them with"):
        open_embeddings(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 0}')
    with pytest.raises(OutskirtsError, match="that this version of outskirts can read"):
        open_embeddings(tmp_path)


def test_repeated(model, images, tmp_path):
    how = Inversion(steps=6, draws=8)
    embedded(model, images, tmp_path, how=how, batch=10)
    found = repeatability(Embedder(model, how), images, open_embeddings(tmp_path))
    assert found["images"] == 10 and found["chance"] == pytest.approx(0.2)
    assert -1 <= found["repeat_correlation"] <= 1 and 0 <= found["self_match"] <= 1
    assert found["gain"] > 0 and found["displacement"] > 0
    # With the noise that they were made with, they are the same.
    made = open_embeddings(tmp_path)
    import outskirts.generation.diffusion.embeddings as module

    original = module.subseed
    module.subseed = lambda seed, name, i: original(seed, {"again": "inversion"}.get(name, name), i)
    try:
        same = repeatability(Embedder(model, how), images, made)
    finally:
        module.subseed = original
    assert same["repeat_correlation"] == pytest.approx(1, abs=1e-3) and same["self_match"] == 1


@pytest.mark.slow
def test_embeddings_of_digits_say_something_of_their_images(tmp_path):
    """A model trained on real digits: an image embedded again is found again, and is denoised better."""
    from sklearn.datasets import load_digits

    from outskirts.data.transform import Transform
    from outskirts.generation.diffusion.training import train_model
    from outskirts.training.config import TrainConfig

    digits = load_digits()
    pixels = (digits.images * 255 / 16).round().astype(np.uint8)
    digits_set = ImageSet(pixels, torch.from_numpy(digits.target), [f"digit {c}" for c in range(10)], spec="digits")
    config = TrainConfig(
        data="digits", augment="none", epochs=130, batch_size=128, optimizer="adamw", lr=2e-3, ema=0.999, warmup=0.05,
        weight_decay=1e-4, clip_norm=1.0, precision="fp32", device="cpu",
    )  # fmt: skip
    model = train_model("tiny", digits_set, Transform(8, 1), config, tmp_path / "model", lambda *state: None)
    embedder = Embedder(model.requires_grad_(False), Inversion())
    some = digits_set.limit(300)
    embed(embedder, some, tmp_path / "embeddings", about={})
    found = repeatability(embedder, some, open_embeddings(tmp_path / "embeddings"))
    assert found["self_match"] > 0.6 and found["chance"] < 0.1, found
    assert found["repeat_correlation"] > 0.5, found
    assert found["gain"] > 0.05, found
