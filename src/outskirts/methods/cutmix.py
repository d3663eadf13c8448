r"""CutMix: a rectangle of each image is replaced by that of another, and the target by their shares of the area.

.. math:: L = \lambda \, \mathrm{CE}(\tilde x, y_a) + (1 - \lambda) \, \mathrm{CE}(\tilde x, y_b)

with λ drawn anew for every batch from a Beta distribution, and set to the area that is left after the rectangle was
clipped at the border. Of several processes, each mixes its own images of the batch with one another.

References:
    | CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features (Yun et al., 2019)
    | https://arxiv.org/abs/1905.04899
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from ..bounds import Positive, Share
from ..data.loading.batches import Batch
from ..devices import there
from ..seeding import on_host
from .averages import classification
from .base import Config, Method, register

__all__ = ["CutMix", "CutMixConfig", "drawn_share", "rectangle"]


@dataclass(frozen=True)
class CutMixConfig(Config):
    """CutMix."""

    beta: Positive = 1.0
    """Both parameters of the Beta distribution of the share of an image that stays, above 0."""
    share: Share = 0.5
    """Share of the training steps with mixed images, from 0 to 1."""


def drawn_share(alpha: float, beta: float, generator: Generator) -> float:
    """A number of a Beta distribution; the generator is on the host."""
    # Torch draws from this distribution with its global generator alone.
    seed = int(torch.randint(2**62, (), generator=generator))
    return np.random.default_rng(seed).beta(alpha, beta)


def rectangle(height: int, width: int, kept: float, generator: Generator) -> tuple[slice, slice]:
    """Rows and columns of a rectangle about a random point, of the area 1 - kept before it is clipped at the border.

    Arguments:
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        kept: Share of the area outside.
        generator: Generator on the host.
    """
    side = (1 - kept) ** 0.5
    spans = []
    for length, draw in zip((height, width), torch.rand(2, generator=generator).tolist()):
        half, center = int(length * side) // 2, int(length * draw)
        spans.append(slice(max(0, center - half), min(length, center + half)))
    return spans[0], spans[1]


@register("cutmix")
class CutMix(Method[CutMixConfig]):
    """Cross-entropy on images mixed by rectangles."""

    Config = CutMixConfig

    def step(self, batch: Batch) -> dict[str, Tensor]:
        images, other, kept = self.mixed(batch)
        logits = self.classifier(images)
        weights = None if batch.weights is None else batch.weights[other]
        own = classification(logits, batch.labels, batch.weights)
        return {"loss": kept * own + (1 - kept) * classification(logits, batch.labels[other], weights)}

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor, float]:
        """Images [B, C, H, W], the number of the image in each rectangle [B], and the share of the area around it."""
        draws = on_host(batch.generator)
        other = there(torch.randperm(len(batch.images), generator=draws), batch.images.device)
        if torch.rand((), generator=draws) >= self.config.share:
            return batch.images, other, 1.0
        height, width = batch.images.shape[2:]
        rows, columns = rectangle(height, width, drawn_share(self.config.beta, self.config.beta, draws), draws)
        images = batch.images.clone()
        images[:, :, rows, columns] = batch.images[other][:, :, rows, columns]
        cut = (rows.stop - rows.start) * (columns.stop - columns.start)
        return images, other, 1 - cut / (height * width)
