"""The contract of generators."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.imageset import ImageSet
from ..data.transform import Transform
from ..generation.generators import ImageGenerator, registry
from ..seeding import generator as seeded
from .expect import expect, random_states

__all__ = ["check_generator"]

_require = partial(expect, part="generator")
_CLASSES, _EACH, _SIDE = 3, 8, 8


def check_generator(generator: type[ImageGenerator[Any]] | str, config: Any = None) -> None:
    """Check that a generator keeps the contract of `outskirts.generation.generators.ImageGenerator`, on small images.

    Checked are that it makes images of the right kind, that each depends on its class, its number and the seed alone,
    that what it has learned is found again in its folder, and that it leaves global random states alone.

    Arguments:
        generator: A generator's class, or its registered name.
        config: The options to check it with; the default ones unless given.

    Raises:
        AssertionError: A sentence that says what is broken.
    """
    kind = registry[generator] if isinstance(generator, str) else generator
    config = kind.Config() if config is None else config
    images, transform = _images(), Transform(_SIDE, 3)
    labels, numbers = torch.tensor([0, 2, 1, 0]), torch.tensor([0, 1, 2, 3])
    with tempfile.TemporaryDirectory() as folder:

        def fitted() -> ImageGenerator[Any]:
            made = kind(config)
            returned = made.fit(images, transform, Path(folder) / "learned", lambda step, steps, latest: None)
            _require(returned is made, "fit does not return the generator")
            return made

        before = random_states()
        made = fitted()
        sampled = made.sample(labels, numbers, 0)
        _require(random_states() == before, "it draws from a global random state, not from seeds of its own")
        _require(sampled.dtype == torch.uint8, f"images are {sampled.dtype}, not uint8")
        shape = (len(labels), 3, _SIDE, _SIDE)
        _require(sampled.shape == shape, f"images have the shape {list(sampled.shape)}, not {list(shape)}")
        _require(labels.tolist() == [0, 2, 1, 0] and numbers.tolist() == [0, 1, 2, 3], "it changes its arguments")
        _require(torch.equal(made.sample(labels, numbers, 0), sampled), "the same seed makes other images")
        _require(_alike(made.sample(labels[1:3], numbers[1:3], 0), sampled[1:3]), "an image depends on those beside it")
        _require(not _alike(made.sample(labels, numbers, 1), sampled), "another seed makes the same images")
        _require(not _alike(made.sample(labels, numbers + 1, 0), sampled), "other numbers make the same images")
        _require(not _alike(made.sample((labels + 1) % 3, numbers, 0), sampled), "other classes make the same images")
        _require(
            torch.equal(fitted().sample(labels, numbers, 0), sampled),
            "after a second fit in its folder it makes other images",
        )


def _images() -> ImageSet:
    """Images with one colour for each class, and noise."""
    labels = torch.arange(_CLASSES * _EACH) % _CLASSES
    noise = torch.rand(len(labels), _SIDE, _SIDE, 3, generator=seeded(0, "check_generator"))
    pixels = (155 * torch.eye(3)[labels][:, None, None] + 100 * noise).to(torch.uint8)
    return ImageSet(pixels.numpy(), labels, [f"class {c}" for c in range(_CLASSES)], spec="check_generator")


def _alike(one: Tensor, two: Tensor) -> bool:
    """Up to the rounding of networks, which may depend on the batch."""
    return bool((one.int() - two.int()).abs().max() <= 2)
