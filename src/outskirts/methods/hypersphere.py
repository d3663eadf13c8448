r"""Losses and prototypes on the unit hypersphere, which CIDER and NPOS share.

References:
    | How to Exploit Hyperspherical Embeddings for Out-of-Distribution Detection? (Ming et al., 2023)
    | https://arxiv.org/abs/2203.04450
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from .. import grouped
from ..devices import there
from .averages import mean

__all__ = ["angles", "compactness", "dispersion", "mean_update", "ordered_update", "simplex", "supervised_contrast"]


def compactness(
    projections: Tensor, prototypes: Tensor, labels: Tensor, temperature: float, weights: Tensor | None = None
) -> Tensor:
    r"""The cross-entropy of cosines to the prototypes: :math:`-\log \mathrm{softmax}_c(z \cdot \mu_c / \tau)_y`.

    Equation 5 of the paper. The published code multiplies it by τ / 0.07, which here belongs to its weight.

    Arguments:
        projections: Unit vectors [B, d].
        prototypes: Unit vectors [C, d].
        labels: [B].
        temperature: τ.
        weights: Weights of the samples, [B]; see `mean`.
    """
    return mean(cross_entropy(projections @ prototypes.T / temperature, labels, reduction="none"), weights)


def dispersion(prototypes: Tensor, temperature: float) -> Tensor:
    r"""The mean over i of :math:`\log \frac{1}{C-1} \sum_{j \ne i} e^{\mu_i \mu_j / \tau}`.

    Equation 6. From :math:`-1 / (\tau (C - 1))`, a simplex, to :math:`1 / \tau`, all equal; 0 for one class.

    Arguments:
        prototypes: Unit vectors [C, d].
        temperature: τ.
    """
    classes = len(prototypes)
    if classes < 2:
        return prototypes.sum() * 0
    itself = torch.eye(classes, dtype=torch.bool, device=prototypes.device)
    cosines = (prototypes @ prototypes.T / temperature).masked_fill(itself, -torch.inf)
    return (cosines.logsumexp(1) - math.log(classes - 1)).mean()


def ordered_update(prototypes: Tensor, projections: Tensor, labels: Tensor, momentum: float) -> Tensor:
    r"""Move each prototype by the samples of its class, one after the other: equation 7.

    .. math:: \mu_y \leftarrow \mathrm{normalise}(\alpha \mu_y + (1 - \alpha) z)

    The gradient reaches the samples, above all the last ones of each class; without it the dispersion would train
    nothing. Samples of different classes do not interact, so the first of every class are taken at once, then all
    the second ones, and so on: exactly the loop over the batch, in as many rounds as the largest class has samples.

    Arguments:
        prototypes: Unit vectors [C, d].
        projections: Unit vectors [B, d], in the order in which they count.
        labels: [B]; where the host has them, it does not wait for the device.
        momentum: α.

    Returns:
        [C, d]; rows of absent classes are unchanged.
    """
    order, sizes, classes = _rounds(labels, len(prototypes))
    order, classes = (there(index, prototypes.device) for index in (order, classes))
    moving, finished = prototypes[classes], []
    for samples in ((1 - momentum) * projections[order]).split(sizes):
        moving, done = moving.split([len(samples), len(moving) - len(samples)])
        finished.append(done)
        moving = normalize(torch.add(samples, moving, alpha=momentum), dim=1)
    return torch.cat([moving, *reversed(finished)])[classes.argsort()]


def _rounds(labels: Tensor, classes: int) -> tuple[Tensor, list[int], Tensor]:
    """The samples in rounds that have the first, second, … of each class; their sizes; and the classes, those with
    the most samples first, in which order each round has them.
    """
    by_class = grouped.places(labels, classes)
    most_first = by_class.counts.argsort(descending=True)
    order = (by_class.rank * classes + most_first.argsort()[by_class.labels]).argsort()
    return by_class.order[order], torch.bincount(by_class.rank).tolist(), most_first


def mean_update(prototypes: Tensor, projections: Tensor, labels: Tensor, momentum: float) -> Tensor:
    r"""Move each prototype once, by the mean of its class: :math:`a \mu + (1 - a) \bar z` with :math:`a = \alpha^n`.

    The memory is that of `ordered_update` over n samples, but their order does not matter, nor on which device
    each was.

    Arguments:
        prototypes: Unit vectors [C, d].
        projections: Unit vectors [B, d].
        labels: [B].
        momentum: α, per sample.

    Returns:
        [C, d]; rows of absent classes are unchanged.
    """
    labels = there(labels, projections.device)
    counts = grouped.counts(labels, len(prototypes)).to(projections.dtype)[:, None]
    means = grouped.sums(projections, labels, len(prototypes)) / counts.clamp_min(1)
    kept = momentum**counts
    return torch.where(counts > 0, normalize(kept * prototypes + (1 - kept) * means, dim=1), prototypes)


def supervised_contrast(
    projections: Tensor, labels: Tensor, temperature: float, weights: Tensor | None = None
) -> Tensor:
    r"""The supervised contrastive loss: samples of one class attract, all others repel.

    .. math:: -\frac{1}{|P_i|} \sum_{p \in P_i} \log \frac{e^{z_i z_p / \tau}}{\sum_{a \ne i} e^{z_i z_a / \tau}}

    averaged over the samples i that have a positive, another sample of their class. The published code multiplies it
    by τ / 0.07.

    Arguments:
        projections: Unit vectors [B, d] of all views.
        labels: [B].
        temperature: τ.
        weights: Weights of the samples, [B]; see `mean`.

    References:
        | Supervised Contrastive Learning (Khosla et al., 2020), equation 2
        | https://arxiv.org/abs/2004.11362
    """
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positives = (labels[:, None] == labels) & ~itself
    similarities = (projections @ projections.T / temperature).masked_fill(itself, -torch.inf)
    log_shares = similarities - similarities.logsumexp(1, keepdim=True)
    counts = positives.sum(1)
    attraction = log_shares.masked_fill(~positives, 0).sum(1) / counts.clamp_min(1)
    weights = torch.full_like(attraction, 1 / len(attraction)) if weights is None else weights
    return -(weights * attraction).sum() / (weights * (counts > 0)).sum().clamp_min(torch.finfo(weights.dtype).tiny)


def simplex(directions: Tensor) -> Tensor:
    """Unit vectors [C, d] as far from each other as can be, made of such that differ: a regular simplex, where d is at
    least C. In fewer dimensions there may be none, and the vectors stay where they point.
    """
    classes, dim = directions.shape
    if dim >= classes:
        directions = torch.linalg.qr(directions.T).Q.T
        directions = directions - directions.mean(0)
    return normalize(directions, dim=1)


@torch.no_grad()
def angles(projections: Tensor, prototypes: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """How an embedding lies on the sphere, in degrees.

    Returns:
        ``angle_between``, the mean over pairs of prototypes, and ``angle_nearest``, the smallest; ``angle_own``, the
        mean between a sample and the prototype of its class.
    """
    between = _degrees(prototypes @ prototypes.T)
    one, other = torch.triu_indices(len(between), len(between), 1, device=between.device)
    between = between[one, other] if len(prototypes) > 1 else between * 0
    own = _degrees((projections * prototypes[labels]).sum(1))
    return {"angle_between": between.mean(), "angle_nearest": between.amin(), "angle_own": own.mean()}


def _degrees(cosines: Tensor) -> Tensor:
    return cosines.clamp(-1, 1).arccos().rad2deg()
