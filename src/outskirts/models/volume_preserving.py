r"""A class-conditional network that is invertible and preserves volume.

.. math:: f(\cdot, y) = R_{K+1} \circ C_K \circ R_K \circ \dots \circ C_1 \circ R_1

A rotation :math:`R(x) = Q x + b` mixes the coordinates; a coupling C adds to the first half of them a function of the
second half and of the class. Both have Jacobians of determinant 1, so a density is the same before and after: where a
class is unlikely in the space of the outputs, it is unlikely in that of the inputs.

The published network has Q as the exponential of a skew-symmetric matrix that begins far from zero, sigmoids, and
couplings of random strength. ``reference_quirks=True`` builds it. By default Q is a Cayley transform, whose gradient
takes a thirtieth of the time and which rounds a hundred times less; couplings have SiLUs and begin at zero, so that
the network begins as a rotation.

References:
    | Non-Linear Outlier Synthesis for Out-of-Distribution Detection (Doorenbos et al., 2024): the network
    | https://arxiv.org/abs/2411.13619
    |
    | NICE: Non-linear Independent Components Estimation (Dinh et al., 2015): additive couplings
    | https://arxiv.org/abs/1410.8516
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from ..arguments import check_arguments
from ..devices import full_precision
from ..errors import OutskirtsError

__all__ = ["Pinned", "Rotation", "VolumePreserving"]

#: What the rotations are of skew-symmetric matrices: Cayley transforms, exponentials, or Cayley transforms of matrices
#: that stay as they were drawn.
Rotation = Literal["cayley", "expm", "fixed"]


class Rotations(nn.Module):
    """Several rotations of R^D, each followed by a translation.

    Arguments:
        count: R.
        dim: D.
        kind: How rotations are made of skew-symmetric matrices: ``cayley``, ``expm`` or ``fixed``; see `Rotation`.
        reference_quirks: Draw the parameters as the published code does.
    """

    skew: Tensor

    def __init__(self, count: int, dim: int, kind: Rotation, reference_quirks: bool) -> None:
        super().__init__()
        self.kind = kind
        self.bias = nn.Parameter(torch.zeros(count, dim))
        # Angles spread over most of the circle, whatever the dimension, and I - S is far from singular.
        skew = torch.randn(count, dim, dim) * dim**-0.5
        if reference_quirks:
            skew.uniform_(-pi, pi)
            self.bias.data.uniform_(-(dim**-0.5), dim**-0.5)
        if kind == "fixed":
            self.register_buffer("skew", skew)
        else:
            self.skew = nn.Parameter(skew)

    def forward(self) -> Tensor:
        """The matrices, [R, D, D]."""
        upper = self.skew.triu(1)
        skew = upper - upper.mT
        if self.kind == "expm":
            return torch.linalg.matrix_exp(skew)
        identity = torch.eye(skew.shape[-1], dtype=skew.dtype, device=skew.device)
        # (I - S)⁻¹ (I + S), with one inverse and no product.
        return 2 * torch.linalg.inv(identity - skew) - identity


class Coupling(nn.Module):
    """What is added to the first half of a vector: a perceptron of the second half and of what it is told of the class.

    Arguments:
        dim: D; the first half has ⌊D/2⌋ coordinates.
        hidden: H.
        reference_quirks: Sigmoids, and a last layer that does not begin at zero.
    """

    def __init__(self, dim: int, hidden: int, reference_quirks: bool) -> None:
        super().__init__()
        act = nn.Sigmoid if reference_quirks else nn.SiLU
        first, second = dim // 2, dim - dim // 2
        self.inputs = nn.Sequential(nn.Linear(second, hidden), act(), nn.Linear(hidden, hidden))
        last = nn.Linear(hidden, first)
        self.outputs = nn.Sequential(act(), nn.Linear(hidden, hidden), act(), last)
        if not reference_quirks:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, second: Tensor, condition: Tensor) -> Tensor:
        return self.outputs(self.inputs(second) + condition)


@check_arguments
class VolumePreserving(nn.Module):
    """An invertible map of R^D for each class, with a Jacobian of determinant 1.

    Arguments:
        dim: D, at least 2.
        classes: C.
        blocks: K.
        hidden: Width of the couplings; four times the half of D unless given.
        rotation: How rotations are made of skew-symmetric matrices: ``cayley``, ``expm`` or ``fixed``; see `Rotation`.
        reference_quirks: The published network, see above; implies `rotation` "expm".

    Raises:
        OutskirtsError: If an argument is out of range.

    >>> network = VolumePreserving(dim=5, classes=2)
    >>> x, labels = torch.randn(3, 5), torch.tensor([0, 1, 1])
    >>> bool(torch.allclose(network.inverse(network(x, labels), labels), x, atol=1e-5))
    True
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        blocks: int = 4,
        hidden: int | None = None,
        rotation: Rotation = "cayley",
        reference_quirks: bool = False,
    ) -> None:
        super().__init__()
        if dim < 2 or classes < 1 or blocks < 0:
            raise OutskirtsError(
                "A volume-preserving network needs at least 2 dimensions, 1 class and 0 blocks, not "
                f"{dim}, {classes} and {blocks}."
            )
        if hidden is not None and hidden < 1:
            raise OutskirtsError(f"The couplings have a width of at least 1, not {hidden}.")
        hidden = 4 * (dim - dim // 2) if hidden is None else hidden
        self.dim = dim
        self.rotations = Rotations(blocks + 1, dim, "expm" if reference_quirks else rotation, reference_quirks)
        self.couplings = nn.ModuleList(Coupling(dim, hidden, reference_quirks) for _ in range(blocks))
        self.table = nn.Parameter(torch.randn(classes, hidden))
        told = (nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden)) for _ in range(blocks))
        self.conditions = nn.ModuleList(told)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """f(x, y), [B, D], of x [B, D] and labels [B]."""
        return self.pinned()(x, labels)

    def inverse(self, u: Tensor, labels: Tensor) -> Tensor:
        """The x [B, D] with f(x, y) = u, of u [B, D] and labels [B]."""
        return self.pinned().inverse(u, labels)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """The logarithm of the Jacobian's determinant at each x [B, D], [B]: zero."""
        return x.new_zeros(len(x))

    def pinned(self) -> Pinned:
        """The network at its present weights; what depends on nothing else is computed once for any number of calls."""
        # Half precision would not come back to where it started.
        with full_precision(self.table):
            conditions = tuple(condition(self.table) for condition in self.conditions)
            return Pinned(self, self.rotations(), conditions, self._versions())

    def _versions(self) -> tuple[int, ...]:
        return tuple(weight._version for weight in self.parameters())


