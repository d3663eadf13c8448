"""A set of which --skip-corrupt leaves nothing ends every command in a sentence; one image less does not."""

import shutil

import pytest
import torch
import torchvision

_TRAIN = "train ce --epochs 1 --batch-size 4 --precision fp32 --augment none --skip-corrupt --out out --data"
_EVALUATE = "evaluate {run} --skip-corrupt --detectors msp --test"
_NET = "torchvision:resnet18?weights=net.pt&size=16&crop=1"
_GIVEN = f"evaluate --model {_NET} --skip-corrupt --out out --far fog=fog --test test --train"

LINES = [
    f"{_TRAIN} bad --val test",
    f"{_TRAIN} train --val bad",
    f"{_TRAIN} train --val bad --memory-budget 0",
    f"{_TRAIN.replace('train ce', 'train oe')} train --val test --outliers images --outlier-images bad",
    f"{_EVALUATE} bad --far fog=fog",
    f"{_EVALUATE} test --far bad=bad",
    f"{_EVALUATE} test --far fog=fog --tune-on bad",
    f"{_GIVEN} bad --detectors knn:k=1",
    f"{_GIVEN} train --val bad --tune --detectors msp",
    "extract bad --model {run} --skip-corrupt --out out.npz",
    "synthesize boundary --run {run} --data bad --count 4 --k 1 --out out --skip-corrupt",
]


@pytest.fixture
def sets(bugs, draw, tmp_path, monkeypatch):
    """A folder to work in, with a set of which no image can be decoded, and one of which one cannot."""
    for name in ("train", "test", "fog"):
        shutil.copytree(bugs / name, tmp_path / name)
    draw(tmp_path / "some", count=5, seed=9)
    shutil.copytree(bugs / "test", tmp_path / "bad")
    for number, file in enumerate(sorted((tmp_path / "bad").glob("*/*.png"))):
        file.write_bytes(f"no image {number}".encode())
    (tmp_path / "some" / "ant" / "0.png").write_bytes(b"no image")
    torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("line", LINES)
def test_nothing_is_left(line, sets, finished, tmp_path, outskirts):
    outcome = outskirts(*line.format(run=shutil.copytree(finished, tmp_path / "run")).split())
    assert outcome.code == 2 and "outskirts: No image of folder:" in outcome.err, outcome.err
    assert "so that nothing is left of " in outcome.err and "choose another set" in outcome.err


def test_parameters_are_chosen_without_the_corrupt_images(sets, outskirts):
    outcome = outskirts(*f"{_GIVEN} train --val some --tune --detectors msp".split())
    assert outcome.code == 0 and "1 of the 10 images of val could not be decoded" in outcome.err, outcome.err
