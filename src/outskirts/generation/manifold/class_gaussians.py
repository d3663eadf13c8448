r"""A Gaussian for each class, calibrated on vectors it was not fitted to, and its tails.

A covariance of few vectors in many dimensions is too small where it matters: vectors of the same class that it has not
seen lie farther out than any sample of the Gaussian. So it is shrunk (`outskirts.synthesis.gaussian.shrunk`) and its
Cholesky factor scaled with held-out vectors: the columns of the first d - m coordinates and those of the last m, the
invariants, so that the squared distances of either have the mean of a chi-squared variable; then both, so that the
95 % quantile of the whole distance is that of one. Whatever lies beyond this quantile is less likely than 95 % of the
vectors held out. This is so by construction; only vectors that had no part in it can tell whether it holds for others.

The published code adds 1e-5 to the diagonal of each covariance, in single precision, and compares with nothing:
``reference_quirks=True``.

References:
    | Non-Linear Outlier Synthesis for Out-of-Distribution Detection (Doorenbos et al., 2024)
    | https://arxiv.org/abs/2411.13619
    | Shrinkage Algorithms for MMSE Covariance Estimation (Chen et al., 2010)
    | https://arxiv.org/abs/0907.4698
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.special import gammainccinv
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize

from ... import grouped
from ...errors import OutskirtsError
from ...synthesis.gaussian import shrunk
from .pca import centered_blocks

__all__ = ["ClassGaussians", "directions", "quantile_square", "squares_between"]

#: Share of held-out vectors that count as typical of their class.
TYPICAL = 0.95


def quantile_square(dim: int, tail: float = 1 - TYPICAL) -> float:
    """The squared norm that a standard normal vector of `dim` dimensions exceeds with probability `tail`."""
    return 2 * float(gammainccinv(dim / 2, tail))


def squares_between(shape: Sequence[int], dim: int, low: float, high: float, generator: Generator) -> Tensor:
    """Squared norms of standard normal vectors, of those that are exceeded with a probability from `low` to `high`.

    Returns:
        [*shape], float64, on the generator's device.
    """
    uniform = torch.rand(tuple(shape), generator=generator, device=generator.device)
    # Centred in its interval of 2⁻²⁴, a uniform number is neither 0 nor 1, nor is the norm infinite.
    tail = low + (high - low) * (uniform.cpu().double() + 2.0**-25)
    return 2 * torch.from_numpy(gammainccinv(dim / 2, tail.numpy())).to(generator.device)


def directions(squares: Tensor, dim: int, generator: Generator) -> Tensor:
    """Vectors [..., D] in random directions with the given squared norms [...]."""
    noise = torch.randn(*squares.shape, dim, generator=generator, device=generator.device).double()
    return normalize(noise, dim=-1) * squares.sqrt()[..., None]


class ClassGaussians(nn.Module):
    """A Gaussian for each class.

    The factors take 8 C D² bytes.

    Arguments:
        classes: Names of the C.
        dim: D.
        invariants: m.
        dtype: Number format of all computations.

    Attributes:
        means: [C, D].
        factor: Lower triangular, [C, D, D]; a class's covariance is ``factor @ factor.T``.
        limits: The squared distance that 95 % of its held-out vectors have at most, [C].
    """

    means: Tensor
    factor: Tensor
    limits: Tensor

    def __init__(self, classes: Sequence[str], dim: int, invariants: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.classes, self.invariants = list(classes), invariants
        count = len(self.classes)
        self.register_buffer("means", torch.zeros(count, dim, dtype=dtype))
        self.register_buffer("factor", torch.zeros(count, dim, dim, dtype=dtype))
        self.register_buffer("limits", torch.zeros(count, dtype=torch.float64))

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        values: Tensor,
        labels: Tensor,
        unseen: Tensor,
        unseen_labels: Tensor,
        classes: Sequence[str],
        invariants: int,
        reference_quirks: bool = False,
    ) -> ClassGaussians:
        """Estimate and calibrate.

        Arguments:
            values: [N, D].
            labels: [N].
            unseen: Held out, [M, D].
            unseen_labels: [M].
            classes: Names of the C.
            invariants: m, from 0 to D; how many of the last coordinates are scaled on their own.
            reference_quirks: The published estimate, see above.

        Raises:
            OutskirtsError: If a class has fewer than two vectors, or none held out; or its published covariance is
                singular.
        """
        for rows, least, what in ((labels, 2, "to vary"), (unseen_labels, 1, "held out, for the calibration")):
            counts = torch.bincount(rows, minlength=len(classes))
            if int(counts.min()) < least:
                short = int(counts.argmin())
                raise OutskirtsError(
                    f"A class needs at least {least} {'vectors' if least > 1 else 'vector'} {what}; "
                    f"'{classes[short]}' has {int(counts[short])}."
                )
        dtype = torch.float32 if reference_quirks else torch.float64
        made = cls(classes, values.shape[1], invariants, dtype).to(values.device)
        for block in centered_blocks(values, labels, len(classes)):
            freedom = block.counts - 1
            covariance = (block.values.mT @ block.values) / freedom[:, None, None]
            if reference_quirks:
                covariance = covariance.float()
                covariance.diagonal(dim1=1, dim2=2).add_(1e-5)
            else:
                covariance = shrunk(covariance, freedom)
            factor, failed = torch.linalg.cholesky_ex(covariance)
            made.means[block.classes], made.factor[block.classes] = block.means.to(dtype), factor
            if failed.any():
                singular = classes[block.classes.start + int(failed.nonzero()[0])]
                raise OutskirtsError(
                    f"The published covariance of class '{singular}' is singular: 1e-5 on its diagonal is too little "
                    "for embeddings of this scale in single precision. Use the shrunk one, without reference_quirks."
                )
        made._calibrate(unseen, unseen_labels, scale=not reference_quirks)
        return made

    def _calibrate(self, unseen: Tensor, labels: Tensor, scale: bool) -> None:
        rows, valid = grouped.table(labels, len(self.classes))
        dim, counts = unseen.shape[1], valid.sum(1)
        kept = dim - self.invariants
        classes = torch.arange(len(self.classes), device=unseen.device)
        parts = self._squares(unseen[rows], classes, kept)
        if scale:
            sizes = parts.new_tensor([kept, self.invariants]).clamp_min(1)
            means = (parts * valid[..., None]).sum(1) / counts[:, None] / sizes
            # The floor is for classes that do not vary at all.
            means = means.clamp_min(1e-6)
            parts /= means[:, None]
            limits = self._typical(parts.sum(2), valid)
            limit = quantile_square(dim)
            whole = (limits / limit).clamp_min(1e-6)
            spread = (means * whole[:, None]).sqrt()
            self.factor[..., :kept] *= spread[:, None, None, 0]
            self.factor[..., kept:] *= spread[:, None, None, 1]
            self.limits.fill_(limit)
        else:
            self.limits.copy_(self._typical(parts.sum(2), valid))

    def typical(self, values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """How far vectors [N, D] with labels [N] lie.

        Returns:
            The squared distance that 95 % of each class's have at most, [C], infinite for a class that has none; and
            the share of all that lie beyond the limit of their class, a scalar, nan if there are none.
        """
        rows, valid = grouped.table(labels, len(self.classes))
        if not len(labels):
            return torch.full_like(self.limits, torch.inf), self.limits.new_tensor(torch.nan)
        squares = self.squares(values[rows], torch.arange(len(self.classes), device=values.device))
        beyond = (squares > self.limits[:, None])[valid].double().mean()
        return self._typical(squares, valid).nan_to_num(nan=torch.inf), beyond

    @staticmethod
    def _typical(squares: Tensor, valid: Tensor) -> Tensor:
        """The distance of each class [C] that no more than a twentieth of its valid ones exceeds."""
        return squares.masked_fill(~valid, torch.nan).nanquantile(TYPICAL, dim=1, interpolation="higher")

    def _squares(self, values: Tensor, classes: Tensor, kept: int, budget: int = 2**27) -> Tensor:
        """Squared norms of whitened vectors [P, n, D], of P classes, in their first `kept` and other coordinates."""
        pairs, count, dim = values.shape
        step = max(1, budget // (8 * dim * (dim + 2 * count)))
        norms = values.new_empty(pairs, count, 2, dtype=torch.float64)
        for start in range(0, pairs, step):
            block = slice(start, start + step)
            of = classes[block]
            centered = values[block].to(self.means) - self.means[of, None]
            white = torch.linalg.solve_triangular(self.factor[of], centered.mT, upper=False).double().square()
            norms[block, :, 0], norms[block, :, 1] = white[:, :kept].sum(1), white[:, kept:].sum(1)
        return norms

    def squares(self, values: Tensor, classes: Tensor) -> Tensor:
        """Squared Mahalanobis distances [P, n], float64, of vectors [P, n, D] to P classes [P]."""
        return self._squares(values, classes, values.shape[2]).sum(2)

    def log_density(self, values: Tensor, labels: Tensor) -> Tensor:
        """Logarithm of the density of vectors [N, D] under their own class [N], float64."""
        if not len(labels):
            return values.new_zeros(0, dtype=torch.float64)
        rows, valid = grouped.table(labels, len(self.classes))
        every = torch.arange(len(self.classes), device=values.device)
        volume = self.factor.diagonal(dim1=1, dim2=2).double().log().sum(1)
        by_class = -0.5 * self.squares(values[rows], every) - volume[:, None]
        density = values.new_empty(len(labels), dtype=torch.float64)
        density[rows[valid]] = by_class[valid]
        return density - 0.5 * values.shape[1] * math.log(2 * math.pi)

    def place(self, white: Tensor, classes: Tensor) -> Tensor:
        """The vectors [P, n, D] that are whitened ones [P, n, D] under P classes [P]."""
        return self.means[classes, None] + white.to(self.means) @ self.factor[classes].mT
