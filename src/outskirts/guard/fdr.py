r"""Which images of a batch are out-of-distribution, with few false ones among those declared.

A threshold rejects a share α of the in-distribution images of a batch. Among many of these and few others, most of the
rejected images are then in-distribution. Benjamini and Hochberg's procedure keeps the false discovery rate instead, the
share of in-distribution images among those declared out-of-distribution (0 where none is declared), on average over
calibrations and batches, at most at the level. It declares the images with the i smallest p-values, for the largest i
with

.. math:: p_{(i)} \le \frac{i}{m} \, \mathrm{level}

of m images. The p-values of a batch depend on each other through the calibration images that they share, in a way that
keeps this true (PRDS).

References:
    | Controlling the False Discovery Rate (Benjamini and Hochberg, 1995)
    | https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
    | Testing for Outliers with Conformal p-values (Bates, Candès, Lei, Romano and Sesia, 2023)
    | https://arxiv.org/abs/2104.08279
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from ..errors import OutskirtsError
from ..texts import counted
from .threshold import exactly, require_share

__all__ = ["discoveries", "images_to_find", "shortage"]

#: p-values and levels are rounded: 7 · (1/140) is a little above 0.05.
_ROUNDING = 1 + 1e-14


def discoveries(p_values: Tensor, level: float) -> Tensor:
    """The images of a batch that are declared out-of-distribution, [N], bool.

    Arguments:
        p_values: The p-value of each image, [N], float64.
        level: False discovery rate at most, above 0 and below 1.

    Raises:
        OutskirtsError: If the level is 0 or 1 or beyond, or p-values are not from 0 to 1.

    >>> discoveries(torch.tensor([0.01, 0.6, 0.02, 0.04]), 0.05)
    tensor([ True, False,  True, False])
    """
    require_share("The level of the false discovery rate", level)
    if p_values.ndim != 1 or not p_values.is_floating_point():
        raise OutskirtsError(
            f"p-values are floats in one list; these are {p_values.dtype} of the shape {list(p_values.shape)}."
        )
    if wrong := int((~((p_values >= 0) & (p_values <= 1))).sum()):
        raise OutskirtsError(f"p-values are numbers from 0 to 1, which {wrong:,} of {len(p_values):,} are not.")
    values, m = p_values.double(), len(p_values)
    ranked = values.sort().values
    ranks = torch.arange(1, m + 1, dtype=torch.float64, device=values.device)
    small = ranked[ranked * m <= ranks * level * _ROUNDING]
    return values <= (small[-1] if len(small) else -1)


def images_to_find(found: int, batch: int, level: float) -> int:
    """The smallest number of calibration images with which so many images of a batch can be declared.

    A p-value is at least 1 / (n + 1).

    >>> images_to_find(1, 100, 0.05), images_to_find(4, 100, 0.05)
    (1999, 499)
    """
    return max(1, ceil(batch / (found * exactly(level)) - 1))


def shortage(n: int, batch: int, level: float) -> str:
    """A sentence that says how many images must be declared together with n calibration images; empty if one can be.

    >>> bool(shortage(1998, 100, 0.05)), shortage(1999, 100, 0.05)
    (True, '')
    """
    require_share("The level of the false discovery rate", level)
    needed = images_to_find(1, batch, level)
    if n >= needed:
        return ""
    least = ceil(batch / (exactly(level) * (n + 1)))
    what = (
        f"none of {counted(batch, 'image')} can be declared out-of-distribution"
        if least > batch
        else f"{least:,} or more of {batch:,} images are declared out-of-distribution together, or none"
    )
    return (
        f"With {counted(n, 'calibration image')} and a false discovery rate of {level:g}, {what}. To declare a single "
        f"one takes {counted(needed, 'calibration image')}."
    )
