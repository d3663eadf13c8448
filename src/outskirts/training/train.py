"""From images to a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import seeding
from ..arguments import check_arguments
from ..data.decode import CorruptImage
from ..data.imageset import ImageSet
from ..data.leakage import describe, require_content, require_separate, require_unseen, save_seen, seen
from ..data.likeness import Likeness, thumbnails
from ..data.notes import lost, none_sound, notes_of, require_sound
from ..data.reading import Reading
from ..data.selection import evenly_spaced
from ..data.sources import open as open_images
from ..data.sources import open_split
from ..data.threads import with_remedy
from ..data.transform import Transform
from ..errors import OutskirtsError
from ..figures.contact_sheet import picture_of
from ..locking import only_writer
from ..methods import registry
from ..paths import output_path
from ..telling import Say, silence
from ..texts import verb
from .accuracy import accuracy
from .agreement import require_agreement
from .batches import batches_for
from .beginning import begin, own_network, resolved
from .concerns import concern
from .config import Recipe, TrainConfig
from .earlier import Seen, seen_by
from .engine import accelerator, end_trackers, start_trackers
from .few_steps import remark
from .freeze import freeze
from .loading import load_to_train
from .loop import Trainer, TrainingProgress
from .merging import merged_recipe
from .reading import training_reading
from .run import Run
from .signals import stop_requests
from .validation import few, reopened, require_apart, validation_beside, with_validation

__all__ = ["default_folder", "execute", "resume", "train"]


@check_arguments
def train(
    method: str | None = None,
    data: ImageSet | str | Path | None = None,
    val: ImageSet | str | Path | None = None,
    *,
    out: Path | str | None = None,
    preset: str | None = None,
    config: Path | str | None = None,
    model: nn.Module | None = None,
    head: str | None = None,
    progress: TrainingProgress | None = None,
    say: Say = silence,
    **options: Any,
) -> Run:
    """Train a classifier and return its run folder.

    Arguments:
        method: Name of a method, such as ``"ascood"``; that of `config` unless given.
        data: Training images, or their spec; those of `config` unless given.
        val: Validation images, or their spec; those of `config` unless given. Without either, those that lie beside
            the training images, in another sub-folder; else a part of the training images is set aside.
        out: The run folder; by default one below ``runs/`` named after method, data and seed.
        preset: Named settings of the method, over which `options` go.
        config: A YAML file of options, or a run folder to train again; `preset` and `options` go over it.
        model: A network of your own, instead of a backbone by name; it is changed in place.
        head: Dotted name of `model`'s last linear layer, where it cannot be found.
        progress: Called after each step with the steps done, of how many, and the latest record; `outskirts.progress`
            makes a bar of it.
        say: Told in sentences what files were passed over, where validation images were found, and if the training has
            so few steps that it will hardly learn.
        options: Fields of `TrainConfig` and of the method's configuration.

    Raises:
        OutskirtsError: If anything asked for is not possible; nothing has been written then.
    """
    if model is not None:
        options.setdefault("backbone", own_network(model))
    recipe = merged_recipe(method, options, preset, config)
    data, val = recipe.training.data if data is None else data, recipe.training.val if val is None else val
    if data is None:
        raise OutskirtsError("Pass training images, or a configuration that names some (--data SPEC or --config FILE).")
    folder = None if out is None else output_path(out)
    images = open_images(data)
    val_images = validation_beside(images, say) if val is None else open_split(val, "val")
    for note in notes_of({"Training images": images, "Validation images": val_images}):
        say(note)
    # Images made in Python have no spec.
    spec, val_spec = images.spec or None, (val_images.spec or None) if val_images is not None else None
    recipe = recipe._replace(training=replace(recipe.training, data=spec, val=val_spec))
    run = Run(folder or default_folder(recipe))
    run.require_new()
    return execute(run, recipe, images, val_images, model, head, progress, say)


@check_arguments
def resume(
    path: Path | str,
    model: nn.Module | None = None,
    head: str | None = None,
    progress: TrainingProgress | None = None,
    *,
    say: Say = silence,
) -> Run:
    """Go on with an unfinished run; the result is bit-equal to that of an uninterrupted one.

    Arguments:
        path: The run folder.
        model: The network, if the run was begun on one of your own; it is changed in place.
        head: Dotted name of `model`'s last linear layer, where it cannot be found.
        progress: Called after each step with the steps done, of how many, and the latest record; `outskirts.progress`
            makes a bar of it.
        say: Told in a sentence where the training goes on.

    Raises:
        OutskirtsError: If the folder is no run, the run is finished, or its images are not those that it began with.
    """
    run = Run.open(path)
    _require_unfinished(run)
    recipe = run.recipe()
    images, val_images = reopened(recipe.training)
    return execute(run, recipe, images, val_images, model, head, progress, say)


def default_folder(recipe: Recipe) -> Path:
    """``runs/METHOD-DATA-sSEED``."""
    stem = Path((recipe.training.data or "").partition("?")[0].rpartition(":")[2]).stem
    return Path("runs") / f"{recipe.method}-{stem}-s{recipe.training.seed}"


def execute(
    run: Run,
    recipe: Recipe,
    images: ImageSet,
    val_images: ImageSet | None,
    model: nn.Module | None,
    head: str | None,
    progress: TrainingProgress | None,
    say: Say = silence,
) -> Run:
    """Train into `run` what `recipe` says, on images that are already open."""
    recipe.settings.require_complete()
    images.require_trainable()
    recorded = run.known_sets()
    fraction = recipe.training.val_fraction if val_images is None else None
    images, val_images = with_validation(images, val_images, recipe.training, recorded)
    if begun := recorded is not None:
        run.require_same_sets(images, val_images)
    require_apart(images, val_images)
    pool = _pool(recipe.training, images, val_images)
    named = {"training": images, "validation": val_images, "synthetic": pool}
    outliers = _outliers(recipe.training, named, say)
    # A new head needs no agreement on the classes.
    wanted = () if recipe.training.new_head else images.classes
    init = recipe.training.init
    earlier = load_to_train(init, model, head, wanted, say) if init else None
    reading = training_reading(images, recipe.training, earlier, begun, say)
    sample = _sample(images, reading, recipe.training.skip_corrupt)
    recipe = recipe._replace(training=resolved(recipe.training, sample, model, earlier, reading))
    config = recipe.training
    part = registry[recipe.method]
    with seeding.isolated(config.seed, "initialisation"):
        classifier = begin(recipe, sample, images.classes, model, head, earlier, reading, say)
        freeze(classifier, config.train_layers)
        method = part(recipe.settings, classifier)
        method.setup()
    require_agreement(method, recipe.method, config, outliers)
    engine = accelerator(config, run.path, method.has_unused_parameters)
    # Before any process writes what would make another find the folder taken.
    engine.wait_for_everyone()
    with only_writer(run.path) if engine.is_main_process else nullcontext():
        if engine.is_main_process:
            # Whoever held the folder before may have written to it.
            _require_unfinished(run) if begun else run.require_new()
        batches = batches_for(config, engine, images, classifier.transform, pool, outliers, method.views)
        val_pixels, val_labels = val_images.resident(classifier.transform, skip_corrupt=config.skip_corrupt)
        require_sound(val_images)
        if val_images.pictures:
            val_images.likeness = Likeness.of(val_images.pixel_keys, thumbnails(val_pixels))
        counts = torch.bincount(images.labels, minlength=len(images.classes))
        warn = partial(concern, classes=images.classes, counts=counts, balanced=config.balanced is not None)
        validate = partial(accuracy, method.classifier, val_pixels, val_labels, engine, warn=warn)
        start_trackers(engine, recipe.method, config, run.path)
        try:
            if engine.is_main_process and not begun:
                before = _seen_before(config, val_images, say)
                notes = list(lost({"training images": images, "validation images": val_images}, classifier.transform))
                notes += filter(None, [few(val_images, fraction)])
                for note in notes:
                    say(note)
                run.begin(recipe, images, val_images, notes)
                _keep_known(run, config, pool, outliers, before, classifier.transform)
            trainer = Trainer(method, batches, config, run, engine, validate)
            if engine.is_main_process and (beginning := _beginning(trainer, len(images))):
                say(beginning)
            # Asked to stop when all steps are done, it stops when what they gave is on disk.
            with stop_requests():
                trainer.train(progress or (lambda step, steps, latest: None), run.continuation)
                if engine.is_main_process:
                    run.save_classifier(method.classifier.cpu(), recipe)
                # No process returns a run that is not there yet.
                engine.wait_for_everyone()
        finally:
            end_trackers(engine)
    return run


def _seen_before(config: TrainConfig, val_images: ImageSet, say: Say) -> Seen:
    """What the run that the training begins from has seen; it is said if validation images are among it."""
    before = seen_by(config.init, say)
    if shared := before.learnt.shared(val_images):
        say(
            f"{shared:,} of the {len(val_images):,} validation images {verb(shared, 'are')} also images that "
            f"{config.init} was trained on, so the validation accuracy can be too high."
        )
    return before


def _keep_known(
    run: Run,
    config: TrainConfig,
    pool: ImageSet | None,
    outliers: ImageSet | None,
    before: Seen,
    transform: Transform,
) -> None:
    """Keep in the run what is known of the images that it trains with besides its own."""
    if config.synthetic:
        describe(config.synthetic, run.gallery)
    save_seen(run.gallery, pool, outliers, *before)
    if outliers is not None:
        picture_of(outliers, transform, run.gallery)


def _require_unfinished(run: Run) -> None:
    if run.model.is_file():
        raise OutskirtsError(f"The run {run.path} is finished; there is nothing to resume.")


def _beginning(trainer: Trainer, images: int) -> str | None:
    """What should be said before the first step, if anything."""
    if trainer.done:
        return f"The training goes on after step {trainer.done} of {trainer.steps}."
    return remark(trainer.config, trainer.steps, images)


def _pool(config: TrainConfig, images: ImageSet, val_images: ImageSet) -> ImageSet | None:
    """The synthetic images, with the labels of the real ones."""
    if not config.synthetic:
        return None
    require_content(config.synthetic, outliers=False)
    require_unseen(seen(config.synthetic), val_images, "validation")
    pool = open_images(config.synthetic).align(images.classes)
    require_separate(pool, "synthetic", {"validation": val_images})
    unlabeled = int((pool.labels < 0).sum())
    if unlabeled:
        raise OutskirtsError(
            f"{unlabeled} of the {len(pool)} synthetic images of {config.synthetic} {verb(unlabeled, 'have')} no label."
        )
    real, made = images.image(0).shape[1:], pool.image(0).shape[1:]
    if real != made and min(made) < min(real):
        raise OutskirtsError(
            f"Synthetic images have {made[1]}x{made[0]} pixels, and real ones {real[1]}x{real[0]}. A network "
            f"could tell them apart by their blur alone; make synthetic images of {real[1]}x{real[0]} pixels."
        )
    return pool


def _outliers(config: TrainConfig, sets: Mapping[str, ImageSet | None], say: Say) -> ImageSet | None:
    """Images of outliers from disk, none of them in other sets; what their labels are does not matter."""
    if not config.outlier_images:
        return None
    require_content(config.outlier_images, outliers=True)
    if (val_images := sets["validation"]) is not None:
        require_unseen(seen(config.outlier_images), val_images, "validation")
    outliers = open_images(config.outlier_images)
    if not len(outliers):
        raise OutskirtsError(f"{config.outlier_images} holds no images.")
    require_separate(outliers, "outlier", sets)
    for note in notes_of({"Outlier images": outliers}):
        say(note)
    return outliers


def _sample(images: ImageSet, reading: Reading, skip_corrupt: bool) -> list[Tensor]:
    """At most 256 images, evenly spaced."""
    sample, skipped = [], []
    for i in evenly_spaced(len(images), 256).tolist():
        try:
            sample.append(images.image(i, reading))
        except CorruptImage as error:
            if not skip_corrupt:
                raise with_remedy(error) from error
            skipped.append(images.name(i))
    if not sample:
        raise none_sound(images.spec, skipped)
    return sample
