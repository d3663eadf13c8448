"""Every command's help ends with examples, and each of them runs."""

import importlib
import shlex
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torchvision
import yaml

from outskirts import methods
from outskirts.cli import COMMANDS, EXAMPLES, main
from outskirts.generation import generators

_GUARD = ("guard", "predict", "monitor", "export", "serve")
#: What is there where the examples are called; in the order of what they need.
ORDER = ("data", "train", "evaluate", *_GUARD, "extract", "report", "synthesize", "import", "benchmark", "list", "demo")
#: What examples that need the guards or pools of others have in common; in the order of what they need.
LATER = ("--guard ", "verify pool:", "--anchors ", "synthesize ncis", "synthesize dream")

#: Examples that are read here but not run: what each needs that a test has not.
NOT_RUN = {
    "outskirts demo": "minutes",
    "outskirts demo --quick --out runs/quick": "a minute; the quick demo is run on every commit",
    "outskirts data fetch cifar10": "a network",
    "outskirts data backgrounds --data folder:photos/test --objects 7-24 --out backgrounds": "ImageNet weights",
    "outskirts import openood resnet18.ckpt --data folder:photos/train --out runs/imported": "a checkpoint",
    "outskirts predict guards/photos folder:photos/test --engine ray --workers 2 --out verdicts": "a cluster",
    "outskirts serve guards/photos --port 8000": "it ends when it is told to",
    "outskirts export guards/photos --out small.onnx --int8 --calibrate folder:photos/calibration": "half a minute",
}

#: What keeps examples short: their detectors and the stages of a method are run elsewhere.
FEW = "--per-class 6 --count 12 --network-evaluations 2 --max-confidence 1"
SHORTER = {
    "outskirts evaluate --model": "--detectors msp knn",
    "outskirts benchmark my-benchmark.yaml": "--detectors msp knn",
    "outskirts synthesize ncis --model": f"--draws 2 --fit-epochs 3 --competing-classes 0 {FEW}",
    "outskirts synthesize dream --model": f"--boundary 4 --picks 2 {FEW}",
}


def commands(kinds: Any) -> Iterator[Any]:
    for kind in kinds.values() if isinstance(kinds, dict) else [kinds]:
        if isinstance(kind, dict):
            yield from commands(kind)
        else:
            yield kind


def examples() -> list[str]:
    """All of them, in the order in which they can be run."""
    listed = [*EXAMPLES]
    for name in ORDER:
        module = importlib.import_module(f"outskirts.commands.{name}")
        extra = [module.Benchmark] if name == "benchmark" else [module.Images] if name == "synthesize" else []
        listed += getattr(module, "EXAMPLES", ())
        for kind in [*extra, *commands(module.COMMAND)]:
            listed += getattr(kind, "examples", ())
    listed += importlib.import_module("outskirts.commands.synthesize_id").EXAMPLES
    return list(dict.fromkeys(listed))


def pages() -> Iterator[list[str]]:
    """The words before --help of every page: of each command, subcommand and stage, method and generator."""
    yield from ([name] for name in COMMANDS)
    for name in ("benchmark", "data", "synthesize"):
        yield from below([name], importlib.import_module(f"outskirts.commands.{name}").COMMAND)
    yield ["synthesize", "ascood"]
    yield from (["train", name] for name in methods.registry.names())
    yield from (["synthesize", "id", "--generator", name] for name in generators.registry.names())


def below(words: list[str], kinds: Any) -> Iterator[list[str]]:
    for name, kind in kinds.items():
        yield [*words, name]
        if isinstance(kind, dict):
            yield from below([*words, name], kind)


def test_every_command_has_examples():
    assert set(ORDER) == set(COMMANDS)
    for name in ORDER:
        assert any(example.startswith(f"outskirts {name}") for example in examples()), name


def test_what_is_not_run_is_an_example():
    assert set(NOT_RUN) <= set(examples())


@pytest.mark.parametrize("words", [*pages()], ids=" ".join)
def test_the_help_ends_with_examples(words, outskirts):
    page = outskirts(*words, "--help").out
    command = " ".join(words).removesuffix(" all").removesuffix(" --generator mixup")
    assert "\nexample" in page and f"\n  outskirts {command}" in page.partition("\nexample")[2]
    shown = [line.strip() for line in page.partition("\nexample")[2].splitlines() if line.startswith("  outskirts")]
    assert set(shown) <= set(examples())


def test_the_help_of_all_ends_with_examples(outskirts):
    page = outskirts("--help").out
    assert page.endswith("examples:\n" + "".join(f"  {example}\n" for example in EXAMPLES))


@pytest.fixture(scope="module")
def place(draw, clip_folder, stable_folder, tmp_path_factory):
    """A folder with photos, textures, a CLIP, a Stable Diffusion and a benchmark."""
    folder = tmp_path_factory.mktemp("examples")
    draw(folder / "photos" / "train")
    draw(folder / "photos" / "test", count=6, seed=1)
    draw(folder / "photos" / "calibration", count=15, seed=3)
    draw(folder / "textures", (), count=8, seed=2)
    shutil.copy(folder / "textures" / "0.png", folder / "new.png")
    torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), folder / "my.pt")
    (folder / "clip").symlink_to(clip_folder)
    (folder / "stable-diffusion").symlink_to(stable_folder)
    benchmark = {
        "description": "Two kinds of photos.",
        "train": "folder:photos/train",
        "test": "folder:photos/test",
        "ood": {"far": {"textures": "folder:textures"}},
    }
    (folder / "my-benchmark.yaml").write_text(yaml.safe_dump(benchmark))
    return folder


def test_they_run(place, monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.chdir(place)
    every = [example for example in examples() if example not in NOT_RUN]
    after = [example for part in LATER for example in every if part in example]
    for example in every:
        if example not in after:
            run(example)
    for example in after:
        run(example)


def run(example):
    words = shlex.split(" ".join([example, *(more for start, more in SHORTER.items() if example.startswith(start))]))
    assert words[0] == "outskirts"
    try:
        main(words[1:])
    except SystemExit as end:
        assert words[-1] == "--help" and not end.code
