r"""Outliers in the tails of Gaussians: VOS.

Each class is a Gaussian about its own mean, with one covariance for all classes. Of many points drawn from it, those
of lowest density are kept.

They are found without drawing the others. A point is :math:`\mu + L \epsilon` with :math:`\Sigma = L L^\top` and
standard normal :math:`\epsilon`. Its density falls with :math:`\|\epsilon\|^2` and nothing else; this square is
chi-squared distributed, and the direction of :math:`\epsilon` is uniform and independent of it. So the largest squares
are drawn as what they are, extreme order statistics, and a direction for each: exactly the same law, at the cost of
the points kept.

References:
    | VOS: Learning What You Don't Know by Virtual Outlier Synthesis (Du et al., 2022)
    | https://arxiv.org/abs/2202.01197
    | Shrinkage Algorithms for MMSE Covariance Estimation (Chen et al., 2010): the covariance of few samples
    | https://arxiv.org/abs/0907.4698
"""

from __future__ import annotations

from typing import Self

import torch
from scipy.special import gammainccinv
from torch import Generator, Tensor
from torch.nn.functional import normalize

from ..arguments import require_positive
from ..devices import HostBuffers, full_precision, there
from ..errors import OutskirtsError
from ..seeding import on_host
from .bank import FeatureBank
from .outliers import Outliers

__all__ = ["GaussianSynthesizer", "largest_squares", "shrunk"]


def largest_squares(shape: tuple[int, int], draws: int, dim: int, generator: Generator) -> Tensor:
    r"""The largest of `draws` squared norms of standard normal vectors, for each of several sets of draws.

    The smallest tail probabilities of a sample are those of the smallest exponential variables, whose k-th is
    :math:`\sum_{j<k} E_j / (n - j)` for independent standard exponentials (Rényi, 1953). All is in terms of tail
    probabilities, which keep their precision where the distribution function rounds to 1.

    Arguments:
        shape: Sets [R], and how many of each, [K]: at most `draws`.
        draws: n.
        dim: Dimension of the vectors.
        generator: On the device of the result.

    Returns:
        [R, K], float32, the largest first.
    """
    uniform = torch.rand(shape, generator=on_host(generator))
    # Centred in its interval of 2⁻²⁴, a uniform number is neither 0 nor 1, nor is the norm infinite.
    exponential = -torch.log1p(-(uniform.double() + 2.0**-25))
    tail = -torch.expm1(-(exponential / (draws - torch.arange(shape[1]))).cumsum(1))
    squares = 2 * torch.from_numpy(gammainccinv(dim / 2, tail.numpy()))
    return there(squares.float(), generator.device)


def shrunk(covariance: Tensor, samples: int | Tensor) -> Tensor:
    """Covariances moved towards multiples of the identity, as far as their few samples make them uncertain.

    The weight is the oracle-approximating one, at least 0.001, which is what single-precision sums need to stay
    positive definite.

    Arguments:
        covariance: [..., D, D].
        samples: How many vectors each was estimated from, [...] or one number.

    Returns:
        [..., D, D], positive definite.
    """
    dim = covariance.shape[-1]
    trace, power = covariance.diagonal(dim1=-2, dim2=-1).sum(-1), covariance.square().sum((-2, -1))
    spread = (power - trace**2 / dim).clamp_min(torch.finfo(covariance.dtype).tiny)
    weight = ((1 - 2 / dim) * power + trace**2) / ((samples + 1 - 2 / dim) * spread)
    weight = weight.clamp(1e-3, 1)
    moved = (1 - weight)[..., None, None] * covariance
    # The floor is for features that do not vary at all.
    moved.diagonal(dim1=-2, dim2=-1).add_((weight * trace / dim).clamp_min(1e-12)[..., None])
    return moved


