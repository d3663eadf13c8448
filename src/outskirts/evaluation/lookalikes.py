"""Images that look almost the same: found by small pictures of what the network sees."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..data.likeness import SIDE

__all__ = ["lookalikes"]

#: Two images look almost the same if the squared difference of their thumbnails is at most this share of their
#: contrast, the mean squared deviation from their mean grey.
DIFFERENCE = 0.02

#: Least standard deviation of a thumbnail's grey values, from 0 to 255: below it, rounding alone is a difference.
CONTRAST = 2.0

#: Pairs that are looked at together, and of which the thumbnails are compared together.
_PAIRS, _COMPARED = 2**22, 2**14

#: What rounding can take from a product of two rows of length 1.
_ROUNDING = 1e-4


def lookalikes(images: Tensor, others: Tensor | None = None) -> Tensor:
    r"""For each image the number of another that looks almost the same, or -1.

    Two thumbnails :math:`a` and :math:`b`, with mean grey :math:`\bar a` and :math:`\bar b`, look almost the same if

    .. math:: \|a - b\|^2 \le 0.02 \cdot \tfrac{1}{2} (\|a - \bar a\|^2 + \|b - \bar b\|^2).

    So what is nearly of one grey has no such images: what is left of it is noise.

    Every pair is looked at. The correlation of two thumbnails that look almost the same is at least 0.99; and it is at
    most what the means of 8 x 8 areas, and the length of what these leave out, have in common.

    Arguments:
        images: Thumbnails, uint8 [N, 16, 16].
        others: Those to look among, [M, 16, 16]; the images before each unless given.

    References:
        | 80 million tiny images: a large dataset for nonparametric object and scene recognition (Torralba et al., 2008)
        | https://doi.org/10.1109/TPAMI.2008.128
    """
    found = torch.full((len(images),), -1)
    directions = _directions(images)
    pairs = _candidates(directions, directions if others is None else _directions(others), earlier=others is None)
    others = images if others is None else others
    for rows, columns in pairs:
        for some, of_others in zip(rows.split(_COMPARED), columns.split(_COMPARED)):
            alike = _alike(images[some], others[of_others])
            found[some[alike]] = of_others[alike]
    return found


def _directions(shown: Tensor) -> Tensor:
    """Rows [N, 65] of length 1 whose products are at least the correlations of thumbnails; zeros for flat ones."""
    half = SIDE // 2
    rows = []
    for block in shown.split(_COMPARED):
        centered, length = _centered(block)
        centered /= length.clamp_min(1e-6)[:, None]
        # An orthonormal basis of the pictures that are constant on areas of 2 x 2.
        coarse = centered.view(-1, half, 2, half, 2).sum((2, 4)).flatten(1) / 2
        rest = (1 - coarse.square().sum(1)).clamp_min(0).sqrt()
        rows.append(torch.cat([coarse, rest[:, None]], 1) * (length >= CONTRAST * SIDE)[:, None])
    return torch.cat(rows)


def _candidates(rows: Tensor, columns: Tensor, earlier: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of which the correlation can be high enough; of each row with `earlier` columns alone, or with all."""
    least = 1 - DIFFERENCE / 2 - _ROUNDING
    step = max(1, _PAIRS // max(1, len(columns)))
    columns = columns.T.contiguous()
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        products = block @ (columns[:, : start + len(block)] if earlier else columns)
        if earlier:
            products[:, start:].tril_(-1)
        # Few rows have any, and to find those costs less than to list pairs.
        some = (products.amax(1) >= least).nonzero().flatten()
        row, column = (products[some] >= least).nonzero(as_tuple=True)
        yield start + some[row], column


def _alike(one: Tensor, other: Tensor) -> Tensor:
    """Whether the thumbnails of pairs, [n, 16, 16] each, look almost the same, [n]."""
    contrast = sum(_centered(shown)[1].square() for shown in (one, other)) / 2
    return (one.float() - other.float()).square().sum((1, 2)) <= DIFFERENCE * contrast


def _centered(shown: Tensor) -> tuple[Tensor, Tensor]:
    """Grey values as differences to their mean, [n, 256], and the lengths of these, [n]."""
    flat = shown.flatten(1).float()
    flat = flat - flat.mean(1, keepdim=True)
    return flat, flat.norm(dim=1)
