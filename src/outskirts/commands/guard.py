"""``outskirts guard``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Annotated, ClassVar, Literal

import tyro

from ..bounds import Between
from ..errors import OutskirtsError
from ..files import require_empty
from ..guard.guard import Guard
from ..models.heads import Space
from ..training.loading import run_of
from .console import Command, parse, say, show, telling
from .stated import Stated

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True, kw_only=True)
class Make(Command):
    """Put a classifier, a detector and a threshold into one folder. The threshold accepts a stated share of new
    in-distribution (ID) images."""

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts guard runs/photos --calibrate folder:photos/calibration --out guards/photos",
        "outskirts guard torchvision:resnet18?weights=my.pt --train folder:photos/train --calibrate "
        "folder:photos/calibration --detector knn:k=10 --out guards/resnet",
    )

    classifier: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|MODEL")]
    """Folder of a run, or a classifier that was trained elsewhere, such as timm:resnet50?weights=my.pt, hf:DIR,
    onnx:FILE or module:package.file:function."""
    calibrate: str
    """ID images, as a spec, that neither trained the classifier nor chose anything. They need no labels."""
    out: Path
    """Folder to write, which must be new."""
    detector: str = "auto"
    """Name of a detector, with parameters as in knn:k=10; or auto, for the one that best tells validation images from
    outliers made of them, or from those of --tune-on."""
    acceptance: Between = 0.95
    """Share of new ID images that is to be accepted, between 0 and 1."""
    confidence: Between | None = None
    """Probability, between 0 and 1, that this calibration accepts that share. Default: it does on average over
    calibrations."""
    per_class: bool = False
    """Give each predicted class a threshold of its own, so that all are accepted equally often."""
    tune_on: str | None = None
    """OOD images to choose the detector on, as a spec. They must not be used to measure the guard."""
    train: str | None = None
    """For a classifier that was trained elsewhere: images that it was trained on, as a spec."""
    val: str | None = None
    """For the same: validation images. Default: those in the folder val beside train; without such a folder, a part of
    the training images is set aside."""
    val_fraction: Between = 0.05
    """For the same: share of the training images, between 0 and 1, that is set aside where --val is not given."""
    features: Space = "head"
    """Features that the detector sees: the input of the linear layer (head), the output of the backbone (raw), or
    points on the hypersphere (projection)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the network, here and in the verdicts."""
    device: str = "auto"
    """Device of the network: auto, cpu, cuda or mps."""
    seed: int = 0
    """Seed of what is set aside, and of outliers."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded, and count them."""
    transform: Stated = field(default_factory=Stated)
    """Preprocessing of images for a classifier that was trained elsewhere; a run knows its own."""

    def __call__(self) -> None:
        require_empty(self.out)
        shared = ("detector", "acceptance", "confidence", "per_class", "val", "val_fraction", "features", "precision")
        options = {name: getattr(self, name) for name in (*shared, "device", "seed", "skip_corrupt")}
        with telling() as (saying, progress):
            guard = Guard.fit(
                self._named(), self.train, self.calibrate, tune=self.tune_on, say=saying, progress=progress, **options
            )
            guard.save(self.out)
        if measured := guard.about["measured"]:
            show(f"The classifier is right on {measured['accuracy']:.1%} of {measured['images']}.")
        for sentence in guard.calibration.sentences():
            show(sentence)
        say(f"Guard: {self.out}. Next: outskirts predict {quote(str(self.out))} PICTURES")

    def _named(self) -> str:
        """The classifier, with what is stated of its transform."""
        if run_of(self.classifier) is None:
            return self.transform.of(self.classifier)
        if given := [name for name, value in vars(self.transform).items() if value is not None]:
            raise OutskirtsError(f"--{given[0]} is for a classifier that was trained elsewhere; a run knows its own.")
        return self.classifier


COMMAND = Make


def main(arguments: Sequence[str]) -> None:
    """Fit a guard, write its folder, and print what it promises."""
    parse(Make, "guard", arguments)()
