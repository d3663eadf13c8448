"""A training of two processes is that of one process with the same batches.

Weights are in double precision here, so that the order of a sum, all that may differ, shows in the last of the digits
that are logged, which are those of single precision. In single precision every step makes such a difference some times
larger, which says nothing of what is computed; the test of `accelerate launch` has it, a lower learning rate and a
wider tolerance.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

import outskirts as osk
from outskirts.files import load_tensors, save_tensors
from outskirts.training import train
from outskirts.training.loop import Interrupted, Trainer

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")

#: Three epochs of 4 steps of 8 images.
OPTIONS = {
    "epochs": 3,
    "batch_size": 8,
    "lr": 0.1,
    "precision": "fp32",
    "device": "cpu",
    "augment": "flip,crop:1,jitter",
}
QUEUE = {"queue": 8, "k": 2, "boundary": 3, "picks": 2, "candidates": 12, "keep": 2, "start": 0.3, "sigma": 0.05}
METHODS = {
    "ce": ("ce", {"ema": 0.5, "clip_norm": 1.0}),
    "ascood": ("ascood", {"outliers": "shuffle", "clip_norm": 1.0}),
    "cider": ("cider", {"embedding": 8}),
    "npos": ("npos", {"embedding": 8, **QUEUE}),
}
#: Two fifths of the images are synthetic, a number that does not divide evenly, and count otherwise than the real ones.
POOL = {"synthetic": "made", "real_ratio": 0.6, "real_weight": 0.7}
CASES = {
    **METHODS,
    **{f"{name}-mixed": (method, {**options, **POOL}) for name, (method, options) in METHODS.items()},
    "ce-added": ("ce", {**POOL, "mixing": "add", "real_ratio": 0.5}),
    "npos-pooled": ("npos", {"embedding": 8, "reduction": "pooled", **QUEUE}),
    "cider-held": ("cider", {"embedding": 8, "prototypes": "learned", "prototype_freeze": 0.4}),
    "supcon-mixed": ("supcon", {"embedding": 8, **POOL}),
    "ascood-noise": ("ascood", {"outliers": "gaussian", "alpha_max": 2.0, "alpha_min": 1.0, "batchnorm": "separate"}),
    "ce-balanced": ("ce", {"sampler": "balanced", "data": "few"}),
    "ce-balanced-mixed": ("ce", {"sampler": "balanced", "data": "few", **POOL}),
    "supcon-weights": ("supcon", {"embedding": 8, "class_weights": "balanced", "data": "few"}),
    "npos-weights-mixed": ("npos", {"embedding": 8, **QUEUE, "class_weights": "balanced", "data": "few", **POOL}),
    **{f"{name}-inside": METHODS[name] for name in ("ce", "ascood")},
    "oe-images": ("oe", {"outliers": "images", "outlier_images": "fog", "outlier_batch": 4}),
}
#: The training that is also cut short and resumed; the steps at which it is killed or asked to stop; where it is then.
RESUMED, KILLED, STOPPED = "npos-mixed", 7, 6
CUT = {"killed": "killed", "stopped": f"stopped/{RESUMED}"}


class Normalised(nn.Module):
    """A network with batch normalisation, of double precision if that is the default."""

    def __init__(self, inside=False):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, bias=False),
            nn.BatchNorm2d(8, affine=False),
            nn.GELU(),
            nn.Conv2d(8, 12, 3, stride=2),
            nn.BatchNorm2d(12),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            *([] if inside else [nn.Flatten()]),
        )
        # A convolution stays in the network, and what is trained is a linear layer of its weights beside it.
        self.last = nn.Conv2d(12, 2, 1) if inside else nn.Linear(12, 2)

    def forward(self, images):
        return self.last(self.body(images.to(torch.get_default_dtype()))).flatten(1)


def network(name=""):
    torch.manual_seed(3)
    return Normalised(name.endswith("-inside"))


@contextmanager
def double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def trained(name, data, out, progress=None):
    """Train one of the cases below `out`, and return all that its method holds."""
    method, options = CASES[name]
    options = {
        key: str(data / value) if key in ("data", "synthetic", "outlier_images") else value
        for key, value in {"data": "train", **options}.items()
    }
    with kept() as states:
        osk.train(method, out=out / name, model=network(name), progress=progress, **OPTIONS, **options)
    return states[0]


@contextmanager
def kept():
    """The states of methods as trainings leave them."""
    states = []

    def to_the_end(self, *arguments, **options):
        train_on(self, *arguments, **options)
        states.append({key: value.clone() for key, value in self.method.state_dict().items()})

    train_on = Trainer.train
    with mock.patch.object(Trainer, "train", to_the_end):
        yield states


def member(data, out):
    """What each of two processes does."""
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    warnings.simplefilter("error")

    def copy(step, steps, latest):
        if step == KILLED and rank == 0:
            shutil.copytree(out / RESUMED, out / "killed")

    with double():
        for name in CASES:
            save(trained(name, data, out, copy if name == RESUMED else None), out, name, rank)
        # Only one of them is asked to stop.
        with pytest.raises(Interrupted):
            trained(RESUMED, data, out / "stopped", lambda step, *_: rank == 1 and step == STOPPED and terminate())
        for cut, folder in CUT.items():
            with kept() as states:
                train.resume(out / folder, model=network())
            save(states[0], out, cut, rank)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def save(state, out, name, rank):
    save_tensors(out / f"{name}-{rank}.safetensors", state)


def records(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def agree(one, two, tolerance):
    """Whether all that was logged is the same, to a relative tolerance."""
    assert one[0] == two[0]
    for a, b in zip(one[1:], two[1:], strict=True):
        for words in ("kind", "warning"):
            assert a.pop(words, "") == b.pop(words, "")
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance / 10)


@pytest.fixture(scope="module")
def data(draw, tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    draw(root / "train")
    draw(root / "few", ("ant",))
    draw(root / "few", ("bee",), count=7)
    draw(root / "made", count=12, seed=1)
    draw(root / "fog", (), count=12, seed=2)
    return root


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """The folder of all cases as two processes train them."""
    out = tmp_path_factory.mktemp("runs")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launched([*torchrun, __file__, str(data), str(out)])
    return out


def launched(command):
    # Two processes of as many threads as there are cores would wait for each other.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("name", CASES)
def test_the_curve_and_the_weights_are_those_of_one_process(name, data, two, tmp_path):
    with double():
        expected = trained(name, data, tmp_path)
    found, other = (load_tensors(two / f"{name}-{rank}.safetensors")[0] for rank in range(2))
    agree(records(two / name), records(tmp_path / name), 1e-5)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], other[key]), key
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-7, msg=key)


@pytest.mark.parametrize("cut", CUT)
def test_a_training_that_was_cut_short_goes_on_as_if_it_had_not_been(two, cut):
    assert records(two / CUT[cut]) == records(two / RESUMED)
    for rank in range(2):
        (one, _), (other, _) = (load_tensors(two / f"{name}-{rank}.safetensors") for name in (cut, RESUMED))
        assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.slow
def test_accelerate_launch_trains_what_one_process_does(data, outskirts, tmp_path):
    options = ["ascood", "--data", data / "train", "--outliers", "gradient", "--alpha-max", 1, "--alpha-min", 1]
    for name, value in {**OPTIONS, "lr": 0.003}.items():
        options += [f"--{name.replace('_', '-')}", value]
    assert outskirts("train", *options, "--out", tmp_path / "one").code == 0
    # Its option --cpu alone would start one process.
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    said = launched([*accelerate, "-m", "outskirts", "train", *map(str, options), "--out", str(tmp_path / "two")])
    agree(records(tmp_path / "two"), records(tmp_path / "one"), 1e-3)
    assert said.count("Trained") == 1


if __name__ == "__main__":
    member(*map(Path, sys.argv[1:]))
