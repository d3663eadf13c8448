"""Learning rate by step."""

from __future__ import annotations

import math

__all__ = ["cosine_factor"]


def cosine_factor(step: int, steps: int, warmup: float = 0.0, floor: float = 0.0) -> float:
    """What to multiply a learning rate by at a step counted from 0: a linear rise, then half a cosine.

    Arguments:
        step: From 0 to `steps`.
        steps: Of the whole training.
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
