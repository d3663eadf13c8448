r"""How far two sets of features are apart as distributions.

References:
    | GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al., 2017): FID
    | https://arxiv.org/abs/1706.08500
    |
    | Demystifying MMD GANs (Bińkowski et al., 2018): KID
    | https://arxiv.org/abs/1801.01401
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import OutskirtsError

__all__ = ["frechet", "kernel_distance"]


def frechet(one: Tensor, two: Tensor) -> float:
    r"""The Fréchet distance of the Gaussians that have the sets' means and covariances.

    .. math:: |\mu_1 - \mu_2|^2 + \mathrm{tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})

    Of images it is called FID where features are those of an Inception network; those of another are another scale.
    It falls with the number of images, so that only sets of equal sizes compare.

    Arguments:
        one: Features, [N, D], N at least 2.
        two: Features, [M, D], M at least 2.
    """
    if min(len(one), len(two)) < 2:
        raise OutskirtsError(f"A covariance needs at least 2 images, but there are {len(one)} and {len(two)}.")
    one, two = one.double(), two.double()
    first, second = one - one.mean(0), two - two.mean(0)
    first, second = first / (len(one) - 1) ** 0.5, second / (len(two) - 1) ** 0.5
    # The trace of the root is the sum of the singular values of first @ second.T, which are those of a smaller matrix.
    root = torch.linalg.svdvals(torch.linalg.qr(first).R @ torch.linalg.qr(second).R.T)
    distance = (one.mean(0) - two.mean(0)).square().sum() + first.square().sum() + second.square().sum()
    return max(0.0, float(distance - 2 * root.sum()))


def kernel_distance(one: Tensor, two: Tensor) -> float:
    r"""The unbiased squared maximum mean discrepancy with the kernel :math:`(x \cdot y / D + 1)^3`.

    About 0 for two sets of one distribution, whatever their sizes; it may be negative.

    Arguments:
        one: Features, [N, D], N at least 2.
        two: Features, [M, D], M at least 2.
    """
    if min(len(one), len(two)) < 2:
        raise OutskirtsError(f"This distance needs at least 2 images, but there are {len(one)} and {len(two)}.")
    one, two = one.double(), two.double()
    return float(_within(one) + _within(two) - 2 * _kernel(one, two).mean())


def _within(rows: Tensor) -> Tensor:
    values = _kernel(rows, rows)
    return (values.sum() - values.diagonal().sum()) / (len(rows) * (len(rows) - 1))


def _kernel(one: Tensor, two: Tensor) -> Tensor:
    return (one @ two.T / one.shape[1] + 1) ** 3
