"""``outskirts synthesize ncis`` and ``dream``: outliers imagined by a diffusion model, in stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Literal

from ..errors import MissingExtra, unknown
from ..generation.manifold.model import ManifoldOptions
from ..generation.manifold.sampling import ManifoldSynthesizer
from .console import options, value

__all__ = ["PRESETS", "main"]


@dataclass(frozen=True)
class Source:
    """Of what, by what and where to."""

    out: str = ""
    """The folder of all stages: new, empty, or begun with the same options, then it goes on."""
    model: str = ""
    """The folder of a diffusion model: POOL/generator of one trained here, or a Stable Diffusion of diffusers."""
    run: str = ""
    """A trained run, whose classifier judges the outliers; its training images are those to embed."""
    data: str = ""
    """Labelled training images to embed, unless those of --run."""
    limit: int = 0
    """Embed at most so many of them; all unless given."""
    words: str = ""
    """What the classes are called in texts, comma-separated in their order; their names unless given."""
    template: str = "an image of a {}"
    """The text of an image, with {} for its token vector."""
    preset: str = ""
    """Named settings, which other options override."""
    seed: int = 0
    """Of everything random."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the diffusion model: bf16 where it is faster on this processor."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


@dataclass(frozen=True)
class Embed:
    """Stage embed: a token vector for each image."""

    steps: int = 3
    """Of the optimisation of a vector."""
    inversion_lr: float = 1e-2
    """Its learning rate."""
    noises: int = 8
    """Times and noises per step and image."""
    independent: bool = False
    """Draw them independently, as published, instead of in pairs over all times."""
    together: int = 64
    """Images to embed at once."""
    shard: str = "0/1"
    """Make the blocks k, k + n, … of this stage, as k/n: for several processes or machines with one folder."""


@dataclass(frozen=True)
class Fit:
    """Stage fit: the manifolds of the classes."""

    fit_epochs: int = ManifoldOptions.epochs
    """At most; it stops when held-out embeddings say so."""
    blocks: int = ManifoldOptions.blocks
    """Couplings of the volume-preserving network."""
    hidden: int = ManifoldOptions.hidden
    """Their width; twice the vectors' dimensions unless given."""
    reference_quirks: bool = False
    """Fit and sample as the published code does."""


@dataclass(frozen=True)
class Sample:
    """Stage sample: vectors off the manifolds."""

    name: str = "outliers"
    """What the vectors and the pool are called below --out: several may be made of one fit."""
    each: int = 200
    """Vectors of each class."""
    mode: Literal["radius", "invariant", "lowest"] = ManifoldSynthesizer.mode
    """At a distance; at a distance in the invariants alone; or the least likely of many, as published."""
    nearest: float = ManifoldSynthesizer.span[0]
    """The shortest distance, in units of that of 95 % of the embeddings held out."""
    farthest: float = ManifoldSynthesizer.span[1]
    """The longest."""
    rivals: int = ManifoldSynthesizer.rivals
    """Other classes, of those nearest, that an outlier must not be typical of; 0 keeps all."""


@dataclass(frozen=True)
class Around:
    """Stage sample of dream: vectors at the boundary of each class."""

    name: str = Sample.name
    """What the vectors and the pool are called below --out: several may be made of one run."""
    each: int = 200
    """Vectors of each class."""
    k: int = 0
    """Which neighbour's distance counts; 0 takes 3 of 10 images of the smallest class, at most 300."""
    boundary: int = 50
    """Size of each class's boundary set."""
    picks: int = 50
    """Of these, how many to make vectors of at a time."""
    candidates: int = 1500
    """Around each."""
    keep: int = 2
    """Candidates to keep of each, the farthest."""
    sigma: float = 0.07
    """Standard deviation of the noise in every dimension, on the unit sphere; published as 0.03 for ImageNet-100."""


