"""From images to a run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import seeding
from ..data.augment import parse
from ..data.batches import training_batches
from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..data.transform import Transform
from ..errors import OutskirtsError
from ..methods import registry
from ..models.adapter import adapt
from ..models.backbones import build_backbone
from ..models.classifier import Backbone
from .config import Recipe, TrainConfig, recipe
from .loop import Progress, accelerator, accuracy, fit
from .precision import faster_precision, resolve_device
from .run import Run, assemble

__all__ = ["default_folder", "execute", "resume", "train", "training_sets"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def train(
    method: str,
    data: ImageSet | str | Path,
    val: ImageSet | str | Path | None = None,
    *,
    out: Path | str | None = None,
    preset: str = "",
    model: nn.Module | None = None,
    head: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Train a classifier and return its run folder.

    Arguments:
        method: Name of a method, such as ``"ascood"``.
        data: Training images, or their spec.
        val: Validation images, or their spec; by default a part of `data` is set aside.
        out: The run folder; by default one below ``runs/`` named after method, data and seed.
        preset: Named settings of the method, over which `options` go.
        model: A network of your own, instead of a backbone by name; it is changed in place.
        head: Dotted name of `model`'s last linear layer, where it cannot be found.
        progress: Called after each step.
        options: Fields of `TrainConfig` and of the method's configuration.

    Raises:
        OutskirtsError: If anything asked for is not possible; nothing has been written then.
    """
    images = data if isinstance(data, ImageSet) else open_images(data)
    val_images = open_images(val) if isinstance(val, str | Path) else val
    options |= {"data": images.spec, "val": val_images.spec if val_images is not None else ""}
    made_with = recipe(method, options, preset)
    run = Run(Path(out) if out is not None else default_folder(made_with))
    if run.path.exists() and any(run.path.iterdir()):
        raise OutskirtsError(
            f"{run.path} exists and is not empty; choose another folder, "
            f"or go on with an unfinished run: outskirts train --resume {run.path}"
        )
    return execute(run, made_with, images, val_images, model, head, progress)


def resume(path: Path | str, model: nn.Module | None = None, progress: Progress | None = None) -> Run:
    """Go on with an unfinished run; the result is bit-equal to that of an uninterrupted one."""
    run = Run.open(path)
    if run.model.is_file():
        raise OutskirtsError(f"The run {path} is finished; there is nothing to resume.")
    made_with = run.recipe()
    images, val_images = _opened(made_with)
    return execute(run, made_with, images, val_images, model, None, progress)


def training_sets(made_with: Recipe) -> tuple[ImageSet, ImageSet]:
    """The training and the validation images of a recipe, disjoint."""
    images, val_images = _opened(made_with)
    return _with_validation(images, val_images, made_with.training)


def _opened(made_with: Recipe) -> tuple[ImageSet, ImageSet | None]:
    config = made_with.training
    return open_images(config.data), open_images(config.val) if config.val else None


def default_folder(made_with: Recipe) -> Path:
    """``runs/METHOD-DATA-sSEED``."""
    stem = Path(made_with.training.data.partition("?")[0].rpartition(":")[2]).stem
    return Path("runs") / f"{made_with.method}-{stem}-s{made_with.training.seed}"


def execute(
    run: Run,
    made_with: Recipe,
    images: ImageSet,
    val_images: ImageSet | None,
    model: nn.Module | None,
    head: str | None,
    progress: Progress | None,
) -> Run:
    """Train into `run` what `made_with` says, on images that are already open."""
    images.require_trainable()
    images, val_images = _with_validation(images, val_images, made_with.training)
    made_with = made_with._replace(training=_resolved(made_with.training, images))
    config = made_with.training
    part = registry[made_with.method]
    with seeding.isolated(config.seed, "initialisation"):
        backbone, transform = _network(config, images, model, head)
        classifier = assemble(made_with, backbone, transform, images.classes)
        method = part(made_with.settings, classifier)
    engine = accelerator(config, run.path)
    batches = training_batches(
        images,
        transform,
        parse(config.augment, config.size),
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        device=engine.device,
        views=part.views,
        rank=engine.process_index,
        world=engine.num_processes,
        memory_budget=config.memory_budget,
        workers=config.workers,
        skip_corrupt=config.skip_corrupt,
    )
    val_pixels, val_labels = val_images.resident(transform, skip_corrupt=config.skip_corrupt)
    if not run.config.is_file():
        run.write_recipe(made_with)
        run.write_environment()
    fit(
        method,
        batches,
        config,
        run,
        engine,
        lambda trained: accuracy(trained, val_pixels, val_labels, engine),
        progress or (lambda step, steps, latest: None),
    )
    if engine.is_main_process:
        run.save_classifier(method.classifier.cpu(), made_with)
    return run


def _with_validation(
    images: ImageSet, val_images: ImageSet | None, config: TrainConfig
) -> tuple[ImageSet, ImageSet]:
    if val_images is not None:
        return images, val_images.align(images.classes)
    cut = f"{100 * (1 - config.val_fraction):g}"
    return images.part(f"0-{cut}%", config.seed), images.part(f"{cut}-100%", config.seed)


def _resolved(config: TrainConfig, images: ImageSet) -> TrainConfig:
    """Replace every ``auto`` by what it means here, so that the run can be repeated elsewhere."""
    device = resolve_device(config.device)
    precision = faster_precision(device) if config.precision == "auto" else config.precision
    small = config.backbone == "fast" or config.backbone.endswith("-cifar")
    size = config.size or min(min(images[0][0].shape[1:]), 64 if small else 224)
    return replace(config, device=device.type, precision=precision, size=size)  # type: ignore[arg-type]


def _network(
    config: TrainConfig, images: ImageSet, model: nn.Module | None, head: str | None
) -> tuple[Backbone, Transform]:
    sample = [images[i][0] for i in torch.linspace(0, len(images) - 1, min(256, len(images))).long().tolist()]
    flexible = model is None and (config.backbone == "fast" or config.backbone.endswith("-cifar"))
    channels = 1 if flexible and all(len(image) == 1 for image in sample) else 3
    transform = _transform(config, sample, channels)
    if model is not None:
        example = torch.zeros(2, channels, config.size, config.size)
        return adapt(model, example, head, name=f"custom:{type(model).__name__}")[0], transform
    pretrained = config.pretrained == "true" or config.pretrained
    return build_backbone(config.backbone, channels, config.size, pretrained), transform


def _transform(config: TrainConfig, sample: list[Tensor], channels: int) -> Transform:
    # Random resized crops of photographs want more pixels than the network's input to cut from.
    resize = round(config.size * 256 / 224) if "resized-crop" in config.augment and config.size > 64 else None
    if config.pretrained:
        mean, std = _IMAGENET
        return Transform(config.size, channels, mean, std, resize)
    shape = Transform(config.size, channels)
    return Transform.measured(torch.stack([shape.host(image) for image in sample]), config.size, resize=resize)
