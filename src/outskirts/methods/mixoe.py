r"""MixOE: images mixed with outliers, and targets that fall from certain to uniform as the outlier's share grows.

.. math:: L = \mathrm{CE}(x, y) + w \, \big( \lambda \, \mathrm{CE}(\tilde x, y)
    + (1 - \lambda) \, \mathrm{CE}(\tilde x, U) \big)

where U is uniform, and λ the share of the training image in the mixed one: a weighted sum of both (``mixup``), or the
area around a rectangle of the outlier (``cutmix``). λ is drawn anew for every batch from a Beta distribution. Mixed
images go through the network by themselves, so batch normalisation sees them after the others.

Where the published code and OpenOOD's differ: the former has Beta(1, 1) and tunes a trained network (``--init``) for
ten epochs, the latter Beta(0.1, 1), by which most of a mixed image is the outlier, and trains from scratch. Both are
options; the preset ``openood`` is the latter.

References:
    | Mixture Outlier Exposure: Towards Out-of-Distribution Detection in Fine-grained Environments (Zhang et al., 2023)
    | https://arxiv.org/abs/2106.03917
    | https://github.com/zjysteven/MixOE
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..bounds import NonNegative, Positive
from ..data.loading.batches import Batch
from ..seeding import on_host
from .averages import classification, mean
from .base import Config, Method, register
from .cutmix import drawn_share, rectangle

__all__ = ["MixOE", "MixOEConfig"]


@dataclass(frozen=True)
class MixOEConfig(Config):
    """MixOE."""

    mix: Literal["cutmix", "mixup"] = "cutmix"
    """How images and outliers are mixed: a rectangle of the outlier in the image (cutmix), or a weighted sum of both
    (mixup)."""
    alpha: Positive = 1.0
    """First parameter of the Beta distribution of the share of the training image, above 0; the larger it is, the
    larger the share."""
    beta: Positive = 1.0
    """Second parameter of the Beta distribution of the share of the training image, above 0; the larger it is, the
    smaller the share."""
    outlier_weight: NonNegative = 1.0
    """Weight w of the loss on mixed images, at least 0; 0 disables it."""

    @property
    def needs_outlier_images(self) -> bool:
        return True


@register("mixoe")
class MixOE(Method[MixOEConfig]):
    """Cross-entropy on images, and on images mixed with outliers against targets mixed with uniform ones."""

    Config = MixOEConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"openood": {"alpha": 0.1}}

    @classmethod
    def detectors(cls, config: MixOEConfig) -> Sequence[Mapping[str, Any]]:
        return ({"name": "msp"},)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        images, share = self.mixed(batch)
        loss_id = classification(self.classifier(batch.images), batch.labels, batch.weights)
        logits = self.classifier(images)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        own = classification(logits, batch.labels, batch.weights)
        uniform = mean(-logits.log_softmax(1).mean(1), batch.weights)
        loss_mixed = share * own + (1 - share) * uniform
        return {
            "loss": loss_id + self.config.outlier_weight * loss_mixed,
            "loss_id": loss_id.detach(),
            "loss_mixed": loss_mixed.detach(),
        }

    def mixed(self, batch: Batch) -> tuple[Tensor, float]:
        """Mixed images [B, C, H, W], and the share of the training image in each."""
        assert batch.outliers is not None
        images, count = batch.images, len(batch.images)
        # Where there are fewer outliers, each goes with several images.
        outliers = batch.outliers.repeat(-(-count // len(batch.outliers)), 1, 1, 1)[:count]
        draws = on_host(batch.generator)
        share = drawn_share(self.config.alpha, self.config.beta, draws)
        if self.config.mix == "mixup":
            return share * images + (1 - share) * outliers, share
        height, width = images.shape[2:]
        rows, columns = rectangle(height, width, share, draws)
        mixed = images.clone()
        mixed[:, :, rows, columns] = outliers[:, :, rows, columns]
        return mixed, 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
