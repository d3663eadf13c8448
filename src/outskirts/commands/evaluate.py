"""``outskirts evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from ..bounds import Between
from ..errors import OutskirtsError
from ..evaluation.asked import GROUPS
from ..evaluation.evaluate import asked_for
from ..evaluation.evaluate_model import evaluate_model, model_folder
from ..evaluation.evaluate_run import evaluate_run
from ..evaluation.results import Results
from ..guard.guard import Guard
from ..guard.measured_files import NUMBERS
from ..guard.page import require_page
from ..models.heads import Space
from ..reporting import report
from ..training.loading import run_of
from .console import Command, merged, pairs, parse, say, show, telling
from .several import Detectors, Entries
from .stated import Stated

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True)
class Evaluate(Command):
    """Measure how well a run, or a classifier that was trained elsewhere, detects out-of-distribution (OOD) images, and
    write the report. Of a guard, measure how many images it accepts and rejects."""

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts evaluate runs/photos --test folder:photos/test --far textures=folder:textures",
        "outskirts evaluate runs/photos --test folder:photos/test --near textures=folder:textures --tune",
        "outskirts evaluate --model torchvision:resnet18?weights=my.pt --train folder:photos/train --test "
        "folder:photos/test --far textures=folder:textures",
        "outskirts evaluate --guard guards/photos --test folder:photos/test --far textures=folder:textures --out "
        "photos.html",
    )

    run: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[RUN]")] = None
    """Folder of the run, in the place of --model."""
    model: str | None = None
    """Classifier that was trained elsewhere, such as timm:resnet50?weights=my.pt, hf:DIR, onnx:FILE or
    module:package.file:function."""
    guard: Path | None = None
    """Folder of a guard, in the place of a run. It keeps its detector and its threshold, so only --test, the OOD sets,
    --device, --skip-corrupt, --out and --any-version go with it."""
    train: str | None = None
    """With --model: images that it was trained on, with its classes, as a spec. Detectors are fitted on them."""
    val: str | None = None
    """With --model: validation images. Default: those in the folder val beside train; without such a folder, a part of
    the training images is set aside."""
    val_fraction: Between = 0.05
    """With --model: share of the training images, between 0 and 1, that is set aside where --val is not given."""
    seed: int = 0
    """With --model: seed of that part, and of the bootstrap."""
    out: Path | None = None
    """With --model: folder of the results. Default: one in runs/, named after the classifier. With --guard: page to
    write, a new file .html; its numbers are written beside it, as .csv and .json. Default: a table on the terminal."""
    test: str | None = None
    """In-distribution (ID) test images of the run's classes, as a spec. Default: those in the folder test beside
    train."""
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
    detectors: Detectors = ("all",)
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
    any_version: bool = False
    """With --guard: load a guard that was saved with other versions of torch and the like, if its network gives the
    same features."""
    transform: Stated = field(default_factory=Stated)
    """Preprocessing of images for a classifier that was trained elsewhere; a run knows its own."""

    def __call__(self) -> None:
        if self.guard is not None:
            return self._of_guard(self.guard)
        options: dict[str, Any] = {name: getattr(self, name) for name in _SHARED}
        options["tune"] = self.tune_on or ("own" if self.tune else None)
        with telling() as (saying, progress):
            options |= {"say": saying, "progress": progress}
            run = self.run if self.model is None else self._named()
            folder, results = self._of_model(options) if run is None else self._of_run(run, options)
        show(results.table(notes=False))
        say(f"Report: {report(folder)}")

    def _named(self) -> Path | None:
        """The folder of a run that is named as a classifier, if it is one."""
        if self.run is not None:
            raise OutskirtsError(
                "Pass either the folder of a run or a classifier that was trained elsewhere (--model)."
            )
        run = run_of(self.transform.of(str(self.model)))
        return None if run is None else run.path

    def _of_run(self, run: Path, options: dict[str, Any]) -> tuple[Path, Results]:
        if given := self._given(_OF_MODEL):
            raise OutskirtsError(
                f"{given[0]} is for a classifier that was trained elsewhere (--model); a run knows its own."
            )
        return run, evaluate_run(run, self.test, self._groups(), asked_for(self.detectors), **options)

    def _of_model(self, options: dict[str, Any]) -> tuple[Path, Results]:
        if self.model is None:
            raise OutskirtsError(
                "Pass the folder of a run, or a classifier that was trained elsewhere (--model), or a guard (--guard)."
            )
        if self.train is None:
            raise OutskirtsError("Pass images of the classes that the classifier was trained on (--train SPEC).")
        text = self.transform.of(self.model)
        options |= {"val": self.val, "val_fraction": self.val_fraction, "seed": self.seed}
        folder = self.out or model_folder(text)
        return folder, evaluate_model(
            text, self.train, self.test, self._groups(), asked_for(self.detectors), out=folder, **options
        )

    def _of_guard(self, folder: Path) -> None:
        taken = ("guard", "test", *GROUPS, "device", "skip_corrupt", "out", "any_version")
        if given := self._given([name for name in vars(self) if name not in (*taken, "transform")]):
            raise OutskirtsError(
                f"{given[0]} does not go with --guard: a guard keeps its classifier, its detector and its threshold."
            )
        if self.test is None:
            raise OutskirtsError("Pass ID test images that the guard was not made of (--test SPEC).")
        page = None if self.out is None else require_page(self.out, NUMBERS)
        guard = Guard.load(folder, strict=not self.any_version, say=say)
        with telling() as (_, progress):
            found = guard.measure(
                self.test, self._groups(), device=self.device, skip_corrupt=self.skip_corrupt, progress=progress
            )
        show(found.table())
        if page is not None:
            say(f"Report: {found.save(page, folder.resolve().name)}")

    def _given(self, names: Sequence[str]) -> list[str]:
        """Those of some options that are given, as they are written."""
        default = Evaluate()
        given = [name for name in names if getattr(self, name) != getattr(default, name)]
        given += [name for name, value in vars(self.transform).items() if value is not None]
        return [name.upper() if name == "run" else f"--{name.replace('_', '-')}" for name in given]

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


#: What both kinds of evaluations take.
_SHARED = ("benchmark", "features", "precision", "keep", "device", "skip_corrupt", "tune_passes")
#: What is for a classifier that was trained elsewhere alone.
_OF_MODEL = ("train", "val", "val_fraction", "seed", "out")

COMMAND = Evaluate


def main(arguments: Sequence[str]) -> None:
    """Evaluate, print the table, write the report."""
    flags = (*(f"--{group}" for group in GROUPS), "--detectors")
    parse(Evaluate, "evaluate", merged(arguments, *flags))()
