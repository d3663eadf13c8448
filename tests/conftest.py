"""Folders of tiny coloured images, a small CLIP, and one small run that many tests read."""

import builtins
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import outskirts as osk
from outskirts.cli import main
from outskirts.data.catalogue import entries
from outskirts.seeding import isolated
from outskirts.testing.clip import save_small_clip

#: The smallest training that learns something.
SMALL = {"epochs": 2, "batch_size": 8, "lr": 0.1, "precision": "fp32", "device": "cpu", "augment": "flip,crop:1"}
COLOURS = {"ant": (200, 40, 40), "bee": (40, 60, 210), "fly": (40, 200, 60)}

Draw = Callable[..., Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="torch sees no CUDA device here"))


@pytest.fixture(scope="session", autouse=True)
def keys_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where this process, and those that it starts, remember the keys of images."""
    folder = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTSKIRTS_KEYS", str(folder))
        yield folder


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Writes a folder of noisy images, a class folder per colour; a flat one of grey noise without classes."""

    def draw(folder: Path, classes: tuple[str, ...] = ("ant", "bee"), count: int = 20, seed: int = 0) -> Path:
        random = np.random.default_rng(seed)
        for name in classes or ("",):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                base = np.array(COLOURS.get(name, (128, 128, 128)))
                noise = random.integers(-40, 40, (16, 16, 3))
                Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
        return folder

    return draw


@pytest.fixture(scope="session")
def bugs(draw: Draw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ID sets train and test, of two classes, and the OOD sets fog and flies."""
    root = tmp_path_factory.mktemp("bugs")
    draw(root / "train")
    draw(root / "test", count=10, seed=1)
    draw(root / "fog", (), count=12, seed=2)
    draw(root / "flies", ("fly",), count=12, seed=3)
    return root


@pytest.fixture
def held() -> Callable[[Path], AbstractContextManager[int]]:
    """A block in which another process, whose number is given, writes to a folder."""

    @contextmanager
    def held(folder: Path) -> Iterator[int]:
        program = (
            "import sys; from pathlib import Path; from outskirts.locking import only_writer\n"
            "with only_writer(Path(sys.argv[1])):\n    print(flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", program, str(folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdout.readline()
            try:
                yield process.pid
            finally:
                process.stdin.close()

    return held


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """The test vectors of the specifications of ASCOOD, SIO and the detectors."""
    return json.loads((Path(__file__).parent / "vectors" / "ascood_sio_detectors.json").read_text())


@pytest.fixture
def small() -> dict[str, object]:
    return dict(SMALL)


@pytest.fixture(scope="session")
def finished(bugs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ASCOOD on the bugs; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return osk.train("ascood", bugs / "train", out=out, outliers="shuffle", p_inv=0.1, **SMALL).path


@pytest.fixture(scope="session")
def guarded(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, in which guards keep outputs."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("guarded") / "run")


class Outcome:
    """What a command left: exit code, standard output and standard error."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def outskirts(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(outskirts: Callable[..., Outcome]) -> Callable[..., str]:
    """Runs the command line, which must end with exit code 2 and one sentence, and returns the sentence."""

    def run(*arguments: object) -> str:
        outcome = outskirts(*arguments)
        assert outcome.code == 2, outcome.err
        assert outcome.out == ""
        lines = outcome.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("outskirts: "), outcome.err
        return lines[0]

    return run


@pytest.fixture
def in_shell() -> Callable[..., list[list[str]]]:
    """Has a shell read commands of outskirts; returns the words of each, as the program would get them."""

    def read(script: str, **variables: str) -> list[list[str]]:
        shown = 'outskirts() { printf "%s\\0" "$#" "$@"; }\n'
        done = subprocess.run(
            ["bash", "-c", shown + script], env={**os.environ, **variables}, capture_output=True, text=True
        )
        if done.returncode or done.stderr:
            raise RuntimeError(done.stderr)
        words = iter(done.stdout.split("\0")[:-1])
        return [[next(words) for _ in range(int(count))] for count in words]

    return read


@pytest.fixture
def all_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which every set that shipped benchmarks open by a bare name seems to be."""
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    for entry in entries().values():
        entry.place(tmp_path).mkdir(parents=True)
    for name in ("waterbirds-train", "waterbirds-val", "waterbirds-test", "dtd10", "tinyimagenet-val"):
        (tmp_path / f"{name}.parquet").touch()
    (tmp_path / "waterbirds-backgrounds").mkdir()
    (tmp_path / "clip-vit-base-patch16").mkdir()
    (tmp_path / "clip-vit-base-patch16" / "config.json").write_text(json.dumps({"model_type": "clip"}))
    return tmp_path


class Dropping(nn.Module):
    """A user's own network, with dropout and normalisation."""

    def __init__(self, classes: int = 2, channels: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(32, classes)

    def forward(self, images):
        return self.last(self.drop(self.body(images)))


@pytest.fixture
def network() -> Callable[..., nn.Module]:
    return Dropping


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP of 4 blocks for images of 32 pixels, with random weights, in a real CLIP folder's files; not to be
    changed."""
    pytest.importorskip("transformers")
    return save_small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def stable_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion of images of 16 pixels, with random weights, in the folders of a real one; not to be changed.

    Its tokens are single letters, and the words "cat" and "dog".
    """
    diffusers = pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("stable")
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    words += ["".join(pair) for pair in merges]
    written = tmp_path_factory.mktemp("tokenizer")
    (written / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (written / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]))
    tokenizer = transformers.CLIPTokenizer.from_pretrained(written, model_max_length=32)
    small = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    with isolated(0, "stable"):
        vae = diffusers.AutoencoderKL(
            **small, latent_channels=2,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
        text = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=len(words), hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                max_position_embeddings=32, bos_token_id=52, eos_token_id=53,
            )
        )  # fmt: skip
        unet = diffusers.UNet2DConditionModel(
            **small, sample_size=8, in_channels=2, out_channels=2, cross_attention_dim=8, attention_head_dim=2,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )  # fmt: skip
    noising = diffusers.PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    diffusers.StableDiffusionPipeline(
        vae, text, tokenizer, unet, noising, None, None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a path one that may not be read, even where the tests' user may read everything."""

    def forbid(path: Path) -> None:
        def refusing(usual: Any) -> Any:
            def refuse(where: Any, *given: Any, **named: Any) -> Any:
                if isinstance(where, str | Path) and Path(where) == path:
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return usual(where, *given, **named)

            return refuse

        for holder, name in ((Path, "open"), (builtins, "open"), (io, "open")):
            monkeypatch.setattr(holder, name, refusing(getattr(holder, name)))

    return forbid
