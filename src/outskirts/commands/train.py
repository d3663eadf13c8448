"""``outskirts train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import tyro

from ..data.notes import left_out
from ..errors import OutskirtsError
from ..methods import Config, registry
from ..training import train as training
from ..training.config import Recipe, TrainConfig
from ..training.evaluating import evaluating
from ..training.fine_tuning import BEGINNING
from ..training.merging import merged_recipe
from ..training.run import Run
from .console import parse_parts, say, training_progress, value
from .help import ending

__all__ = ["COMMAND", "EXAMPLES", "main"]

#: Options without which an example of a method says little, or nothing at all.
_OPTIONS = {
    "ascood": ["--outliers shuffle"],
    "dream": ["--anchors pools/diffusion/generator --embedding 64"],
    "mixoe": ["--outlier-images folder:textures"],
    "ncis": ["--outlier-images folder:textures"],
    "npos-clip": ["--backbone clip:clip"],
    "oe": ["--outliers images --outlier-images folder:textures"],
}

_USAGE = """usage: outskirts train METHOD --data SPEC [OPTIONS]
       outskirts train --config FILE [OPTIONS]
       outskirts train --resume RUN

All options of a method: outskirts train METHOD --help
Methods: {}"""


def example(method: str) -> str:
    """A command line that trains with a method."""
    # The examples of other commands go on with runs/photos.
    run = "photos" if method == "ce" else method
    options = ["--data folder:photos/train --epochs 1", *_OPTIONS.get(method, ()), f"--out runs/{run}"]
    return " ".join(["outskirts train", method, *options])


EXAMPLES = tuple(map(example, registry.names()))


@dataclass(frozen=True)
class Start:
    """The folder of the run, and the options that the training starts from."""

    out: Path | None = None
    """Folder of the run. Default: runs/METHOD-DATA-sSEED."""
    preset: str | None = None
    """Name of settings of the method; other options override them."""
    config: Path | None = None
    """The config.yaml of a run to train again, or a YAML file of options."""
    resume: Path | None = None
    """Folder of an unfinished run to go on with. It excludes every other option."""


COMMAND = Start


def main(arguments: Sequence[str]) -> None:
    """Train, or go on training."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE.format(", ".join(registry.names())), ending([example("ce"), example("ascood")]), sep="\n")
        return
    if any(argument.partition("=")[0] == "--resume" for argument in arguments):
        resumed = value(arguments, "--resume")
        if not resumed or len(arguments) > 1 + ("--resume" in arguments):
            raise OutskirtsError(
                "--resume takes a run folder and no other option. The run continues with the options that it "
                "began with."
            )
        with training_progress(f"resuming {resumed}") as progress:
            _finish(training.resume(resumed, progress=progress, say=say))
        return
    recipe, start = _recipe(arguments)
    with training_progress(recipe.method) as progress:
        run = training.train(recipe.method, out=start.out, progress=progress, say=say, **recipe.options())
    _finish(run)


def _recipe(arguments: Sequence[str]) -> tuple[Recipe, Start]:
    """What the options come to, which are the flags over a preset over a file."""
    given = None if arguments[0].startswith("-") else arguments[0]
    beginning = {name: said for name in BEGINNING if (said := value(arguments, f"--{name}")) not in (None, "None")}
    defaults = merged_recipe(given, beginning, value(arguments, "--preset"), value(arguments, "--config"))
    method = defaults.method
    flags = arguments if arguments[0].startswith("-") else arguments[1:]
    # A file may say what to train on; if none does, the command line has to.
    config = defaults.training if defaults.training.data else replace(defaults.training, data=tyro.MISSING)
    parts = {"run": Start(), "training": config, "method": defaults.settings}
    start, config, settings = parse_parts(parts, f"train {method}", flags, f"Train with '{method}'.", [example(method)])
    assert isinstance(start, Start) and isinstance(config, TrainConfig) and isinstance(settings, Config)
    return Recipe(method, config, settings), start


def _finish(run: Run) -> None:
    for sentence in left_out([name for record in run.records() for name in record.get("skipped") or ()]):
        say(sentence)
    accuracy = [record["accuracy"] for record in run.records() if "accuracy" in record]
    say(f"Trained {run.path}" + (f": validation accuracy {accuracy[-1]:.2%}" if accuracy else ""))
    say(f"Next: {evaluating(run)}")
    say(f"Or keep it with a threshold: outskirts guard {quote(str(run.path))} --calibrate SPEC --out DIR")
