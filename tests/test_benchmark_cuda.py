"""`benchmarks/cuda.py`, which must run as it is whenever there is a GPU, runs here on a processor."""

import importlib
import json
import os
import subprocess
import sys
import time
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
    made = run(*command, "--methods", "cee,ce,npos", "--minutes", 5)
    assert made.returncode == 0, made.stderr
    found = results(tmp_path)
    # A failure stops no other part.
    failed = [line for line in found if line["name"].startswith("cee")]
    lines = [line for line in found if line not in failed]
    assert failed and {line["status"] for line in failed} == {"failed"}
    assert [line["status"] for line in lines] == ["ok"] * len(lines), made.stdout
    names = {line["name"] for line in lines}
    assert {
        "npos: fp32 as on the host",
        "evaluation: every detector",
        "diffusion: training, sampling, inversion",
    } <= names
    assert "npos: an epoch of 48 images, resumed bit-equal" in names
    again = run(*command, "--methods", "ce,npos", "--minutes", 5)
    assert again.returncode == 0 and results(tmp_path) == found
    assert (tmp_path / "results.md").read_text().count("| ok |") == len(lines)


def test_what_does_not_fit_is_named(data, tmp_path):
    made = run("--data", data, "--out", tmp_path, "--device", "cpu", "--only", "check", "--methods", "ce",
               "--images", 48, "--minutes", 0.001)  # fmt: skip
    assert made.returncode == 0, made.stderr
    found = {line["name"]: line["status"] for line in results(tmp_path)}
    assert found["ce: fp32 as on the host"] == found["diffusion: training, sampling, inversion"] == "skipped"


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


