"""``outskirts synthesize``: outliers made with a trained run, or new images of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from ..errors import OutskirtsError, unknown
from ..generation.synthesize_features import FeatureBoundary, FeatureGaussian, FeatureSpace, synthesize_features
from ..generation.synthesize_images import synthesize_images
from ..methods import registry
from . import synthesize_diffusion, synthesize_id
from .console import Command, parse, telling
from .help import ending

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True, kw_only=True)
class Images(Command):
    """Make an outlier of each image with the method of a trained run, without training; as pictures to look at."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts synthesize ascood --run runs/ascood --out outliers --count 12",)

    method: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="METHOD")]
    """Method whose outliers to make: that of the run."""
    run: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder of a trained run."""
    out: Path
    """Folder for the pictures: new, empty, or begun with the same options, and then it goes on."""
    data: str | None = None
    """Labelled images of the run's classes, as a spec. Default: its training images."""
    count: int = 96
    """Number of images to make outliers of, at least 1."""
    epoch: int | None = None
    """Epoch of the training, from 1 on, whose strength is used. Default: the last epoch."""
    seed: int = 0
    """Seed of the choice of images and of the synthesis."""

    def __call__(self) -> None:
        if self.method not in registry.names():
            raise unknown("method", self.method, {*registry.names(), *COMMAND})
        with telling() as (saying, progress):
            synthesize_images(
                self.run,
                self.out,
                method=self.method,
                data=self.data,
                count=self.count,
                epoch=self.epoch,
                seed=self.seed,
                say=saying,
                progress=progress,
            )


@dataclass(frozen=True, kw_only=True)
class Features:
    """The trained run, the number of outliers, and the folder of the outliers."""

    run: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder of a trained run of any method."""
    out: Path
    """Folder for the outliers; it must be new or empty."""
    data: str | None = None
    """Labelled images of the run's classes, as a spec. Default: its training images."""
    count: int = 200
    """Number of outliers, at least 1."""
    seed: int = 0
    """Seed of the synthesis."""
    device: str = "auto"
    """Device of the network: auto, cpu, cuda or mps."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded."""

    def made_by(self, synthesis: FeatureSpace) -> None:
        """Make them."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        run, out = options.pop("run"), options.pop("out")
        with telling() as (saying, progress):
            synthesize_features(run, out, synthesis, **options, say=saying, progress=progress)


@dataclass(frozen=True, kw_only=True)
class BoundaryFeatures(Command):
    """Make outliers at the edge of each class, found by distances to nearest neighbours, as in NPOS."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts synthesize boundary --run runs/photos --out edge",)

    outliers: Features
    """The trained run, the number of outliers, and the folder of the outliers."""
    synthesis: FeatureBoundary
    """Search at the edge of each class, by distances to nearest neighbours."""

    def __call__(self) -> None:
        self.outliers.made_by(self.synthesis)


@dataclass(frozen=True, kw_only=True)
class GaussianFeatures(Command):
    """Make outliers in the tails of a Gaussian fitted to each class, as in VOS."""

    examples: ClassVar[tuple[str, ...]] = ("outskirts synthesize gaussian --run runs/photos --out tails",)

    outliers: Features
    """The trained run, the number of outliers, and the folder of the outliers."""
    synthesis: FeatureGaussian
    """Draws from the tails of the Gaussian of each class."""

    def __call__(self) -> None:
        self.outliers.made_by(self.synthesis)


COMMAND: dict[str, Any] = {
    "boundary": BoundaryFeatures,
    "dream": synthesize_diffusion.DREAM,
    "gaussian": GaussianFeatures,
    "id": synthesize_id.COMMAND,
    "ncis": synthesize_diffusion.NCIS,
}

_USAGE = """usage: outskirts synthesize METHOD --run RUN --out DIR [OPTIONS]
       outskirts synthesize {boundary,gaussian} --run RUN --out DIR [OPTIONS]
       outskirts synthesize id --data SPEC --out DIR [OPTIONS]
       outskirts synthesize {ncis,dream} [STAGE] --model DIR --run RUN --out DIR [OPTIONS]

Make outliers, or new images of the training classes, and look at them.

  METHOD     outliers of images, by the method of a trained run
  boundary   outliers of features, at the edge of each class
  gaussian   outliers of features, in the tails of a Gaussian fitted to each class
  id         new images of the training classes
  ncis       images near the training classes, by a diffusion model (NCIS)
  dream      images near the training classes, by a diffusion model (Dream-OOD)

Options of one of them: outskirts synthesize boundary --help"""


def main(arguments: Sequence[str]) -> None:
    """Run the command that the first argument names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, ending(BoundaryFeatures.examples), sep="\n")
        return
    name, rest = arguments[0], arguments[1:]
    if name == "id":
        synthesize_id.main(rest)
    elif name in ("ncis", "dream"):
        synthesize_diffusion.main(name, rest)
    elif name in COMMAND:
        parse(COMMAND[name], f"synthesize {name}", rest)()
    elif name.startswith("-"):
        raise OutskirtsError(
            f"Say what to make before the options: outskirts synthesize boundary {' '.join(arguments)}"
        )
    else:
        parse(Images, f"synthesize {name}", arguments)()
