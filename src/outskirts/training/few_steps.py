"""A remark about trainings that are too short to learn much."""

from __future__ import annotations

from dataclasses import asdict

from ..texts import counted
from .config import TrainConfig
from .fine_tuning import begins_trained

__all__ = ["remark"]

#: From random weights, fewer steps hardly lead anywhere, whatever the images.
_FEW = 300


def remark(config: TrainConfig, steps: int, images: int) -> str | None:
    """What to do about a training of few steps, in sentences; None where there are enough, or the weights are trained.

    >>> remark(TrainConfig(epochs=16), 3000, 48000), remark(TrainConfig(pretrained="true"), 16, 180)
    (None, None)
    """
    if begins_trained(asdict(config)) or not 0 < steps < _FEW:
        return None
    return (
        f"This training has only {counted(steps, 'step')}: {counted(config.epochs, 'epoch')} of "
        f"{counted(images, 'image')}, in batches of {config.batch_size}. From random weights, a network needs more. "
        "Smaller batches and more epochs help (--batch-size 16 --lr 0.05 --epochs 60), or published weights "
        "(--backbone torchvision:resnet18 --pretrained true)."
    )
