"""`benchmarks/cuda.py`, which must run as it is whenever there is a GPU, runs here on a processor."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from outskirts import ImageSet
from outskirts.data.pack import pack

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "cuda.py"
NAMES = ("cifar10-train", "cifar10-test", "cifar100-test", "mnist-test", "tinyimagenet-val", "dtd10")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of the files that it reads, of random colours."""
    folder = tmp_path_factory.mktemp("data")
    draws = np.random.default_rng(0)
    for name in NAMES:
        pixels = draws.integers(0, 256, (160, 8, 8, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
        classes = [f"class {c}" for c in range(10)]
        pack(ImageSet(pixels, torch.arange(160) % 10, classes), folder / f"{name}.parquet")
    return folder


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)


def results(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_its_checks_pass_and_are_made_once(data, tmp_path):
    command = ("--data", data, "--out", tmp_path, "--device", "cpu", "--only", "check", "--images", 48)
    made = run(*command, "--methods", "ce,npos", "--minutes", 5)
    assert made.returncode == 0, made.stderr
    lines = results(tmp_path)
    assert [line["status"] for line in lines] == ["ok"] * len(lines), made.stdout
    names = {line["name"] for line in lines}
    assert {
        "npos: fp32 as on the host",
        "evaluation: every detector",
        "diffusion: training, sampling, inversion",
    } <= names
    assert "npos: an epoch of 48 images, resumed bit-equal" in names
    again = run(*command, "--methods", "ce,npos", "--minutes", 5)
    assert again.returncode == 0 and results(tmp_path) == lines
    assert (tmp_path / "results.md").read_text().count("| ok |") == len(lines)


def test_a_failure_stops_no_other_part_and_what_does_not_fit_is_named(data, tmp_path, monkeypatch):
    made = run("--data", data, "--out", tmp_path, "--device", "cpu", "--only", "check", "--methods", "cee,ce",
               "--images", 48, "--minutes", 0.05)  # fmt: skip
    assert made.returncode == 0, made.stderr
    found = {line["name"]: line["status"] for line in results(tmp_path)}
    assert found["cee: fp32 as on the host"] == "failed" and found["ce: fp32 as on the host"] == "ok"
    assert found["diffusion: training, sampling, inversion"] == "skipped"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--only", "chekc"), "there is no part 'chekc'; parts are check, speed, train"),
        (("--data", "."), "lacks cifar10-train.parquet"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, sentence, data, tmp_path):
    made = run("--data", data, "--out", tmp_path / "out", "--device", "cpu", *arguments)
    assert made.returncode == 2 and sentence in made.stderr
    assert not (tmp_path / "out").exists()