@dataclass(frozen=True)
class Pinned:
    """A `VolumePreserving` network with its matrices at hand; refuses to be used after its weights have changed.

    Arguments:
        network: The network.
        matrices: Rotations of the network, [K + 1, D, D].
        conditions: What each coupling is told of each class, K times [C, H].
        versions: Versions of the weights that these were computed with.
    """

    network: VolumePreserving
    matrices: Tensor
    conditions: tuple[Tensor, ...]
    versions: tuple[int, ...]

    def __call__(self, x: Tensor, labels: Tensor) -> Tensor:
        """f(x, y), [B, D], of x [B, D] and labels [B], as `VolumePreserving.forward` computes it."""
        self._check()
        with full_precision(x):
            for q, bias, coupling, condition in self._blocks():
                x = torch.addmm(bias, x, q.mT)
                x = self._coupled(x, labels, coupling, condition, 1)
            return torch.addmm(self.network.rotations.bias[-1], x, self.matrices[-1].mT)

    def inverse(self, u: Tensor, labels: Tensor) -> Tensor:
        """The x [B, D] with f(x, y) = u, of u [B, D] and labels [B]."""
        self._check()
        with full_precision(u):
            x = (u - self.network.rotations.bias[-1]) @ self.matrices[-1]
            for q, bias, coupling, condition in reversed(self._blocks()):
                x = self._coupled(x, labels, coupling, condition, -1)
                x = (x - bias) @ q
            return x

    def _blocks(self) -> list[tuple[Tensor, Tensor, nn.Module, Tensor]]:
        return list(zip(self.matrices, self.network.rotations.bias, self.network.couplings, self.conditions))

    def _coupled(self, x: Tensor, labels: Tensor, coupling: nn.Module, condition: Tensor, sign: int) -> Tensor:
        first, second = x.tensor_split([self.network.dim // 2], dim=1)
        return torch.cat([first + sign * coupling(second, embedding(labels, condition)), second], 1)

    def _check(self) -> None:
        if self.versions != self.network._versions():
            raise OutskirtsError(
                "The network's weights have changed since its matrices were computed; call pinned again after a step."
            )
