"""Training the diffusion model, by the loop that trains classifiers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import seeding
from ...data.imageset import ImageSet
from ...data.loading.batches import Batch
from ...data.sources import reopen
from ...data.transform import Transform
from ...devices import faster_precision
from ...errors import OutskirtsError
from ...files import load_json, require_alike, require_empty, save_json
from ...models.diffusion.codec import load_codec
from ...models.diffusion.model import DiffusionModel
from ...renamed import unset_as_now
from ...trainable import Trainable
from ...training.batches import batches_for
from ...training.config import TrainConfig
from ...training.engine import accelerator
from ...training.loop import Trainer, TrainingProgress
from ...training.run import Run
from ...training.signals import stop_requests

__all__ = ["Denoising", "begun", "load_trained", "require_seen", "train_model"]

#: Images that the closed-form parts are fitted to, and on which the loss is followed.
_FITTED, _FOLLOWED = 10_000, 512


class Denoising(Trainable):
    """The training of a diffusion model on images in the range from -1 to 1.

    Arguments:
        model: What to train.
        fitted: Whether its parts of a closed form are to stay as they are.
    """

    def __init__(self, model: DiffusionModel, fitted: bool = False) -> None:
        super().__init__()
        self.model, self.fitted = model, fitted

    def prepare(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        if self.fitted:
            return
        blocks, count = [], 0
        for block in images:
            blocks.append(block)
            count += len(block[0])
            if count >= _FITTED:
                break
        self.model.fit_codec(*(torch.cat(column) for column in zip(*blocks)))

    def step(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.model.loss(batch.images, batch.labels, batch.generator)}


def begun(folder: Path) -> dict[str, Any]:
    """How the training in a folder was begun: the size of its ``network``, the ``fingerprint`` of its images, and its
    `TrainConfig`; empty if none was.
    """
    return load_json(folder / "training.json") if (folder / "training.json").is_file() else {}


def require_seen(folder: Path, images: ImageSet) -> None:
    """Raise unless these are the images that the generator in a folder was trained on."""
    if (made_of := begun(folder).get("fingerprint")) is None or made_of != images.fingerprint_as(made_of):
        raise OutskirtsError(
            f"The generator in {folder} has seen other images than {images.spec}; pass the images that it was "
            "trained on, so that the pool can name them."
        )


def load_trained(folder: Path, images: ImageSet, transform: Transform) -> DiffusionModel:
    """A trained model, to use or to train further, if it makes such images.

    Raises:
        OutskirtsError: If theirs are another size, other channels or other classes.
    """
    model = DiffusionModel.load(folder)
    if (model.channels, model.side) != (transform.channels, transform.size):
        raise OutskirtsError(
            f"The generator in {folder} makes images of {model.side} pixels and {model.channels} channels, not of "
            f"{transform.size} and {transform.channels}."
        )
    if model.classes != images.classes:
        raise OutskirtsError(
            f"The generator in {folder} makes images of {', '.join(model.classes)}, not of {', '.join(images.classes)}."
        )
    return model


def _require_among(folder: Path, images: ImageSet) -> None:
    """Raise unless the generator in a folder has seen these images alone, be it not all of them."""
    about = begun(folder)
    seen = reopen(about["data"]) if about else None
    if (
        seen is None
        or seen.fingerprint_as(about["fingerprint"]) != about["fingerprint"]
        or not set(seen.keys) <= set(images.keys)
    ):
        raise OutskirtsError(
            f"The generator in {folder} may have seen images that are not among {images.spec}. The pool must "
            "name all images that its generator has seen. Continue with the images that it was begun with; "
            "more may be added."
        )


def train_model(
    size: str,
    images: ImageSet,
    transform: Transform,
    config: TrainConfig,
    folder: Path,
    progress: TrainingProgress,
    codec: str | None = None,
) -> DiffusionModel:
    """Train a model and save it, or go on with a training that was stopped, or load what it left.

    Arguments:
        size: A name in `SIZES`.
        images: Labelled training images of all classes.
        transform: Brings images to the range from -1 to 1.
        config: Options of the optimisation; ``data`` is the images' spec, ``device`` has been resolved, and ``init``
            may be the folder of a model of this size to train further.
        folder: New, empty, or one that this function was called with before.
        progress: Called after each step.
        codec: Folder of a trained autoencoder (see `load_codec`); principal components of patches unless given.

    Raises:
        OutskirtsError: If the folder was begun otherwise, or if ``init`` is of other images.
        Interrupted: On Ctrl-C or SIGTERM, after saving.
    """
    run, earlier = Run(folder), begun(folder)
    if config.precision == "auto":
        precision = earlier.get("precision") or faster_precision(torch.device(config.device))
        config = replace(config, precision=precision)  # type: ignore[arg-type]
    fingerprint = images.fingerprint_as(earlier.get("fingerprint"))
    asked = unset_as_now({"network": size, "codec": codec, "fingerprint": fingerprint, **asdict(config)})
    if earlier:
        # What it was begun without did not exist then, and is as it was.
        require_alike(f"The generator in {folder}", {**asdict(TrainConfig()), **unset_as_now(earlier)}, asked)
    else:
        require_empty(folder)
    if (folder / "generator.json").is_file():
        return DiffusionModel.load(folder)
    if config.init:
        _require_among(Path(config.init), images)
        model = load_trained(Path(config.init), images, transform).train()
        if model.size != size:
            raise OutskirtsError(f"The generator in {config.init} has the size {model.size}, not {size}.")
    else:
        with seeding.isolated(config.seed, "initialisation"):
            coded = load_codec(Path(codec)) if codec else None
            model = DiffusionModel(size, images.classes, transform.channels, transform.size, coded)
    task, engine = Denoising(model, fitted=bool(config.init)), accelerator(config, folder)
    batches = batches_for(config, engine, images, transform)
    pixels, labels = images.limit(_FOLLOWED).resident(transform)

    def followed(share: float) -> dict[str, float]:
        """The loss on the same images with the same noise."""
        draws = seeding.generator(config.seed, "followed", device=engine.device)
        with torch.no_grad(), engine.autocast():
            shown = transform.device(pixels.to(engine.device))
            return {"loss": float(model.loss(shown, labels.to(engine.device), draws))}

    # Manifests of pools repeat it, with an empty text for no codec.
    save_json(folder / "training.json", {**asked, "codec": codec or ""})
    with stop_requests():
        Trainer(task, batches, config, run, engine, followed).train(progress, again="the same command")
        model.cpu().save(folder)
    # Not the one in memory, whose layout, and thereby rounding, is another.
    return DiffusionModel.load(folder)