@pytest.fixture
def script(monkeypatch):
    """The modules of the script by name, in this process."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    names = ("cuda", "on_gpu.journal", "on_gpu.check", "on_gpu.speed", "on_gpu.train")
    found = {name.rpartition(".")[2]: importlib.import_module(name) for name in names}
    yield found
    for name in (*names, "on_gpu"):
        sys.modules.pop(name, None)


ASSERT = RuntimeError("CUDA error: device-side assert triggered")


def chained(error):
    try:
        raise OSError("cannot go on") from error
    except OSError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "poisoned"),
    [
        (ASSERT, True),
        (RuntimeError("AcceleratorError: CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (chained(ASSERT), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
        (RuntimeError("called a synchronizing CUDA operation"), False),
        (ValueError("CUDA error: device-side assert triggered"), False),
        (AssertionError("The device breaks its contract"), False),
        (chained(ValueError("other")), False),
    ],
)
def test_which_errors_leave_a_process_without_its_device(error, poisoned, script):
    poisons = script["journal"].poisons
    assert poisons(error, torch.device("cuda", 0)) is poisoned
    assert not poisons(error, torch.device("cpu"))


class Replaced(BaseException):
    """The process is another now."""


def test_after_an_error_of_a_kernel_the_rest_runs_in_a_new_process(script, data, tmp_path, monkeypatch):
    journal, commands, tried = script["journal"], [], []
    poisons = journal.poisons
    monkeypatch.setattr(journal, "poisons", lambda error, device: poisons(error, torch.device("cuda", 0)))

    def measured(journal, *given):
        journal.measure("check", "bad", lambda: tried.append("bad") or time.sleep(0.2) or failing(ASSERT))
        journal.measure("check", "good", lambda: tried.append("good") or {"x": 1})

    def replaced(program, command):
        commands.append(command)
        raise Replaced

    monkeypatch.setattr(script["check"], "check", measured)
    monkeypatch.setattr(os, "execv", replaced)
    command = [str(SCRIPT), "--data", str(data), "--out", str(tmp_path), "--device", "cpu", "--only", "check"]
    for repeat in range(2):  # The second call tries again what failed in the first.
        tried.clear()
        monkeypatch.setattr(sys, "argv", [*command, "--minutes", "2"])
        with pytest.raises(Replaced):
            script["cuda"].main()
        before = 2 * repeat
        assert commands[-1][1:-4] == sys.argv and commands[-1][-2:] == ["--before", str(before)]
        assert 1.9 < float(commands[-1][-3]) < 2
        monkeypatch.setattr(sys, "argv", commands[-1][1:])
        script["cuda"].main()
        assert tried == (["bad", "good"] if repeat == 0 else ["bad"])
    assert [(line["name"], line["status"]) for line in results(tmp_path)] == [
        ("bad", "failed"),
        ("good", "ok"),
        ("bad", "failed"),
    ]


def failing(error):
    raise error


def test_what_fails_outside_a_measurement_stops_no_other_part(script, data, tmp_path, monkeypatch):
    monkeypatch.setattr(script["check"], "check", lambda *given: failing(OSError("no room")))
    monkeypatch.setattr(script["speed"], "speed", lambda journal: journal.measure("speed", "fast", lambda: {"x": 1}))
    monkeypatch.setattr(script["train"], "plan", lambda *given, **options: failing(ValueError("no plan")))
    command = [str(SCRIPT), "--data", str(data), "--out", str(tmp_path), "--device", "cpu", "--minutes", "1"]
    monkeypatch.setattr(sys, "argv", command)
    script["cuda"].main()
    found = {(line["part"], line["name"]): line for line in results(tmp_path)}
    assert found["check", "what is outside its measurements"]["values"]["reason"] == "OSError: no room"
    assert found["speed", "fast"]["status"] == "ok"
    assert found["train", "fast, 1 epochs: what is planned"]["values"]["reason"] == "ValueError: no plan"
    # Each once, though there was time for another.
    assert len(results(tmp_path)) == 3


@pytest.mark.parametrize(
    ("tool", "found"),
    [("echo 37", 37.0), ("echo [N/A]", "not available"), ("exit 9", "not available"), (None, "not available")],
)
def test_utilisation_is_asked_of_the_drivers_tool_where_its_library_is_not_there(
    tool, found, script, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: failing(ModuleNotFoundError("pynvml")))
    if tool:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{tool}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script["speed"]._utilisation(torch.device("cuda", 0)) == found


def test_a_training_on_a_processor_is_profiled_and_compiled_too(script, tmp_path):
    speed, cpu = script["speed"], torch.device("cpu")
    journal = script["journal"].Journal(tmp_path, cpu, time.monotonic() + 1000)
    found = speed._trained(journal, "fast", speed.Work("fast", 16, 16, 2), "ce", {})
    assert 0 < found["share of the time outside kernels"] < 1 and found["images/s"] > 0
    compiled = speed._compiled(journal, speed._COMPILED)
    assert compiled["seconds at first"] > 0 and compiled["losses differ by"] < 0.01


def test_compiling_is_not_decided_before_it_is_measured(script, data, tmp_path):
    train, cpu = script["train"], torch.device("cpu")
    journal = script["journal"].Journal(tmp_path, cpu, time.monotonic() + 1000)
    budget = train.Budget("resnet18-cifar", 100, {"lr": 0.1}, 0, 1.0, "cifar10")
    first, second, third = train._jobs(journal, data, budget, 0)
    assert train._compile(journal, budget, first.folder) == "unmeasured" and not first.options["compile"]
    train._begin(first.folder, "unmeasured")
    journal.measure("speed", "resnet18-cifar: compiled", lambda: {"÷ not compiled": 1.3})
    # What is begun goes on as it began; others go by what is known now.
    ways = [train._compile(journal, budget, job.folder) for job in (first, second, third)]
    assert ways == ["unmeasured", "yes", "yes"]
    assert [job.options["compile"] for job in train._jobs(journal, data, budget, 0)] == [False, True, True]


def test_published_recipes_are_those_of_the_larger_network(script, data, tmp_path):
    train = script["train"]
    fast, resnet = train._GPU
    assert resnet.recipe("cider")["lr"] == 0.5 and resnet.recipe("npos")["batch_size"] == 256
    assert resnet.recipe("ce") == {**resnet.options, "label_smoothing": 0.1}
    assert (fast.recipe("cider")["lr"], fast.recipe("cider")["views"]) == (0.4, 1)
    journal = script["journal"].Journal(tmp_path, torch.device("cpu"), time.monotonic())
    jobs = {(job.method, job.variant): job.options for job in train._jobs(journal, data, resnet, 0)}
    # Epochs are of the budget, and what a variant sets goes over all.
    assert jobs["cider", None]["epochs"] == 100 and jobs["cider", None]["batch_size"] == 512
    assert jobs["logitnorm", "pixmix"]["augment"] == "flip,crop:4,pixmix"
