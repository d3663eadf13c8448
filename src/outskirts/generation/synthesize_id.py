"""New images of the training classes, screened by a trained run, as a pool on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..arguments import check_arguments
from ..bounds import Count
from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..data.sources.pool import SAMPLES, PoolWriter
from ..data.transform import Transform
from ..errors import OutskirtsError, unknown
from ..figures.contact_sheet import contact_sheet, save_png
from ..locking import only_writer
from ..paths import output_path
from ..renamed import OPTIONS, SYNTHESIS, renamed, unset_as_before
from ..telling import Progress, Say, nobody, silence
from ..texts import counted
from ..training.loading import load
from ..training.loop import TrainingProgress
from ..training.run import Run
from ..training.validation import training_sets
from .generators import ImageGenerator, registry
from .next_command import next_command
from .populate import populate
from .screening import Judge, Rules

__all__ = ["synthesize_id"]


@check_arguments
def synthesize_id(
    out: Path | str,
    generator: str | ImageGenerator[Any] = "mixup",
    *,
    data: ImageSet | str | Path | None = None,
    run: Run | Path | str | None = None,
    rules: Rules | None = None,
    count: Count | None = None,
    size: Count | None = None,
    generation_batch_size: Count = 256,
    seed: int = 0,
    say: Say = silence,
    progress: Progress = nobody,
    learning: TrainingProgress = lambda step, steps, latest: None,
    **options: Any,
) -> Path:
    """Make new images of the training classes, for training with them as well (``synthetic="pool:DIR"``).

    Writes a pool, ``samples.png`` and, last, its manifest.

    Arguments:
        out: The pool's folder: new, empty, or begun with the same options, and then it goes on.
        generator: The name of what makes the images, or an instance.
        data: Labelled training images to learn from; those of `run`, without its validation images, unless given.
        run: A run trained on real images, which judges those that are made.
        rules: Which images to keep; all of them unless given.
        count: Images to keep; as many as there are training images unless given.
        size: Side of the images in pixels; that of the run's network, or of the training images, unless given.
        generation_batch_size: Images made at the same time.
        seed: Seed of the generator and of the images.
        say: Told in sentences what was made.
        progress: Told how many images are made.
        learning: Told of each step of the generator's training.
        options: Options of the generator, where it is given by its name.

    Returns:
        The folder of the pool.

    Raises:
        OutskirtsError: If there is nothing to learn from, rules are given without a run, or an option is wrong.
    """
    rules = rules or Rules()
    options = renamed(options, SYNTHESIS, "option", ["generation_batch_size"])
    generation_batch_size = options.pop("generation_batch_size", generation_batch_size)
    maker = _generator(generator, options)
    _require_possible(data is not None, run is not None, rules)
    judging = None if run is None else Run.open(run)
    classifier = load(judging.path) if judging is not None else None
    train = _training_images(data, judging, None if classifier is None else classifier.classes)
    transform = _transform(train, size, classifier.transform if classifier is not None else None)
    about = {
        "generator": maker.about(),
        "rules": unset_as_before(asdict(rules)),
        "judge": None if classifier is None else classifier.fingerprint(),
        **{"seed": seed, "batch": generation_batch_size, "data": train.spec, "fingerprint": train.fingerprint},
    }
    shape, folder = (transform.channels, transform.size, transform.size), output_path(out).absolute()
    with only_writer(folder):
        pool = PoolWriter(
            folder, len(train) if count is None else count, shape, train.classes, maker.seen(train), about
        )
        with pool.beginning():
            judge = None if judging is None or classifier is None else Judge(classifier, train, judging.outputs)
            maker.fit(train, transform, folder / "generator", learning)
        populate(
            pool,
            maker,
            seed=seed,
            batch=generation_batch_size,
            keep=lambda made: _passing(judge, made, rules),
            progress=lambda done: progress("making", done, len(pool.labels)),
        )
        made = ImageSet(pool.images, pool.written, train.classes)
        save_png(folder / SAMPLES, _sheet(made, transform))
        pool.finish(learned=maker.learned(), quality=None if judge is None else judge.quality(made))
    say(f"{counted(len(made), 'image')} in {folder}; look at {folder / SAMPLES}")
    say(next_command("ce", "synthetic", folder, train, judging if data is None else None))
    return folder


def _require_possible(data: bool, run: bool, rules: Rules) -> None:
    if not (data or run):
        raise OutskirtsError("Pass training images, or a run that has some (--data SPEC or --run RUN).")
    if rules.any and not run:
        raise OutskirtsError("Only a trained classifier can judge images; pass a run (--run RUN).")


def _generator(generator: str | ImageGenerator[Any], options: dict[str, Any]) -> ImageGenerator[Any]:
    if isinstance(generator, ImageGenerator):
        if options:
            raise OutskirtsError("Pass options with the name of a generator; an instance has options of its own.")
        return generator
    part = registry[generator]
    known = part.Config.__dataclass_fields__
    named = renamed(options, OPTIONS, "option", known)
    for name in named:
        if name not in known:
            raise unknown("option", name, known, f"of the generator '{generator}'")
    return part(part.Config(**named))


def _training_images(data: ImageSet | str | Path | None, run: Run | None, classes: Sequence[str] | None) -> ImageSet:
    if data is None:
        assert run is not None
        data = training_sets(run)[0]
    images = open_images(data)
    images = images if classes is None else images.align(classes)
    images.require_trainable()
    return images


def _passing(judge: Judge | None, images: ImageSet, rules: Rules) -> Tensor:
    passed = torch.ones(len(images), dtype=torch.bool)
    for each in judge.keep(images, rules).values() if judge is not None else ():
        passed &= each
    return passed


def _transform(images: ImageSet, size: int | None, network: Transform | None) -> Transform:
    """How training images become those that the generator learns from."""
    first = images.image(0)
    channels = network.channels if network is not None else len(first)
    if size is None:
        size = network.size if network is not None else min(first.shape[1:])
    return Transform(size, channels)


def _sheet(images: ImageSet, transform: Transform, rows: int = 10) -> Image.Image:
    """Ten of each of the first ten classes that there are images of, a class a column."""
    of_class = [(images.labels == c).nonzero().flatten()[:rows] for c in images.labels.unique()[:10]]
    shown = torch.stack([places[: min(map(len, of_class))] for places in of_class], 1).flatten()
    return contact_sheet([images.subset(shown).resident(transform)[0]], columns=len(of_class))
