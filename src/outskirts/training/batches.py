"""The batches of a training, as its options want them."""

from __future__ import annotations

from accelerate import Accelerator

from ..data.imageset import ImageSet
from ..data.loading.augment import parse_augmentations
from ..data.loading.batches import Batches, training_batches
from ..data.transform import Transform
from .config import TrainConfig

__all__ = ["batches_for"]


def batches_for(
    config: TrainConfig,
    engine: Accelerator,
    images: ImageSet,
    transform: Transform,
    pool: ImageSet | None = None,
    outliers: ImageSet | None = None,
    views: int = 1,
) -> Batches:
    """The batches of a training on `images`, and this process's share of each; see `training_batches`."""
    return training_batches(
        images,
        transform,
        parse_augmentations(config.augment, transform.size),
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        device=engine.device,
        pool=pool,
        mixing=config.mixed(),
        balanced=config.balanced,
        outliers=outliers,
        outlier_batch=config.outlier_batch,
        views=views,
        rank=engine.process_index,
        world=engine.num_processes,
        memory_budget=config.memory_budget,
        workers=config.workers,
        skip_corrupt=config.skip_corrupt,
    )
