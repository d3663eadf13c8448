"""Randomness without hidden state.

Every component draws from its own generator, derived from the run's seed, the component's name and a counter
such as the step. Nothing needs to be saved to resume: step 1,000 draws the same numbers whether or not the
process was restarted before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["Shared", "generator", "isolated", "on_host", "per_image", "restored", "seed_layers", "subseed"]


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


class Shared(torch.Generator):
    """A generator that is the same on all processes of a training; `per_image` draws from it for one's own images.

    `rank` is the number of this process among `world`.
    """

    rank, world = 0, 1


def per_image(
    draw: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator, dim: int = 0, **options: Any
) -> Tensor:
    """Random numbers for each image of a batch, the same however many processes share it out.

    Every process draws for the whole batch and keeps what is for its own images, each `world`-th one.

    Arguments:
        draw: Such as `torch.rand`, of a shape.
        shape: Shape of the numbers for this process's images.
        generator: A `Shared` one; all that is drawn from any other is one's own.
        dim: The axis of the images.
        options: Further ones of `draw`.

    >>> whole, own = Shared().manual_seed(0), Shared().manual_seed(0)
    >>> own.rank, own.world = 1, 2
    >>> every = per_image(torch.rand, [4], whole)
    >>> bool((per_image(torch.rand, [2], own) == every[1::2]).all())
    True
    """
    rank, world = (generator.rank, generator.world) if isinstance(generator, Shared) else (0, 1)
    whole = [size * world if axis == dim else size for axis, size in enumerate(shape)]
    drawn = draw(whole, generator=generator, device=generator.device, **options)
    return drawn if world == 1 else drawn.unflatten(dim, (shape[dim], world)).select(dim + 1, rank)


def on_host(generator: torch.Generator) -> torch.Generator:
    """A generator for numbers that the host must know, so that it need not wait for a device to draw them: this one, if
    it is the host's, or else one that depends on nothing but its state.

    Another call draws other numbers, whatever the device.
    """
    # Where it is itself: tests have generators of the host that say they are another device's.
    if torch.Generator.device.__get__(generator).type == "cpu":
        return generator
    state = hashlib.blake2b(bytes(generator.get_state()), digest_size=8).digest()
    torch.rand(1, generator=generator, device=generator.device)  # Moves the state on.
    return torch.Generator().manual_seed(int.from_bytes(state, "big") >> 1)


@contextmanager
def isolated(seed: int, *path: str | int) -> Iterator[None]:
    """Seed torch's global generators inside the block and put them back after it.

    Only for code that knows no other source, such as layer initialisation and dropout.
    """
    with restored():
        torch.manual_seed(subseed(seed, *path))
        yield


def seed_layers(seed: int) -> None:
    """Seed the global generators that layers draw from, of the host and of the CUDA device in use.

    `torch.manual_seed` seeds those of all kinds of devices, which takes half a millisecond where they are not there.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)


def restored() -> AbstractContextManager[None]:
    """A block after which torch's global generators, of the host and of the device in use, are as before."""
    return torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_initialized() else [])