class GaussianSynthesizer(HostBuffers):
    """Keeps the least likely of many points drawn from a Gaussian per class.

    Usable on its own, with `fit` and `sample`, or called on a queue of features while they change. What was estimated
    is held in buffers, of which those that decide shapes stay on the host.

    The published code adds 1e-4 to the diagonal of the covariance, which fails where there are more dimensions than
    samples or features are large; here the covariance is shrunk (`shrunk`) and factorised in double precision. Only
    rows that have been filled count, within their class.

    Arguments:
        classes: C.
        dim: D.
        draws: Points of each class to choose from.
        keep: Points of each class to keep.
        refresh: Estimate the Gaussians anew at every so many calls: a queue hardly changes in a few steps, and the
            estimate costs C·n·D² operations.
        min_rows: Features from which on a class is ready.

    Raises:
        OutskirtsError: If an argument is out of range.

    >>> features = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> synthesizer = GaussianSynthesizer(classes=1, dim=4).fit(features, torch.zeros(100, dtype=torch.int64))
    >>> outliers = synthesizer.sample(3, torch.Generator().manual_seed(0))
    >>> outliers.values.shape, bool((outliers.info["distance"] > 15).all())
    (torch.Size([3, 4]), True)
    """

    host_buffers = ("ready", "calls")
    means: Tensor
    factor: Tensor
    ready: Tensor
    calls: Tensor

    def __init__(
        self,
        classes: int,
        dim: int,
        draws: int = 10_000,
        keep: int = 1,
        refresh: int = 1,
        min_rows: int = 2,
    ) -> None:
        super().__init__()
        if not 1 <= keep <= draws:
            raise OutskirtsError(f"keep must be from 1 to the number of draws, {draws}, not {keep}.")
        require_positive(refresh=refresh)
        if min_rows < 2:
            raise OutskirtsError(f"A class needs at least 2 features for a variance; min_rows is {min_rows}.")
        self.draws, self.keep, self.refresh, self.min_rows = draws, keep, refresh, min_rows
        self.register_buffer("means", torch.zeros(classes, dim))
        self.register_buffer("factor", torch.zeros(dim, dim))
        self.register_buffer("ready", torch.zeros(classes, dtype=torch.bool))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def fit(self, features: Tensor, labels: Tensor) -> Self:
        """Estimate the Gaussians of features [N, D] with labels [N]; returns itself."""
        bank = FeatureBank.of(features, labels, [str(c) for c in range(len(self.means))])
        self._estimate(bank.values, bank.filled.cpu())
        return self

    def sample(self, n: int, generator: Generator) -> Outliers:
        """`n` outliers, of the fitted classes in turn.

        Raises:
            OutskirtsError: If no class has been fitted.
        """
        classes = self.ready.nonzero().squeeze(1)
        if not len(classes):
            raise OutskirtsError(
                f"No class has the {self.min_rows} features that a Gaussian needs; call fit with more."
            )
        sets = -(-n // self.keep)
        return self._drawn(classes.repeat(-(-sets // len(classes)))[:sets], n, generator)

    @torch.no_grad()
    def forward(self, values: Tensor, filled: Tensor, generator: Generator) -> Outliers:
        """`keep` outliers of each ready class.

        Arguments:
            values: Features by class, [C, n, D].
            filled: How many rows of each class are valid, from the first on, [C]; on the host, which needs to know.
            generator: Generator on the features' device.

        Returns:
            With ``ready``, the share of classes that are; the ``distance`` of each outlier, its squared Mahalanobis
            distance to its class; and their mean, ``kept_distance``.
        """
        filled = filled.cpu()
        self.ready &= filled >= self.min_rows
        if self.calls % self.refresh == 0 or not self.ready.any():
            self._estimate(values, filled)
        self.calls += 1
        classes = self.ready.nonzero().squeeze(1)
        return self._drawn(classes, len(classes) * self.keep, generator)

    def _estimate(self, values: Tensor, filled: Tensor, budget: int = 2**26) -> None:
        """Means and the factor of the covariance; the rows of a block of classes take at most `budget` bytes."""
        self.ready.copy_(filled >= self.min_rows)
        if not self.ready.any():
            return
        freedom = int((filled * self.ready).sum() - self.ready.sum())
        counts = there(filled * self.ready, values.device)
        rows = torch.arange(values.shape[1], device=values.device) < counts[:, None]
        scatter = torch.zeros_like(self.factor)
        step = max(1, budget // (values[0].numel() * scatter.element_size()))
        # Half precision would lose the small eigenvalues of a covariance.
        with full_precision(values):
            for start in range(0, len(values), step):
                block = slice(start, start + step)
                valid = rows[block, :, None]
                features = torch.where(valid, values[block].to(scatter), 0)
                means = features.sum(1, keepdim=True) / counts[block, None, None].clamp_min(1)
                centered = torch.where(valid, features - means, 0).flatten(0, 1)
                scatter += centered.T @ centered
                self.means[block] = means.squeeze(1)
        # Apple's devices have no double precision.
        wide = scatter.cpu().double() if scatter.device.type == "mps" else scatter.double()
        covariance = shrunk(wide / freedom, freedom)
        # What is not finite stays so, for the loop to say that the training has diverged.
        self.factor.copy_(torch.linalg.cholesky_ex(covariance).L)

    def _drawn(self, sets: Tensor, n: int, generator: Generator) -> Outliers:
        """The first `n` of the outliers of `sets`, each the class of one set of draws; on the host."""
        dim = self.means.shape[1]
        labels = there(sets.repeat_interleave(self.keep)[:n], self.means.device)
        squares = largest_squares((len(sets), self.keep), self.draws, dim, generator).flatten()[:n].to(self.means)
        noise = torch.randn(len(labels), dim, generator=generator, device=generator.device, dtype=self.means.dtype)
        with full_precision(noise):
            values = self.means[labels] + normalize(noise, dim=1) * squares.sqrt()[:, None] @ self.factor.T
        info = {
            "ready": squares.new_full((), self.ready.float().mean().item()),
            "kept_distance": squares.sum() / max(len(squares), 1),
            "distance": squares,
        }
        return Outliers(values, labels, info)
