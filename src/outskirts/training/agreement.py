"""Whether a method can do what the options of a training ask of it."""

from __future__ import annotations

from typing import Any

from ..data.imageset import ImageSet
from ..errors import OutskirtsError
from ..methods import Method
from .config import TrainConfig

__all__ = ["require_agreement"]


def require_agreement(method: Method[Any], name: str, config: TrainConfig, outliers: ImageSet | None) -> None:
    """Raise if a training has no use for what is given, or lacks what it needs.

    Arguments:
        method: What is going to be trained.
        name: Registered name of the method.
        config: Options of the training.
        outliers: Images of outliers from disk.
    """
    if method.needs_outlier_images and outliers is None:
        raise OutskirtsError(
            f"The method '{name}' trains with images of outliers; make some with outskirts synthesize ncis, or pass "
            "any (--outlier-images SPEC)."
        )
    if outliers is not None and not method.needs_outlier_images:
        raise OutskirtsError(
            f"The method '{name}' takes no images of outliers; leave them out (--outlier-images), or train 'ncis', "
            "or 'oe' with outliers from images (--outliers images)."
        )
    if config.class_weights and not method.weighs_images:
        raise OutskirtsError(
            f"The loss of the method '{name}' does not weigh images; leave out --class-weights, or draw images of all "
            "classes equally often (--sampler balanced)."
        )
    if config.synthetic and config.real_weight is not None and not method.weighs_images:
        raise OutskirtsError(f"The loss of the method '{name}' does not weigh images; leave out --real-weight.")
