"""What some methods cannot be trained without, made small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..data.imageset import ImageSet
from ..data.transform import Transform
from .clip import save_small_clip

__all__ = ["needed", "small_generator"]


def needed(method: str, folder: Path, images: ImageSet, outliers: str, device: torch.device) -> Mapping[str, Any]:
    """The options without which a method cannot be trained.

    Arguments:
        method: Name of the method.
        folder: Folder for what has to be made; called again with the same images and device, it is there.
        images: Labelled; a generator learns from them.
        outliers: The spec of others.
        device: Where a generator is trained.

    Raises:
        OutskirtsError: If that takes a library which is not installed.
    """
    options: Mapping[str, Callable[[], Mapping[str, Any]]] = {
        "mixoe": lambda: {"outlier_images": outliers},
        "ncis": lambda: {"outlier_images": outliers},
        "dream": lambda: {"anchors": str(small_generator(folder / "generator", images, device)), "embedding": 64},
        "npos-clip": lambda: {"backbone": f"clip:{save_small_clip(folder / 'clip')}", "augment": "none"},
    }
    return options.get(method, dict)()


def small_generator(folder: Path, images: ImageSet, device: torch.device) -> Path:
    """Train a small diffusion model on a few images, for some steps; returns the folder, in which it then is.

    Raises:
        OutskirtsError: If diffusers is not installed.
    """
    from ..generation.generators.diffusion import Diffusion, DiffusionConfig

    config = DiffusionConfig(network="tiny", epochs=1, batch_size=32, device=device.type, precision="fp32")
    Diffusion(config).fit(images.limit(64), Transform(16), folder, lambda step, steps, latest: None)
    return folder