@dataclass(frozen=True)
class Decode:
    """Stage decode: images of these vectors."""

    count: int = 2000
    """Images to keep."""
    evaluations: int = 20
    """Of the network, per image: one a step, or two where there is guidance."""
    guidance: float = 2.0
    """How much more of the vector than it would have by itself."""
    size: int = 0
    """Side of the images in pixels; that of the run's network, or of the training images, unless given."""
    resize: Literal["both", "bilinear", "nearest"] = "both"
    """How images of another size become those: smoothed, not smoothed, or two of each."""
    surest: float = 0.95
    """Drop images of which the run is surer than this, whatever it takes them for; 1 keeps all."""
    least: float = 0.0
    """Drop images of which it is less sure than this."""
    batch: int = 256
    """Images to make at once."""


#: The options of either, and its stages with what each calls.
_PARTS: dict[str, dict[str, type[Any]]] = {
    "ncis": {"source": Source, "embed": Embed, "fit": Fit, "sample": Sample, "decode": Decode},
    "dream": {"source": Source, "sample": Around, "decode": Decode},
}
_STAGES = {
    "ncis": {"embed": "embed", "fit": "fit", "sample": "sample", "decode": "decode"},
    "dream": {"sample": "around", "decode": "decode"},
}
_STABLE = {"evaluations": 40, "guidance": 7.5, "together": 8, "batch": 16}

#: Settings by name. With Stable Diffusion 1.4, `docs/imagined.md` says what each stage costs.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar100": {**_STABLE, "size": 32, "count": 20_000, "each": 200},
    "imagenet100": {**_STABLE, "size": 224, "count": 100_000, "each": 1000},
    "mnist5k": {"count": 2000},
    "cifar10-small": {"count": 5000, "each": 500},
    "published": {
        "noises": 32,
        "independent": True,
        "reference_quirks": True,
        "mode": "lowest",
        "each": 100,
        "surest": 1.0,
        "evaluations": 100,
        "guidance": 7.5,
    },
}

_USAGE = {
    "ncis": """usage: outskirts synthesize ncis [STAGE] --model DIR --run RUN --out DIR [OPTIONS]

Outliers near the classes, imagined by a diffusion model (NCIS), for outskirts train ncis.

stages, all of them unless one is named:
  embed   a token vector for each training image
  fit     the manifolds on which the vectors of each class lie
  sample  vectors off these manifolds
  decode  images of these vectors

Options: outskirts synthesize ncis all --help""",
    "dream": """usage: outskirts synthesize dream [STAGE] --model DIR --run RUN --out DIR [OPTIONS]

Outliers near the classes, imagined by a diffusion model (Dream-OOD), for outskirts train ncis. The run is one of
outskirts train dream.

stages, all of them unless one is named:
  sample  vectors at the boundary of the features of each class
  decode  images of these vectors

Options: outskirts synthesize dream all --help""",
}


def main(name: str, arguments: Sequence[str]) -> None:
    """Run a stage, or all that are not done."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE[name])
        return
    stage, flags = (arguments[0], arguments[1:]) if not arguments[0].startswith("-") else ("all", arguments)
    if stage not in (*_STAGES[name], "all"):
        raise unknown("stage", stage, (*_STAGES[name], "all"))
    try:
        from ..generation import pipelines as stages
    except ImportError as error:
        raise MissingExtra(f"synthesize {name}", "generate") from error
    preset = value(flags, "--preset")
    if preset and preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    chosen = PRESETS.get(preset, {})
    shape = make_dataclass(
        "Imagine",
        [
            (key, kind, field(default=kind(**{f.name: chosen[f.name] for f in fields(kind) if f.name in chosen})))
            for key, kind in _PARTS[name].items()
        ],
        frozen=True,
    )
    shape.__doc__ = "Make outliers near the training classes with a diffusion model."
    work = stages.Work(name, options(shape, f"synthesize {name} {stage}", flags))
    for called, function in _STAGES[name].items():
        if stage in (called, "all"):
            getattr(stages, function)(work)
