"""Kill commands at random times, give them again, and compare what they left with a run that was never killed.

    python tests/endurance/kills.py --kills 200 --out /tmp/kills

Each command runs in a child of this process, which has imported everything, so that most kills hit work and not
imports. A child may be killed several times before it is left to finish. All files must then be the same byte for byte,
but for those that say when and where a run was made, and no file may be left over.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import outskirts
from outskirts.cli import main

#: Say when, where and how fast a run was made, not what it is. The last three are the table of results.csv again.
TOLD = {"environment.json", "report.html", "manifest.json", "results.md", "results.tex", "results.html"}
_COLOURS = {"ant": (200, 40, 40), "bee": (40, 60, 210), "fly": (40, 200, 60)}


@dataclass(frozen=True)
class Scene:
    """A command, what lies in its folder before, and what to give after a kill."""

    name: str
    command: Callable[[Path], list[str]]
    prepare: Callable[[Path], None] = lambda folder: None
    again: Callable[[Path], list[str]] | None = None


def unless(done: str, command: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """The command, if the file that is written last is not there: it refuses a finished folder."""
    return lambda folder: [] if (folder / done).is_file() else command(folder)


def draw(root: Path) -> None:
    """Small folders of noisy coloured images."""
    random_ = np.random.default_rng(0)
    for part, count in {"train": 40, "test": 20, "calibration": 20, "fog": 24, "many": 1500}.items():
        for name in ("fly",) if part in ("fog", "many") else ("ant", "bee"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.array(_COLOURS[name]) + random_.integers(-60, 60, (16, 16, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / part / name / f"{i}.png")


def guard_of(run: Path, root: Path, out: Path) -> list[str]:
    """The command that makes a guard of a run."""
    options = ("--calibrate", str(root / "calibration"), "--detector", "knn:k=3", "--acceptance", "0.9")
    return ["guard", str(run), *options, "--device", "cpu", "--out", str(out)]


def scenes(root: Path, run: Path) -> list[Scene]:
    """What is killed."""
    data = ["--data", str(root / "train")]
    quick = [*("--epochs", "3", "--batch-size", "8", "--lr", "0.1", "--precision", "fp32"), "--device", "cpu"]
    sets = ["--test", str(root / "test"), "--far", f"fog={root / 'fog'}"]

    def copied(folder: Path) -> None:
        shutil.copytree(run, folder / "run")

    def training(method: str, *options: str) -> Scene:
        def command(folder: Path) -> list[str]:
            return ["train", method, *data, *quick, *options, "--out", str(folder / "run")]

        def again(folder: Path) -> list[str]:
            if (folder / "run" / "model.safetensors").is_file():
                return []
            begun = (folder / "run" / "config.yaml").is_file()
            return ["train", "--resume", str(folder / "run")] if begun else command(folder)

        return Scene(f"train {method}", command, again=again)

    def evaluation(folder: Path) -> list[str]:
        return ["evaluate", str(folder / "run"), *sets, "--detectors", "msp", "energy", "knn:k=5"]

    def benchmark(folder: Path) -> list[str]:
        return [
            *("benchmark", str(root / "own.yaml"), "--methods", "ce,logitnorm", "--seeds", "0-1"),
            *("--detectors", "msp", "energy", "--out", str(folder / "all")),
        ]

    def outliers(folder: Path) -> list[str]:
        return ["synthesize", "ascood", "--run", str(run), "--count", "24", "--out", str(folder / "outliers")]

    def packing(folder: Path) -> list[str]:
        return ["data", "pack", *data, "--out", str(folder / "a.parquet")]

    def guarding(folder: Path) -> list[str]:
        return guard_of(run, root, folder / "guard")

    def predicting(folder: Path) -> list[str]:
        options = ("--top", "2", "--fdr", "0.2", "--device", "cpu", "--out", str(folder / "verdicts.csv"))
        return ["predict", str(root.parent / "guard"), str(root / "many"), *options]

    def extracting(folder: Path) -> list[str]:
        return ["extract", str(root / "many"), "--model", str(run), "--device", "cpu", "--out", str(folder / "f.npz")]

    def pool(folder: Path) -> list[str]:
        options = ("--generator", "mixup", *data, "--count", "200", "--generation-batch-size", "8")
        return ["synthesize", "id", *options, "--out", str(folder / "pool")]

    (root / "own.yaml").write_text(
        f"train: {root / 'train'}\ntest: {root / 'test'}\nood: {{far: {{fog: {root / 'fog'}}}}}\n"
        "recipes: {all: {epochs: 2, batch_size: 8, lr: 0.1, precision: fp32, device: cpu, augment: flip}}\n"
    )
    return [
        training("ce"),
        training("ascood"),
        training("npos", "--queue", "20", "--k", "5", "--boundary", "10", "--start", "0.3"),
        Scene("evaluate", evaluation, copied),
        Scene("evaluate and tune", lambda folder: [*evaluation(folder), "--tune"], copied),
        Scene("synthesize ascood", outliers, again=unless("outliers/manifest.json", outliers)),
        Scene("synthesize id", pool, again=unless("pool/manifest.json", pool)),
        Scene("benchmark", benchmark),
        Scene("data pack", packing, again=unless("a.parquet", packing)),
        Scene("guard", guarding, again=unless("guard/guard.json", guarding)),
        Scene("predict", predicting, again=unless("verdicts.csv", predicting)),
        Scene("extract", extracting, again=unless("f.npz", extracting)),
    ]


def child(arguments: list[str]) -> int:
    """Run a command in a child of this process, and return the child's number."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    with (Path(os.environ["KILLS_LOG"])).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        code = 0
        try:
            main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            code = 99
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
        os._exit(code)


