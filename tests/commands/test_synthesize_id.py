"""``outskirts synthesize id``, ``data verify`` and ``train --synthetic``."""

import json
import shutil

import numpy as np
import pytest

import outskirts as osk
from outskirts.cli import main
from outskirts.errors import OutskirtsError


@pytest.fixture(scope="module")
def pool(judge, tmp_path_factory):
    out = tmp_path_factory.mktemp("pools") / "mixed"
    main(["synthesize", "id", "--generator", "mixup", "--run", str(judge), "--count", "24", "--out", str(out)])
    return out


def test_a_pool_with_its_record(pool, judge):
    about = json.loads((pool / "manifest.json").read_text())
    assert about["generator"] == {"name": "mixup", "beta": 1.0} and about["counts"] == {"ant": 12, "bee": 12}
    assert about["quality"]["images"] == 24 and 0 <= about["quality"]["agreement"] <= 1
    assert set(about["quality"]["per_class"]) == {"ant", "bee"}
    assert (pool / "samples.png").is_file() and len(about["judge"]) == 32
    images = osk.open(f"pool:{pool}")
    assert len(images) == 24 and images.image(0).shape == (3, 16, 16)
    # Those the run was trained on, and not those it was validated on.
    assert len(np.load(pool / "keys.npy")) == 38


def test_verify(pool, outskirts, refused, tmp_path):
    assert "is whole: 24 images of 2 classes, made by mixup" in outskirts("data", "verify", pool).out
    assert "is whole" in outskirts("-q", "data", "verify", pool).out
    assert "There is no folder" in refused("data", "verify", tmp_path / "nowhere")


def test_rules_keep_what_they_ask_for(judge, outskirts, tmp_path):
    arguments = ["--generator", "mixup", "--run", judge, "--count", "10", "--agreement", "--confidence", "0.2"]
    assert outskirts("synthesize", "id", *arguments, "--out", tmp_path / "strict").code == 0
    about = json.loads((tmp_path / "strict" / "manifest.json").read_text())
    assert about["rules"] == {"agreement": True, "confidence": 0.2, "distinct": 0.0}
    assert about["quality"]["agreement"] == 1
    assert sum(about["drawn"].values()) > 10


METHODS = {
    "ce": {},
    "ascood": {},
    "cider": {},
    "cutmix": {},
    "logitnorm": {},
    "npos": {"k": 2, "boundary": 3, "candidates": 8, "keep": 2, "queue": 10, "start": 0.0},
    "oe": {},
    "supcon": {},
    "vos": {"queue": 10, "start": 0.0, "draws": 50},
}


@pytest.mark.parametrize(
    ("method", "mixing"), [*((name, mixing) for name in METHODS for mixing in ("replace", "add")), ("ce", "legacy")]
)
def test_training_with_a_pool(pool, bugs, small, tmp_path, method, mixing):
    options = METHODS[method] | ({"real_weight": 0.9} if mixing == "add" else {})
    spec = f"{bugs / 'train'}?part=0-95%"
    run = osk.train(
        method, spec, val=f"{bugs / 'train'}?part=95-100%", synthetic=str(pool), real_ratio=0.75, mixing=mixing,
        out=tmp_path / "run", **small, **options,
    )  # fmt: skip
    kept = json.loads((run.path / "gallery" / "synthetic.json").read_text())
    assert kept["generator"]["name"] == "mixup" and (run.path / "gallery" / "synthetic.png").is_file()


def test_what_the_generator_has_seen_is_no_validation(pool, bugs, small, tmp_path):
    with pytest.raises(OutskirtsError, match="has seen 2 of the 2 validation images"):
        osk.train("ce", bugs / "train", synthetic=str(pool), seed=5, out=tmp_path / "run", **small)
    assert not (tmp_path / "run").exists()


def test_what_the_generator_has_seen_is_no_test(pool, bugs, small, refused, tmp_path):
    copy = shutil.copytree(pool, tmp_path / "copy")
    run = osk.train("ce", bugs / "test", synthetic=str(copy), out=tmp_path / "run", **small)
    shutil.rmtree(copy)  # A run is evaluated without it, perhaps elsewhere.
    sentence = refused("evaluate", run.path, "--test", bugs / "train", "--far", f"fog={bugs / 'fog'}")
    assert "has seen 38 of the 40 'id' images" in sentence


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"real_ratio": 0.0}, "above 0 and at most 1"),
        ({"real_ratio": 1.2}, "above 0 and at most 1"),
        ({"real_weight": 1.5}, "real_weight must be a number from 0 to 1 or None, not 1.5"),
    ],
)
def test_shares_out_of_range(bugs, small, tmp_path, options, said):
    with pytest.raises(OutskirtsError, match=said):
        osk.train("ce", bugs / "train", out=tmp_path / "run", **small, **options)


