"""Outliers in the feature space of any trained run, with a picture of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor

from .. import seeding
from ..__about__ import __version__
from ..arguments import check_arguments, require_positive
from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..extraction.extract import extract
from ..figures.scatter import plane
from ..files import atomic, require_empty, save_json
from ..locking import only_writer
from ..paths import output_path
from ..synthesis.boundary import BoundarySynthesizer
from ..synthesis.gaussian import GaussianSynthesizer
from ..synthesis.outliers import Outliers
from ..telling import Progress, Say, nobody, silence
from ..texts import counted
from ..training.loading import load
from ..training.run import Run
from ..training.validation import training_sets

__all__ = ["FeatureBoundary", "FeatureGaussian", "FeatureSpace", "synthesize_features"]


@dataclass(frozen=True, kw_only=True)
class FeatureSpace(ABC):
    """A way to make outliers of features, with its options."""

    name: ClassVar[str]

    @abstractmethod
    def make(
        self, features: Tensor, labels: Tensor, classes: Sequence[str], count: int, generator: Generator
    ) -> tuple[Outliers, Mapping[str, Any]]:
        """`count` outliers of features [N, D] with labels [N], and the parameters they were made with."""


@check_arguments
@dataclass(frozen=True, kw_only=True)
class FeatureBoundary(FeatureSpace):
    """Outliers at the edge of each class, found by distances to nearest neighbours, as in NPOS."""

    name: ClassVar[str] = "boundary"

    rows: int = 1000
    """Largest number of feature vectors to use of each class: the last ones."""
    k: int | None = None
    """Rank of a neighbour; 1 is the nearest. The distance to this neighbour decides which features are at the boundary,
    and which candidates are kept. Default: 30 % of the features of the smallest class, at most 300."""
    boundary: int | None = None
    """Size of the boundary set of each class. Default: 20 % of the features of the smallest class, at most 200."""
    picks: int | None = None
    """Boundary features of each class to make outliers of at a time. Default: as many as the count needs."""
    candidates: int | None = None
    """Candidates drawn for each boundary feature. Default: three for each one that is kept, at least 600."""
    keep: int | None = None
    """Candidates to keep for each boundary feature. Default: as many as the count needs."""
    sigma: float = 0.03
    """Standard deviation of the noise in every dimension, at least 0."""
    space: Literal["sphere", "raw"] = "sphere"
    """Where noise is added: to features scaled to norm 1, or to features as they are."""
    selection: Literal["distance", "random"] = "distance"
    """Which candidates to keep: distance keeps the farthest ones, random keeps some at random."""
    memory_budget: int = 2**26
    """Bytes that features, candidates and distances may use at the same time."""

    def __post_init__(self) -> None:
        require_positive(**{name: getattr(self, name) for name in ("k", "boundary", "picks", "candidates", "keep")})

    def make(
        self, features: Tensor, labels: Tensor, classes: Sequence[str], count: int, generator: Generator
    ) -> tuple[Outliers, Mapping[str, Any]]:
        counts = torch.bincount(labels, minlength=len(classes))
        smallest = min(self.rows, int(counts[counts > 0].min()))
        per_class = -(-count // len(classes))
        boundary = max(1, min(200, smallest // 5)) if self.boundary is None else self.boundary
        picks = min(boundary, per_class) if self.picks is None else self.picks
        keep = -(-per_class // picks) if self.keep is None else self.keep
        synthesizer = BoundarySynthesizer(
            k=max(1, min(300, 3 * smallest // 10)) if self.k is None else self.k,
            boundary=boundary,
            picks=picks,
            candidates=max(600, 3 * keep) if self.candidates is None else self.candidates,
            keep=keep,
            sigma=self.sigma,
            space=self.space,
            selection=self.selection,
            budget=self.memory_budget,
        )
        made = synthesizer.fit(features, labels, classes, self.rows).sample(count, generator)
        names = ("k", "boundary", "picks", "candidates", "keep", "sigma", "space", "selection", "exclude_self")
        return made, {"rows": self.rows, **{name: getattr(synthesizer, name) for name in names}}


@dataclass(frozen=True, kw_only=True)
class FeatureGaussian(FeatureSpace):
    """Outliers in the tails of a Gaussian fitted to each class, as in VOS."""

    name: ClassVar[str] = "gaussian"

    draws: int = 10_000
    """Points drawn for each class."""
    keep: int = 1
    """Points to keep of each class: the least likely ones."""

    def make(
        self, features: Tensor, labels: Tensor, classes: Sequence[str], count: int, generator: Generator
    ) -> tuple[Outliers, Mapping[str, Any]]:
        synthesizer = GaussianSynthesizer(len(classes), features.shape[1], draws=self.draws, keep=self.keep)
        made = synthesizer.fit(features, labels).sample(count, generator)
        return made, {"draws": self.draws, "keep": self.keep}


def synthesize_features(
    run: Run | Path | str,
    out: Path | str,
    how: FeatureSpace | None = None,
    *,
    data: ImageSet | str | Path | None = None,
    count: int = 200,
    seed: int = 0,
    device: str = "auto",
    skip_corrupt: bool = False,
    say: Say = silence,
    progress: Progress = nobody,
) -> Outliers:
    """Make outliers in the feature space of a trained run.

    Writes ``outliers.safetensors``, ``outliers.png`` (a picture with the features) and, last, ``manifest.json``.

    Arguments:
        run: A trained run of any method, or its folder.
        out: A new or empty folder.
        how: `FeatureBoundary`, which is the default, or `FeatureGaussian`, with its options.
        data: Labelled images of the run's classes, or their spec; the run's training images unless given.
        count: Number of outliers.
        seed: Seed of the synthesis.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        skip_corrupt: Leave out images that cannot be decoded.
        say: Told what was made.
        progress: Told of the images forwarded.

    Returns:
        Outliers with values [count, D], the labels of their classes, and diagnostics.

    Raises:
        OutskirtsError: If the folder is not empty, the run is not finished, or an image has no label.
    """
    run, out, how = Run.open(run), output_path(out), how or FeatureBoundary()
    require_empty(out)
    require_positive(count=count)
    where, classifier = resolve_device(device), load(run.path)
    weights = classifier.fingerprint()
    images = training_sets(run)[0] if data is None else open_images(data).align(classifier.classes)
    outputs = extract(
        classifier,
        images,
        features="raw",
        store=run.outputs,
        device=where,
        skip_corrupt=skip_corrupt,
        progress=lambda done, total: progress("features", done, total),
    )
    features, labels = outputs.features, outputs.need("labels", f"synthesize {how.name}")
    if int(labels.min()) < 0:
        raise OutskirtsError(f"{images.spec} has images without a label; outliers are made of labelled images.")
    outliers, parameters = how.make(
        features, labels, classifier.classes, count, seeding.generator(seed, "synthesise", how.name)
    )
    counts = torch.bincount(outliers.labels, minlength=len(classifier.classes)).tolist()
    with only_writer(out):
        require_empty(out)
        outliers.save(out / "outliers.safetensors")
        figure = plane(features, labels, outliers, classifier.classes)
        with atomic(out / "outliers.png") as temporary:
            figure.savefig(temporary, format="png", dpi=150)
        about = {
            "synthesizer": how.name,
            "parameters": parameters,
            "seed": seed,
            "run": str(run.path),
            "weights": weights,
        }
        save_json(
            out / "manifest.json", {**about, **_described(outliers, images, len(features), classifier.classes, counts)}
        )
    if outliers.info["ready"] < 1:
        lacking = [c for c, number in zip(classifier.classes, counts) if not number]
        say(f"No outliers of {', '.join(lacking)}: too few features.")
    say(f"{counted(len(outliers), 'outlier')} in {out}; look at {out / 'outliers.png'}")
    return outliers


def _described(
    outliers: Outliers, images: ImageSet, features: int, classes: Sequence[str], counts: Sequence[int]
) -> dict[str, Any]:
    """What the manifest says of the outliers, and of the images that they were made of."""
    return {
        "data": images.spec,
        "images": features,
        "images_fingerprint": images.fingerprint,
        "outskirts": __version__,
        "diagnostics": {key: value.item() for key, value in outliers.info.items() if value.ndim == 0},
        "classes": dict(zip(classes, counts)),
        "outliers": _made_of(outliers, images, classes),
    }


def _made_of(outliers: Outliers, images: ImageSet, classes: Sequence[str]) -> list[dict[str, str]]:
    """The class of each outlier and, where it was made of one image, that image."""
    entries = [{"class": classes[label]} for label in outliers.labels.tolist()]
    if "boundary" in outliers.info:
        names = images.kept_names()
        for entry, row in zip(entries, outliers.info["boundary"].tolist()):
            entry["made_of"] = names[row]
    return entries
