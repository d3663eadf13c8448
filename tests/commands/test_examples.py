"""Every command's help ends with examples, and each of them runs."""

import importlib
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from outskirts.cli import COMMANDS, main
from outskirts.models.diffusion import SIZES
from outskirts.models.diffusion.model import Size

#: What is there where the examples are called; in the order of what they need.
ORDER = ("data", "train", "evaluate", "report", "synthesize", "import", "benchmark", "list", "demo")

#: Examples that are read here but not run: what each needs that a test has not.
NOT_RUN = {
    "outskirts demo": "minutes",
    "outskirts demo --quick --out runs/quick": "a minute; the quick demo is run on every commit",
    "outskirts data fetch cifar10": "a network",
    "outskirts data backgrounds --data folder:photos/test --objects 7-24 --out backgrounds": "ImageNet weights",
    "outskirts import openood resnet18.ckpt --data folder:photos/train --out runs/imported": "a checkpoint",
    "outskirts data verify pool:pools/photos": "a pool, which the example of synthesize id makes later",
    "outskirts synthesize ncis --model pools/photos/generator --run runs/photos --out imagined-all": "minutes",
    "outskirts synthesize dream --model pools/photos/generator --run runs/dream --out imagined-dream-all": "minutes",
}


def commands(kinds: Any) -> Iterator[Any]:
    for kind in kinds.values() if isinstance(kinds, dict) else [kinds]:
        if isinstance(kind, dict):
            yield from commands(kind)
        else:
            yield kind


def examples() -> list[str]:
    """All of them, in the order in which they can be run."""
    listed = []
    for name in ORDER:
        module = importlib.import_module(f"outskirts.commands.{name}")
        extra = [module.Benchmark] if name == "benchmark" else [module.Images] if name == "synthesize" else []
        listed += getattr(module, "EXAMPLES", ())
        for kind in [*extra, *commands(module.COMMAND)]:
            listed += getattr(kind, "examples", ())
    ids = importlib.import_module("outskirts.commands.synthesize_id")
    listed += ids.EXAMPLES
    return list(dict.fromkeys(listed))


def test_every_command_has_examples():
    assert set(ORDER) == set(COMMANDS)
    for name in ORDER:
        assert any(example.startswith(f"outskirts {name}") for example in examples()), name


def test_what_is_not_run_is_an_example():
    assert set(NOT_RUN) <= set(examples())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_ends_with_examples(name, outskirts):
    page = outskirts(name, "--help").out
    assert "\nexample" in page and f"\n  outskirts {name}" in page.partition("\nexample")[2]


@pytest.fixture(scope="module")
def place(draw, clip_folder, tmp_path_factory):
    """A folder with photos, textures, a CLIP, a benchmark and a small generator."""
    folder = tmp_path_factory.mktemp("examples")
    draw(folder / "photos" / "train")
    draw(folder / "photos" / "test", count=6, seed=1)
    draw(folder / "textures", (), count=8, seed=2)
    (folder / "clip").symlink_to(clip_folder)
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
    monkeypatch.setitem(SIZES, "tiny", Size((16, 16), 1, 16, 2))
    every = [example for example in examples() if example not in NOT_RUN]
    with_a_model = [example for example in every if "--model " in example]
    aligned = [example for example in every if "--anchors " in example]
    for example in every:
        if example not in (*with_a_model, *aligned):
            run(example)
    run("outskirts data verify pool:pools/photos")
    small = "--network tiny --epochs 1 --batch-size 8 --network-evaluations 2 --count 4"
    run(f"outskirts synthesize id --generator diffusion --run runs/photos --out g {small}")
    (place / "g" / "generator").rename(place / "pools" / "photos" / "generator")
    for example in (*(f"{example} --embedding 16" for example in aligned), *with_a_model):
        run(example)


def run(example):
    words = shlex.split(example)
    assert words[0] == "outskirts"
    main(words[1:])
