"""Randomness without hidden state.

Every component draws from its own generator, derived from the run's seed, the component's name and a counter
such as the step. Nothing needs to be saved to resume: step 1,000 draws the same numbers whether or not the
process was restarted before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["generator", "isolated", "subseed"]


def subseed(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one component, such as ``subseed(0, "augment", step)``."""
    text = "/".join(map(str, (seed, *path)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *path: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one component.

    >>> a, b = generator(0, "augment", 7), generator(0, "augment", 7)
    >>> bool((torch.rand(3, generator=a) == torch.rand(3, generator=b)).all())
    True
    """
    return torch.Generator(device).manual_seed(subseed(seed, *path))


@contextmanager
def isolated(seed: int, *path: str | int) -> Iterator[None]:
    """Seed torch's global generators inside the block and put them back after it.

    Only for code that knows no other source, such as layer initialisation and dropout.
    """
    with torch.random.fork_rng():
        torch.manual_seed(subseed(seed, *path))
        yield
