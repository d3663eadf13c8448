"""``outskirts synthesize boundary`` and its like: outliers in the feature space of any trained run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from .. import __version__, seeding
from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..extraction.extract import extract
from ..files import atomic, require_empty, save_json
from ..synthesis.outliers import Outliers
from ..training.run import Run, load
from ..training.train import training_sets
from .console import bar, options, say

__all__ = ["FEATURE_SPACE", "FeatureOptions", "main"]


@dataclass(frozen=True)
class FeatureOptions(ABC):
    """What all of them ask."""

    run: str = ""
    """A trained run, of any method."""
    data: str = ""
    """Labelled images of the run's classes; by default its training images."""
    out: str = ""
    """Where the files go; must be empty or new."""
    count: int = 200
    """How many outliers."""
    seed: int = 0
    """Of the synthesis."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded."""

    @abstractmethod
    def make(
        self, features: Tensor, labels: Tensor, classes: Sequence[str], generator: Generator
    ) -> tuple[Outliers, Mapping[str, Any]]:
        """`count` outliers of features [N, D] with labels [N], and the parameters they were made with."""


@dataclass(frozen=True)
class Boundary(FeatureOptions):
    """Make outliers at the edge of each class, by distances to nearest neighbours, as NPOS does."""

    rows: int = 1000
    """Features of each class to use, the last ones."""
    k: int = 0
    """Which neighbour's distance counts; 0 takes 3 of 10 features of the smallest class, at most 300."""
    boundary: int = 0
    """Size of each class's boundary set; 0 takes 2 of 10 features of the smallest class, at most 200."""
    picks: int = 0
    """Boundary features to make outliers of, of each class at a time; 0 takes as many as the count asks for."""
    candidates: int = 0
    """Candidates around each; 0 takes three for one that is kept, at least 600."""
    keep: int = 0
    """Candidates to keep of each, the farthest; 0 takes as many as the count asks for."""
    sigma: float = 0.03
    """Standard deviation of the noise in every dimension."""
    space: Literal["sphere", "raw"] = "sphere"
    """Add noise to features of norm 1, or to features as they are."""
    selection: Literal["distance", "random"] = "distance"
    """Keep the farthest candidates, or any."""
    memory_budget: int = 2**26
    """Bytes that features, candidates and distances may take at once."""

    def make(
        self, features: Tensor, labels: Tensor, classes: Sequence[str], generator: Generator
    ) -> tuple[Outliers, Mapping[str, Any]]:
        from ..synthesis.boundary import BoundarySynthesizer

        counts = torch.bincount(labels, minlength=len(classes))
        smallest = min(self.rows, int(counts[counts > 0].min()))
        each = -(-self.count // len(classes))
        boundary = self.boundary or max(1, min(200, smallest // 5))
        picks = self.picks or min(boundary, each)
        keep = self.keep or -(-each // picks)
        synthesizer = BoundarySynthesizer(
            k=self.k or max(1, min(300, 3 * smallest // 10)),
            boundary=boundary,
            picks=picks,
            candidates=self.candidates or max(600, 3 * keep),
            keep=keep,
            sigma=self.sigma,
            space=self.space,
            selection=self.selection,
            budget=self.memory_budget,
        )
        made = synthesizer.fit(features, labels, classes, self.rows).sample(self.count, generator)
        names = ("k", "boundary", "picks", "candidates", "keep", "sigma", "space", "selection", "exclude_self")
        return made, {"rows": self.rows, **{name: getattr(synthesizer, name) for name in names}}


@dataclass(frozen=True)
class Gaussian(FeatureOptions):
    """Make outliers in the tails of a Gaussian about each class, as VOS does."""

    draws: int = 10_000
    """Points to choose from."""
    keep: int = 1
    """Points to keep of these, the least likely."""

    def make(
        self, features: Tensor, labels: Tensor, classes: Sequence[str], generator: Generator
    ) -> tuple[Outliers, Mapping[str, Any]]:
        from ..synthesis.gaussian import GaussianSynthesizer

        synthesizer = GaussianSynthesizer(len(classes), features.shape[1], draws=self.draws, keep=self.keep)
        made = synthesizer.fit(features, labels).sample(self.count, generator)
        return made, {"draws": self.draws, "keep": self.keep}


#: By name; another synthesiser of features adds its options here.
FEATURE_SPACE: dict[str, type[FeatureOptions]] = {"boundary": Boundary, "gaussian": Gaussian}


def main(name: str, arguments: Sequence[str]) -> None:
    """Write ``outliers.safetensors``, ``outliers.png`` and, last, ``manifest.json``."""
    given = options(FEATURE_SPACE[name], f"synthesize {name}", arguments)
    run, out = folders(given.run, given.out)
    if given.count < 1:
        raise OutskirtsError(f"{given.count} outliers are none; choose a --count of at least 1.")
    device = resolve_device(given.device)
    classifier = load(run.path)
    weights = classifier.fingerprint()
    images = open_images(given.data).align(classifier.classes) if given.data else training_sets(run.recipe())[0]
    with bar() as progress:
        task = progress.add_task("features", total=None, figures="images")
        outputs = extract(
            classifier,
            images,
            features="raw",
            store=run.outputs,
            device=device,
            skip_corrupt=given.skip_corrupt,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    features, labels = outputs.features, outputs.need("labels", f"synthesize {name}")
    if int(labels.min()) < 0:
        raise OutskirtsError(f"{images.spec} has images without a label; outliers are made of labelled images.")
    generator = seeding.generator(given.seed, "synthesise", name)
    outliers, parameters = given.make(features, labels, classifier.classes, generator)
    counts = torch.bincount(outliers.labels, minlength=len(classifier.classes)).tolist()
    outliers.save(out / "outliers.safetensors")
    _save_picture(out / "outliers.png", features, labels, outliers, classifier.classes)
    save_json(
        out / "manifest.json",
        {
            "synthesizer": name,
            "parameters": parameters,
            "seed": given.seed,
            "run": str(run.path),
            "weights": weights,
            "data": images.spec,
            "images": len(features),
            "images_fingerprint": images.fingerprint,
            "outskirts": __version__,
            "diagnostics": {key: value.item() for key, value in outliers.info.items() if value.ndim == 0},
            "classes": dict(zip(classifier.classes, counts)),
            "outliers": _made_of(outliers, images, classifier.classes),
        },
    )
    if outliers.info["ready"] < 1:
        lacking = [c for c, count in zip(classifier.classes, counts) if not count]
        say(f"No outliers of {', '.join(lacking)}: too few features.")
    say(f"{len(outliers)} outliers in {out}; look at {out / 'outliers.png'}")


def _save_picture(path: Path, features: Tensor, labels: Tensor, outliers: Outliers, classes: Sequence[str]) -> None:
    from ..figures.scatter import plane

    figure = plane(features, labels, outliers, classes)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _made_of(outliers: Outliers, images: ImageSet, classes: Sequence[str]) -> list[dict[str, str]]:
    """The class of each outlier and, where it was made of one image, that image."""
    entries = [{"class": classes[label]} for label in outliers.labels.tolist()]
    if "boundary" in outliers.info:
        skipped = set(images.skipped)
        names = [name for name in map(images.name, range(len(images))) if name not in skipped]
        for entry, row in zip(entries, outliers.info["boundary"].tolist()):
            entry["made_of"] = names[row]
    return entries


def folders(run: str, out: str) -> tuple[Run, Path]:
    """The run, and the folder to write to, which must be new or empty."""
    if not run or not out:
        raise OutskirtsError("Pass the trained run and the folder for the outliers: --run RUN --out DIR.")
    folder = Path(out)
    require_empty(folder)
    return Run.open(run), folder
