"""A folder with one of everything that commands read, anew for each wrong input, and what a command may answer."""

import os
import random
import shutil
import signal
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, seed, settings
from PIL import Image

import outskirts as osk

#: Examples of each test, of random seeds; few, and the same ones each time, unless given.
MANY = int(os.environ.get("OUTSKIRTS_FUZZ_EXAMPLES", "0"))
settings.register_profile(
    "bad inputs",
    max_examples=MANY or 8,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("bad inputs")

SMALL = {"epochs": 0, "batch_size": 4, "device": "cpu", "precision": "fp32", "augment": "none"}
#: Seconds after which a command hangs.
LONGEST = 60


@pytest.fixture(scope="session")
def everything(draw, tmp_path_factory) -> Path:
    """The folder to be copied. Nothing in it is large, so that no valid command takes long."""
    here = tmp_path_factory.mktemp("everything")
    draw(here / "train", count=4)
    draw(here / "val", count=2, seed=1)
    draw(here / "test", count=2, seed=4)
    draw(here / "fog", (), count=3, seed=2)
    draw(here / "flies", ("fly",), count=3, seed=3)
    Image.open(here / "train" / "ant" / "0.png").save(here / "train" / "ant" / "j.jpg")
    _write_lists_and_arrays(here)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        _write_runs()
    return here


def _write_lists_and_arrays(here: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    np.save(here / "a.npy", pixels)
    np.savez(here / "a.npz", images=pixels, labels=np.array([0, 1, 0, 1]))
    (here / "a.csv").write_text("image,label,sex\nant/0.png,0,m\nbee/0.png,1,f\n", encoding="utf-8")
    (here / "a.txt").write_text("ant/0.png 0\nbee/0.png 1\n", encoding="utf-8")
    (here / "latin.txt").write_bytes("ant/0.png 0\nk\xe4fer.png 1\n".encode("latin-1"))
    (here / "noise").write_bytes(np.random.default_rng(0).bytes(500))
    (here / "empty").mkdir()
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 4)}, "epoch": 3}, here / "weights.pt")
    (here / "config.yaml").write_text(yaml.safe_dump({"method": "ce", "data": "train", **SMALL}))
    sets = {"train": "train", "val": "val", "test": "test", "ood": {"near": {"flies": "flies"}, "far": {"fog": "fog"}}}
    (here / "bench.yaml").write_text(yaml.safe_dump({**sets, "recipes": {"all": SMALL}}))


def _write_runs() -> None:
    osk.train("ce", "train", val="val", out="run", **SMALL)
    osk.evaluate_run("run", test="test", ood={"far": {"fog": "fog"}}, detectors=["msp"])
    osk.train("ascood", "train", val="val", out="pixel", outliers="shuffle", **SMALL)
    osk.benchmark("bench.yaml", methods=["ce"], seeds=[0], detectors=["msp"], out="bench")
    osk.synthesize_id("pool", data="train", count=4)
    osk.pack("train", "./a.parquet")
    with pytest.raises(KeyboardInterrupt):
        osk.train("ce", "train", val="val", out="begun", progress=_stop, **{**SMALL, "epochs": 4})
    with pytest.raises(KeyboardInterrupt):
        osk.synthesize_id("half", data="train", count=4, generation_batch_size=1, progress=_stop)


def _stop(*told: object) -> None:
    done, count = (number for number in told if isinstance(number, int))
    if 2 * done > count:
        raise KeyboardInterrupt


@pytest.fixture
def here(everything, tmp_path_factory, monkeypatch) -> Iterator[Callable[[], Path]]:
    """Puts a new copy of everything, with a pipe, in the place of the last one, and works in it."""
    # Words such as ../.. and ~ lead nowhere else.
    place = tmp_path_factory.mktemp("copy") / "home" / "here"
    monkeypatch.setenv("HOME", str(place.parent))
    monkeypatch.delenv("OUTSKIRTS_DEBUG", raising=False)

    def renew() -> Path:
        monkeypatch.chdir("/")
        shutil.rmtree(place.parents[1], ignore_errors=True)
        shutil.copytree(everything, place)
        os.mkfifo(place / "fifo.png")
        monkeypatch.chdir(place)
        return place

    yield renew
    monkeypatch.chdir("/")
    shutil.rmtree(place.parents[1], ignore_errors=True)


@pytest.fixture
def each_of(request) -> Callable[[Any], Callable[[Callable[[Any], None]], None]]:
    """Calls what it decorates, at once, with examples of a strategy; every test has others."""
    start = random.randrange(2**32) if MANY else 0

    def each_of(strategy: Any) -> Callable[[Callable[[Any], None]], None]:
        return lambda check: seed(start + zlib.crc32(request.node.name.encode()))(given(strategy)(check))()

    return each_of


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def late(signum: int, frame: object) -> None:
        raise TimeoutError(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def answers(outskirts) -> Callable[[list[str]], None]:
    """Runs a command, which must do what it is asked, or say in a sentence why not."""

    def answers(words: list[str]) -> None:
        # As the real one has it: names of files may be in no encoding.
        sys.stderr.reconfigure(errors="backslashreplace")
        with _within(LONGEST):
            outcome = outskirts(*words)
        assert "Traceback" not in outcome.err, (words, outcome.err)
        assert outcome.code in (0, 2), (words, outcome.code, outcome.err)
        # What is wrong with options is in a box.
        sentence = "outskirts: " in outcome.err or "For full helptext" in outcome.err
        assert outcome.code == 0 or sentence, (words, outcome.err)

    return answers
