"""Learning rate by step."""

from __future__ import annotations

import math

from ..trainable import Trainable
from .config import TrainConfig

__all__ = ["cosine_factor", "epoch_cosine", "learning_rate"]


def learning_rate(step: int, steps_per_epoch: int, config: TrainConfig, method: Trainable) -> float:
    """The learning rate of a training at a step counted from 0."""
    if config.schedule == "epoch-cosine":
        warmup = round(config.warmup * config.epochs)
        return epoch_cosine(step, steps_per_epoch, config.epochs, config.lr, warmup, method.published_warmup)
    steps = steps_per_epoch * config.epochs
    return config.lr * cosine_factor(step, steps, config.warmup, floor=1e-6 / config.lr)


def cosine_factor(step: int, steps: int, warmup: float = 0.0, floor: float = 0.0) -> float:
    """What to multiply a learning rate by at a step counted from 0: a linear rise, then half a cosine.

    Arguments:
        step: Number of the step, from 0 to `steps`.
        steps: Number of steps of the whole training.
        warmup: Share of the steps over which the factor rises to 1.
        floor: The factor at the end.

    >>> [round(cosine_factor(step, 100, floor=1e-5), 6) for step in (0, 50, 100)]
    [1.0, 0.500005, 1e-05]
    >>> cosine_factor(0, 100, warmup=0.1)  # the first step already learns
    0.1
    """
    rise = math.floor(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def epoch_cosine(
    step: int, steps_per_epoch: int, epochs: int, lr: float, warmup: int = 0, reference_quirks: bool = False
) -> float:
    """The learning rate at a step counted from 0: a linear rise, then a cosine that falls once an epoch.

    Falls from `lr` to a thousandth of it; rises from 0.001 to where the cosine goes on, but never falls to there.

    Arguments:
        step: Number of the step, counted from 0.
        steps_per_epoch: Steps of an epoch.
        epochs: Number of epochs of the whole training.
        lr: Peak of the cosine.
        warmup: Epochs over which the rate rises.
        reference_quirks: Count epochs from 1 in the rise, as CIDER's code does: the rate then begins below zero, so
            that the first epoch climbs the loss, and rises for an epoch too long.

    References:
        | How to Exploit Hyperspherical Embeddings for Out-of-Distribution Detection? (Ming et al., 2023)
        | https://arxiv.org/abs/2203.04450

    >>> [round(epoch_cosine(step, 98, 500, 0.5, warmup=10), 6) for step in (0, 98, 980)]
    [0.001, 0.050851, 0.499507]
    >>> round(epoch_cosine(0, 98, 500, 0.5, warmup=10, reference_quirks=True), 6)
    -0.048851
    """

    def cosine(epoch: int) -> float:
        floor = lr * 1e-3
        return floor + (lr - floor) * (1 + math.cos(math.pi * epoch / epochs)) / 2

    epoch = step // steps_per_epoch
    if warmup and epoch < warmup + reference_quirks:
        risen = (step - steps_per_epoch * reference_quirks) / (warmup * steps_per_epoch)
        top = cosine(warmup)
        start = 0.001 if reference_quirks else min(0.001, top)
        return start + risen * (top - start)
    return cosine(epoch)
