"""The options of outliers that a diffusion model makes: what all stages share, and what each stage takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..arguments import check_fields
from ..bounds import Count
from ..errors import OutskirtsError, unknown
from ..files import require_path_part
from ..renamed import SYNTHESIS, renamed
from ..texts import CommaSeparated
from .manifold.model import ManifoldOptions
from .manifold.sampling import ManifoldSynthesizer

__all__ = [
    "NCIS",
    "PRESETS",
    "Decode",
    "Dream",
    "DreamDecode",
    "Embed",
    "Fit",
    "Named",
    "OnDevice",
    "Reader",
    "Sample",
    "SampleAtBoundary",
    "Source",
    "filled",
    "required",
]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What every stage takes: the folder and the images."""

    out: Path
    """Folder of all stages: new, empty, or begun with the same options, and then it goes on."""
    run: Path | None = None
    """A trained run. Its classifier judges the outliers; its training images are the images to embed."""
    data: str | None = None
    """Labelled training images to embed, as a spec. Default: the training images of --run."""
    limit: Count | None = None
    """Largest number of training images to embed, at least 1. Default: all of them."""
    seed: int = 0
    """Seed of all random numbers."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class OnDevice(Source):
    """What a stage takes that computes with a network."""

    device: str = "auto"
    """Device of the stage's networks: auto, cpu, cuda or mps."""


@dataclass(frozen=True, kw_only=True)
class Reader(OnDevice):
    """What a stage takes that reads the diffusion model."""

    model: Path
    """Folder of a diffusion model: POOL/generator of one trained here, or a Stable Diffusion in diffusers' layout."""
    words: CommaSeparated | None = None
    """Class names to use in texts, separated by commas, in the order of the classes. Default: the class names."""
    template: str = "an image of a {}"
    """Text of an image, with {} in the place of its token vector."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Precision of the diffusion model; auto takes bf16 where it is faster on this device."""


@dataclass(frozen=True, kw_only=True)
class Embed(Reader):
    """Stage embed: find a token vector for each training image."""

    steps: int = 3
    """Optimisation steps for each vector, at least 1."""
    inversion_lr: float = 1e-2
    """Learning rate of the vectors, above 0."""
    draws: int = 8
    """Pairs of time and noise drawn per step and image, at least 1; an even number unless --independent is given."""
    independent: bool = False
    """Draw times and noises independently, as the published code does. Default: in pairs spread over all times."""
    embedding_batch_size: Count = 64
    """Images embedded at the same time, at least 1."""
    shard: str = "0/1"
    """Part of the blocks to make, as k/n: blocks k, k + n, … Use it to share one folder among several processes."""


@dataclass(frozen=True, kw_only=True)
class Fit(OnDevice):
    """Stage fit: find the manifold on which the vectors of each class lie."""

    fit_epochs: int = ManifoldOptions.epochs
    """Largest number of epochs, at least 1; the fit stops earlier when the loss on held-out vectors no longer falls."""
    blocks: int = ManifoldOptions.blocks
    """Number of coupling blocks in the volume-preserving network, at least 0."""
    hidden: int | None = None
    """Width of the coupling blocks in units. Default: twice the dimension of the vectors."""
    reference_quirks: bool = False
    """Fit and sample exactly as the published code does."""