def test_pools_that_do_not_fit(bugs, small, tmp_path):
    def trained(images, labels):
        np.save(tmp_path / "x.npy", images)
        np.save(tmp_path / "y.npy", labels)
        spec = f"npy:{tmp_path / 'x.npy'}?labels={tmp_path / 'y.npy'}"
        return osk.train("ce", bugs / "train", synthetic=spec, out=tmp_path / "run", **small)

    with pytest.raises(OutskirtsError, match="has classes that the training set lacks: 0, 1"):
        trained(np.zeros((4, 16, 16, 3), np.uint8), np.array([0, 1, 0, 1]))


def test_blurred_images_are_refused(judge, bugs, small, outskirts, tmp_path):
    arguments = ["--data", bugs / "train", "--count", "4", "--size", "8", "--out", tmp_path / "small"]
    assert outskirts("synthesize", "id", *arguments).code == 0
    with pytest.raises(OutskirtsError, match=r"Synthetic images have 8x8 pixels, and real ones 16x16"):
        osk.train(
            "ce", bugs / "train", val=bugs / "test", synthetic=str(tmp_path / "small"), out=tmp_path / "r", **small
        )


def test_images_made_elsewhere_are_no_validation_and_no_test(bugs, small, outskirts, tmp_path):
    pool = tmp_path / "copies"
    made = ["synthesize", "id", "--generator", "folder", "--source", bugs / "test", "--count", 6, "--out", pool]
    assert outskirts(*made, "--data", bugs / "train").code == 0
    with pytest.raises(OutskirtsError, match="has seen 20 of the 20 validation images"):
        osk.train("ce", bugs / "train", val=bugs / "test", synthetic=f"pool:{pool}", out=tmp_path / "r", **small)


def test_a_pool_that_is_not_as_it_was_made(pool, bugs, small, tmp_path):
    copy = shutil.copytree(pool, tmp_path / "copy")
    images = np.load(copy / "images.npy", mmap_mode="r+")
    images[0] ^= 255
    images.flush()
    with pytest.raises(OutskirtsError, match="is not the file that the manifest describes"):
        osk.train("ce", bugs / "train", val=bugs / "test", synthetic=f"pool:{copy}", out=tmp_path / "r", **small)


def test_fewer_images_than_classes(bugs, outskirts, tmp_path):
    outcome = outskirts(
        "synthesize", "id", "--generator", "mixup", "--data", bugs / "train", "--count", 1, "--out", tmp_path / "one"
    )
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "one" / "samples.png").is_file() and (tmp_path / "one" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "OUT"], "Pass training images, or a run that has some (--data SPEC or --run RUN)"),
        (["--data", "TRAIN", "--out", "OUT", "--agreement"], "Only a trained classifier can judge"),
        (
            ["--data", "TRAIN", "--out", "OUT", "--count", "-1"],
            "count must be a whole number of at least 1 or None, not -1",
        ),
        (
            ["--data", "TRAIN", "--out", "OUT", "--count", "0"],
            "count must be a whole number of at least 1 or None, not 0",
        ),
        (
            ["--data", "TRAIN", "--out", "OUT", "--size", "0"],
            "size must be a whole number of at least 1 or None, not 0",
        ),
        (
            ["--data", "TRAIN", "--out", "OUT", "--generation-batch-size", "0"],
            "generation_batch_size must be a whole number of at least 1, not 0",
        ),
        (["--generator", "pipeline", "--data", "TRAIN", "--out", "OUT"], "Say where the pipeline is"),
        (["--generator", "mixdown", "--data", "TRAIN", "--out", "OUT"], "did you mean 'mixup'"),
        (["--generator", "diffusion", "--data", "TRAIN", "--out", "OUT", "--size", "15"], "do not divide"),
        (
            ["--generator", "diffusion", "--init", "TRAIN", "--data", "TRAIN", "--out", "OUT"],
            "holds no trained generator",
        ),
        (["--generator", "folder", "--data", "nowhere", "--out", "OUT"], "Say where the images are"),
        (["--generator", "pipeline", "--data", "nowhere", "--out", "OUT"], "Say where the pipeline is"),
    ],
)
def test_requests_that_cannot_be_met(arguments, said, bugs, refused, tmp_path):
    places = {"OUT": tmp_path / "out", "TRAIN": bugs / "train"}
    assert said in refused("synthesize", "id", *(places.get(word, word) for word in arguments))
    assert not (tmp_path / "out").exists(), "a wrong option leaves nothing"


def test_a_pool_has_one_writer(bugs, held, outskirts, tmp_path):
    arguments = ["synthesize", "id", "--data", bugs / "train", "--count", 4, "--out", tmp_path / "pool"]
    with held(tmp_path / "pool"):
        outcome = outskirts(*arguments)
    assert outcome.code == 2 and "is being written by process" in outcome.err
    assert outskirts(*arguments).code == 0
