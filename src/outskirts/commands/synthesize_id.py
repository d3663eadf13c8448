"""``outskirts synthesize id``: new images of the training classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..data.sources.pool import SAMPLES, PoolWriter
from ..data.transform import Transform
from ..errors import OutskirtsError
from ..figures.contact_sheet import contact_sheet, save_png
from ..generation.generators import registry
from ..generation.populate import populate
from ..generation.screening import Judge, Rules
from ..training.run import Run, load
from ..training.train import training_sets
from .console import bar, options, say, training_progress, value

__all__ = ["main"]


@dataclass(frozen=True)
class Make:
    """What to make, and of what."""

    generator: str = "mixup"
    """What makes the images."""
    data: str = ""
    """Labelled training images to learn from; by default those of --run, without its validation images."""
    run: str = ""
    """A run trained on real images, which judges those that are made."""
    out: str = ""
    """The pool's folder: new, empty, or begun with the same options, then it goes on."""
    count: int = 0
    """How many images to keep; as many as there are training images unless given."""
    size: int = 0
    """Side of the images in pixels; that of the run's network, or of the training images, unless given."""
    batch: int = 256
    """Images to make at once; another number makes others of a generator that computes with them together."""
    seed: int = 0
    """Of the generator and of the images."""


def main(arguments: Sequence[str]) -> None:
    """Write a pool, ``samples.png`` and, last, its manifest."""
    name = value(arguments, "--generator") or Make.generator
    part = registry[name]
    shape = make_dataclass(
        "Synthesize",
        [
            (key, kind, field(default=kind()))
            for key, kind in (("make", Make), ("rules", Rules), ("settings", part.Config))
        ],
        frozen=True,
    )
    shape.__doc__ = f"Make images of the training classes with '{name}', for train --synthetic pool:DIR."
    given: Any = options(shape, "synthesize id", arguments)
    make, rules = given.make, given.rules
    if not make.out or not (make.data or make.run):
        raise OutskirtsError("Pass training images and a folder: --data SPEC, or --run RUN, and --out DIR.")
    if rules.any and not make.run:
        raise OutskirtsError("Only a trained classifier can judge images; pass --run RUN.")
    if make.count < 0 or make.batch < 1:
        raise OutskirtsError("--count is not negative and --batch at least 1.")
    run = Run.open(make.run) if make.run else None
    classifier = load(run.path) if run is not None else None
    train = open_images(make.data) if make.data else training_sets(run.recipe())[0]  # type: ignore[union-attr]
    if classifier is not None:
        train = train.align(classifier.classes)
    train.require_trainable()
    transform = _transform(train, make.size, classifier.transform if classifier is not None else None)
    generator = part(given.settings)
    pool = PoolWriter(
        Path(make.out).absolute(),
        make.count or len(train),
        (transform.channels, transform.size, transform.size),
        train.classes,
        generator.seen(train),
        {
            "generator": generator.about(),
            "rules": asdict(rules),
            "judge": None if classifier is None else classifier.fingerprint(),
            "seed": make.seed,
            "batch": make.batch,
            "data": train.spec,
            "fingerprint": train.fingerprint,
        },
    )
    judge = None if run is None or classifier is None else Judge(classifier, train, run.outputs)
    with training_progress(name) as learning:
        generator.fit(train, transform, pool.folder / "generator", learning)
    with bar() as progress:
        task = progress.add_task("making", total=len(pool.labels), completed=pool.done, figures="images")
        populate(
            pool,
            generator,
            seed=make.seed,
            batch=make.batch,
            keep=lambda made: _passing(judge, made, rules),
            progress=lambda done: progress.update(task, completed=done),
        )
    made = ImageSet(pool.images, pool.written, train.classes)
    save_png(pool.folder / SAMPLES, _sheet(made, transform))
    pool.finish(learned=generator.learned(), quality=None if judge is None else judge.quality(made))
    say(f"{len(made):,} images in {pool.folder}; look at {pool.folder / SAMPLES}")
    say(f"Next: outskirts train ce --data {train.spec} --synthetic pool:{pool.folder}")


def _passing(judge: Judge | None, images: ImageSet, rules: Rules) -> Tensor:
    passed = torch.ones(len(images), dtype=torch.bool)
    for each in judge.keep(images, rules).values() if judge is not None else ():
        passed &= each
    return passed


def _transform(images: ImageSet, size: int, network: Transform | None) -> Transform:
    """How training images become those that the generator learns from."""
    first = images.image(0)
    channels = network.channels if network is not None else len(first)
    return Transform(size or (network.size if network is not None else min(first.shape[1:])), channels)


def _sheet(images: ImageSet, transform: Transform, rows: int = 10) -> Any:
    """Ten of each of the first ten classes that there are images of, a class a column."""
    of_class = [(images.labels == c).nonzero().flatten()[:rows] for c in images.labels.unique()[:10]]
    shown = torch.stack([places[: min(map(len, of_class))] for places in of_class], 1).flatten()
    return contact_sheet([images.subset(shown).resident(transform)[0]], columns=len(of_class))
