"""``outskirts evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from ..errors import OutskirtsError
from ..evaluation.asked import GROUPS
from ..evaluation.evaluate import asked_for
from ..evaluation.evaluate_run import evaluate_run
from ..models.heads import Space
from ..reporting import report
from .console import Command, merged, pairs, parse, say, show, telling

__all__ = ["COMMAND", "main"]

Entries = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=SPEC [NAME=SPEC ...]")]


@dataclass(frozen=True)
class Evaluate(Command):
    """Measure how well a trained run detects out-of-distribution (OOD) images, and write its report."""

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts evaluate runs/photos --test folder:photos/test --far textures=folder:textures",
        "outskirts evaluate runs/photos --test folder:photos/test --near textures=folder:textures --tune",
    )

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    test: str | None = None
    """In-distribution (ID) test images of the run's classes, as a spec."""
    near: Entries = ()
    """Near OOD sets: images that are similar to the training images."""
    far: Entries = ()
    """Far OOD sets: images that are very different from the training images."""
    ood: Entries = ()
    """OOD sets that are neither near nor far; GROUP/NAME=SPEC puts one into a group of your own."""
    shifted: Entries = ()
    """Labelled ID images under other conditions. Full-spectrum results count them as ID."""
    control: Entries = ()
    """ID images that are coded or resized in another way, such as jpeg=folder:photos/test?jpeg=75. An AUROC of 50 % is
    right for them."""
    benchmark: str | None = None
    """Name or YAML file of a benchmark, in the place of the sets above."""
    detectors: tuple[str, ...] = ("all",)
    """Names of detectors, with parameters as in knn:k=10,space=projection; or all."""
    features: Space = "head"
    """Features that detectors see: the input of the linear layer (head), the output of the backbone (raw), or points
    on the hypersphere (projection)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the network."""
    keep: Literal["fp32", "fp16"] = "fp32"
    """Precision of the features that are stored; fp16 halves the space for sets of millions of images."""
    device: str = "auto"
    """Device of the network: auto, cpu, cuda or mps."""
    tune: bool = False
    """Choose the parameters of detectors on validation images of the run, and on outliers made of them."""
    tune_on: str | None = None
    """Choose the parameters of detectors on these OOD validation images. None of them may be in a test set."""
    tune_passes: bool = False
    """With --tune or --tune-on, also choose the parameters of odin and iodin. Each of their 36 points takes a pass over
    the validation images."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded, and count them."""

    def __call__(self) -> None:
        with telling() as (saying, progress):
            results = evaluate_run(
                self.run,
                self.test,
                self._groups(),
                asked_for(self.detectors),
                benchmark=self.benchmark,
                features=self.features,
                precision=self.precision,
                keep=self.keep,
                device=self.device,
                skip_corrupt=self.skip_corrupt,
                tune=self.tune_on or ("own" if self.tune else None),
                tune_passes=self.tune_passes,
                say=saying,
                progress=progress,
            )
        show(results.table())
        say(f"Report: {report(self.run)}")

    def _groups(self) -> dict[str, dict[str, str]]:
        """The specs of OOD sets by group and name."""
        groups: dict[str, dict[str, str]] = {}
        for option in GROUPS:
            for given, spec in pairs(option, getattr(self, option)).items():
                group, name = given.split("/", 1) if option == "ood" and "/" in given else (option, given)
                if name in groups.setdefault(group, {}):
                    raise OutskirtsError(f"Two OOD sets are called '{name}'. Give each set a name of its own.")
                groups[group][name] = spec
        return groups


COMMAND = Evaluate


def main(arguments: Sequence[str]) -> None:
    """Evaluate, print the table, write the report."""
    flags = (*(f"--{group}" for group in GROUPS), "--detectors")
    parse(Evaluate, "evaluate", merged(arguments, *flags))()