def waited(pid: int, limit: float) -> int | None:
    """The exit code of a child; None if it runs on after some seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def content(folder: Path) -> dict[str, str]:
    """A digest of every file of a folder."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink()):
        name = str(path.relative_to(folder))
        found[name] = "" if path.name in TOLD else hashlib.sha256(_comparable(path, folder)).hexdigest()
    return found


def _comparable(path: Path, folder: Path) -> bytes:
    """The bytes of a file without the times that work took, and without the folder's own name."""
    text = path.read_bytes().replace(str(folder).encode(), b"FOLDER")
    if path.name == "results.csv":
        rows = list(csv.DictReader(text.decode().splitlines()))
        return json.dumps([_timeless(row) for row in rows]).encode()
    if path.suffix not in (".json", ".jsonl"):
        return text
    records = [json.loads(line) for line in (text.splitlines() if path.suffix == ".jsonl" else [text])]
    return json.dumps([_timeless(record) for record in records]).encode()


def _timeless(value: object) -> object:
    return {key: one for key, one in value.items() if key not in _TIMES} if isinstance(value, dict) else value


_TIMES = {"seconds", "minutes a run", "images_per_second", "loading", "memory"}


def require(true: bool, scene: Scene, arguments: list[str], code: int | None) -> None:
    if not true:
        raise SystemExit(f"{scene.name}: exit code {code} of {arguments}; see {os.environ['KILLS_LOG']}")


def finish(scene: Scene, arguments: list[str]) -> None:
    """Run a command to its end, if there is one left to give."""
    if arguments:
        code = waited(child(arguments), 300)
        require(code == 0, scene, arguments, code)


def trial(scene: Scene, folder: Path, seconds: float, chance: random.Random) -> tuple[int, dict[str, str]]:
    """Kill a command until it is through, or thrice; the number of kills that hit, and what is there in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scene.prepare(folder)
    arguments, hits = scene.command(folder), 0
    for _ in range(chance.randint(1, 3)):
        pid = child(arguments)
        if (code := waited(pid, chance.uniform(0, seconds))) is not None:
            require(code == 0, scene, arguments, code)
            arguments = []
            break
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        hits += 1
        arguments = (scene.again or scene.command)(folder)
        if not arguments:
            break
    finish(scene, arguments)
    return hits, content(folder)


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of kills, spread over the commands")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times")
    parser.add_argument("--only", default="", help="the commands whose name contains this")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(outskirts.__path__, "outskirts."):
        if module.name != "outskirts.__main__":
            importlib.import_module(module.name)
    asked.out.mkdir(parents=True)
    os.environ["KILLS_LOG"] = str(asked.out / "log.txt")
    os.environ["OUTSKIRTS_KEYS"] = str(asked.out / "keys")
    draw(asked.out / "data")
    common = asked.out / "run"
    first = Scene("the run that others read", lambda folder: [])
    options = ["--epochs", "2", "--batch-size", "8", "--lr", "0.1", "--precision", "fp32", "--device", "cpu"]
    finish(first, ["train", "ascood", "--data", str(asked.out / "data/train"), *options, "--out", str(common)])
    finish(first, guard_of(common, asked.out / "data", asked.out / "guard"))
    chosen = [scene for scene in scenes(asked.out / "data", common) if asked.only in scene.name]
    chance, wrong, lines = random.Random(asked.seed), 0, []
    for scene in chosen:
        folder = asked.out / "work"
        truth: dict[str, str] = {}
        for _ in range(2):  # Twice, as it must repeat at all.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            scene.prepare(folder)
            begin = time.monotonic()
            finish(scene, scene.command(folder))
            seconds = time.monotonic() - begin
            before, truth = truth, content(folder)
        unstable = sorted(name for name in truth if truth[name] != before.get(name))
        hits = trials = differing = 0
        while hits < asked.kills / len(chosen):
            more, found = trial(scene, folder, seconds, chance)
            hits, trials = hits + more, trials + 1
            if different := sorted(
                name for name in {*found, *truth} - set(unstable) if found.get(name) != truth.get(name)
            ):
                differing += 1
                shutil.copytree(folder, asked.out / f"differs-{scene.name.replace(' ', '-')}-{trials}")
                print(f"{scene.name}, trial {trials}: {', '.join(different[:5])}", flush=True)
        wrong += differing + len(unstable)
        lines.append(f"| {scene.name} | {seconds:.1f} s | {trials} | {hits} | {differing} | {', '.join(unstable)} |")
        print(lines[-1], flush=True)
    table = "| command | takes | trials | kills | different | not repeatable |\n|---|---|---|---|---|---|\n"
    (asked.out / "kills.md").write_text(table + "\n".join(lines) + "\n")
    print(table + "\n".join(lines))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run())