@dataclass(frozen=True, kw_only=True)
class Named(Source):
    """What a set of vectors is called: several sets can be made from the same stages before."""

    name: str = "outliers"
    """Name of the set of vectors, and of the pool made of them, below --out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_path_part("A set of vectors", self.name)


@dataclass(frozen=True, kw_only=True)
class Sample(Named):
    """Stage sample: draw vectors off the manifolds."""

    per_class: Count = 200
    """Vectors to draw for each class, at least 1."""
    mode: Literal["radius", "invariant", "lowest"] = ManifoldSynthesizer.mode
    """Where vectors lie: at a distance from the manifold, at a distance in its invariants alone, or the least likely
    of many, as published."""
    min_radius: float = ManifoldSynthesizer.span[0]
    """Shortest distance, above 0; 1 is the distance within which 95 % of held-out vectors lie."""
    max_radius: float = ManifoldSynthesizer.span[1]
    """Longest distance, at least the shortest; 1 is the distance within which 95 % of held-out vectors lie."""
    competing_classes: int = ManifoldSynthesizer.competing_classes
    """Number of nearest other classes that a vector must not be typical of; 0 accepts every vector."""
    reference_quirks: bool = False
    """Fit and sample exactly as the published code does."""


@dataclass(frozen=True, kw_only=True)
class Aligned(Source):
    """What every stage of Dream-OOD takes in the place of images to embed."""

    run: Path = field()
    """A run of the method dream, trained with this diffusion model. Its features are aligned with the token vectors;
    its classifier judges the outliers."""
    data: str | None = None
    """Labelled training images whose features are used, as a spec. Default: the training images of --run."""
    limit: Count | None = None
    """Largest number of training images to use, at least 1. Default: all of them."""


@dataclass(frozen=True, kw_only=True)
class SampleAtBoundary(Aligned, Named, Reader):
    """Stage sample of Dream-OOD: draw vectors at the boundary of each class."""

    per_class: Count = 200
    """Vectors to draw for each class, at least 1."""
    k: int | None = None
    """Rank of a neighbour; 1 is the nearest. The distance to this neighbour decides which features are at the boundary,
    and which candidates are kept. Default: 30 % of the images of the smallest class, at most 300."""
    boundary: int = 50
    """Size of the boundary set of each class, at least 1."""
    picks: int = 50
    """Boundary features of each class to make vectors of at a time, at least 1 and at most --boundary."""
    candidates: int = 1500
    """Candidates drawn for each boundary feature, at least --keep."""
    keep: int = 2
    """Candidates to keep for each boundary feature, at least 1: the farthest."""
    sigma: float = 0.07
    """Standard deviation of the noise in every dimension, on the unit sphere, at least 0; published as
    0.03 for ImageNet-100."""


@dataclass(frozen=True, kw_only=True)
class Decode(Named, Reader):
    """Stage decode: make images of the vectors."""

    count: Count = 2000
    """Images to keep, at least 1."""
    network_evaluations: int = 20
    """Network evaluations per image, at least 1: one for each step, or two where guidance is not 1."""
    guidance: float = 2.0
    """Classifier-free guidance scale, at least 0; 1 disables it."""
    sampler: Literal["dpm", "plms"] = "dpm"
    """How steps are taken: DPM-Solver++ (dpm), or PLMS, as published, which evaluates the network once more (plms)."""
    size: int | None = None
    """Side of the images in pixels. Default: that of the run's network, or of the training images."""
    resize: Literal["both", "bilinear", "nearest"] = "both"
    """How images are resized where the model makes another size: smoothed (bilinear), not smoothed (nearest), or one
    of each kind."""
    max_confidence: float = 0.95
    """Drop images for which the run is more confident than this in any class; 1 keeps all."""
    min_confidence: float = 0.0
    """Drop images for which the run is less confident than this in every class; 0 keeps all."""
    generation_batch_size: Count = 256
    """Images made at the same time, at least 1."""


@dataclass(frozen=True, kw_only=True)
class DreamDecode(Aligned, Decode):
    """Stage decode of Dream-OOD: make images of the vectors."""


@dataclass(frozen=True, kw_only=True)
class NCIS(Embed, Fit, Sample, Decode):
    """All stages of NCIS: embed, fit, sample, decode. Stages that are done are not done again."""


@dataclass(frozen=True, kw_only=True)
class Dream(SampleAtBoundary, DreamDecode):
    """All stages of Dream-OOD: sample, decode. Stages that are done are not done again."""


_STABLE = {"network_evaluations": 40, "guidance": 7.5, "embedding_batch_size": 8, "generation_batch_size": 16}

#: Settings by name. With Stable Diffusion 1.4, `docs/imagined.md` says what each stage costs.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar100": {**_STABLE, "size": 32, "count": 20_000, "per_class": 200},
    "imagenet100": {**_STABLE, "size": 224, "count": 100_000, "per_class": 1000},
    "mnist5k": {"count": 2000},
    "cifar10-small": {"count": 5000, "per_class": 500},
    "published": {
        "draws": 32,
        "independent": True,
        "reference_quirks": True,
        "mode": "lowest",
        "per_class": 100,
        "max_confidence": 1.0,
        "network_evaluations": 100,
        "guidance": 7.5,
        "sampler": "plms",
    },
}

S = TypeVar("S", bound=Source)


def required(kind: type[Source]) -> list[str]:
    """The names of the options that have no default."""
    return [option.name for option in fields(kind) if option.default is MISSING]


def filled(kind: type[S], given: Mapping[str, Any], preset: str | None = None) -> S:
    """The options of a stage, or of all, from what is given over a preset.

    Raises:
        OutskirtsError: If there is no such option or preset, and the nearest known one is named; or if a required
            option is not given.
    """
    known = {option.name for option in fields(kind)}
    options = {**preset_options(kind, preset), **renamed(given, SYNTHESIS, "option", known)}
    for name in options:
        if name not in known:
            raise unknown("option", name, known, f"of {kind.__name__}")
    for name in required(kind):
        if options.get(name) is None:
            raise OutskirtsError(f"The option {name} is required by {kind.__name__}.")
    paths = {name: Path(options[name]) for name in ("out", "model", "run") if options.get(name) is not None}
    return kind(**{**options, **paths})


def preset_options(kind: type[Source], preset: str | None) -> dict[str, Any]:
    """The settings of a preset that a stage, or all of them, has; none without a name.

    Raises:
        OutskirtsError: If there is no such preset; the nearest known one is named.
    """
    if preset is None:
        return {}
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    known = {field.name for field in fields(kind)}
    return {name: value for name, value in PRESETS[preset].items() if name in known}
