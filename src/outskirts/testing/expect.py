"""What the contracts are written in."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

__all__ = ["close", "expect", "random_states"]


def expect(condition: bool, failing: str, part: str) -> None:
    """Raise an `AssertionError` that says what is broken unless the condition holds."""
    if not condition:
        raise AssertionError(f"The {part} breaks its contract: {failing}.")


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal up to the rounding of float32."""
    return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-5)


def random_states() -> tuple[object, ...]:
    """The states of the global generators, which no part may use."""
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())
