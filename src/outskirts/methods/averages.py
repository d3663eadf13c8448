"""Averages over the images of a batch, which may count differently."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

__all__ = ["classification", "mean"]


def classification(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """The mean cross-entropy, at least in float32.

    Arguments:
        logits: [N, C].
        labels: [N].
        weights: Weights of the images, [N]; see `mean`.
        label_smoothing: Probability spread evenly over all classes in the target.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return mean(cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing), weights)


def mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """The average, 0 if there is nothing to average.

    Arguments:
        values: One per image, [N].
        weights: Weight of each value, with the sum 1, such as `outskirts.data.loading.batches.Batch.weights`; None
            where all count alike.
    """
    return values.sum() / max(len(values), 1) if weights is None else (values * weights).sum()
