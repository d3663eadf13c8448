r"""Outliers off the manifolds of classes: NCIS's sampling.

In the coordinates of a `Manifold` each class is a Gaussian (`ClassGaussians`). Whitened, a sample of it is a radius and
a direction, and only the radius decides how unlikely it is. Outliers have one beyond that of 95 % of the embeddings
held out, and are mapped back. How many lie beyond that of 95 % of fresh embeddings, which had no part in the fit, is
counted:

* ``radius`` draws it evenly between multiples of that radius, or from the tail of its law, beyond a quantile;
* ``invariant`` draws it likewise, but keeps all coordinates except the invariants within the median of theirs, so that
  an outlier leaves the manifold of its class where the class is at home;
* ``lowest`` keeps the least likely of many draws, as published, without making the others.

What is as likely under another class as 95 % of its embeddings is no outlier, and drawn anew. Its coordinates are then
those that the network gives the embedding as one of that other class.

The published code has ``lowest`` alone, of a Gaussian that is not calibrated, and keeps everything:
``reference_quirks=True``. With fewer embeddings of a class than dimensions, *all* embeddings that it was not fitted
to are less likely under it than its outliers.

References:
    | Non-Linear Outlier Synthesis for Out-of-Distribution Detection (Doorenbos et al., 2024)
    | https://arxiv.org/abs/2411.13619
    | https://github.com/LarsDoorenbos/NCIS
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Self

import torch
from torch import Generator, Tensor

from ... import grouped
from ...arguments import check_arguments
from ...errors import OutskirtsError
from ...synthesis.gaussian import largest_squares
from ...synthesis.outliers import Outliers
from .class_gaussians import ClassGaussians, directions, squares_between
from .model import Manifold, fingerprint

__all__ = ["ManifoldSynthesizer"]

#: A class most of whose outliers are typical of others is given up after so many sets of draws.
_ATTEMPTS = 20


@check_arguments
@dataclass
class ManifoldSynthesizer:
    """Makes outliers of classes whose manifolds have been fitted.

    Arguments:
        mode: How outliers are drawn: ``radius``, ``invariant`` or ``lowest``; see above.
        span: From and to how many times the radius of 95 % of a class's held-out embeddings.
        quantile: Where the tail begins, from 0.5 to 1; if given, instead of `span`.
        draws: How many `lowest` chooses from.
        keep: How many of these it keeps.
        competing_classes: Other classes that an outlier must not be typical of: those whose means are nearest to
            that of its own class; 0 keeps all outliers.
        reference_quirks: Sample exactly as the published code does, see above; implies the mode ``lowest`` and no
            competing classes.
        budget: Bytes that the comparison with other classes may take at once, at least those of one pair of classes.

    Raises:
        OutskirtsError: If an argument is out of range.
    """

    mode: Literal["radius", "invariant", "lowest"] = "radius"
    span: tuple[float, float] = (1.0, 1.5)
    quantile: float | None = None
    draws: int = 3330
    keep: int = 10
    competing_classes: int = 10
    reference_quirks: bool = False
    budget: int = 2**26
    manifold: Manifold | None = field(default=None, init=False, repr=False, compare=False)
    gaussians: ClassGaussians | None = field(default=None, init=False, repr=False, compare=False)
    nearest: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    fresh_limits: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    fresh_beyond: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= self.draws:
            raise OutskirtsError(f"keep must be from 1 to the number of draws, {self.draws}, not {self.keep}.")
        if self.competing_classes < 0 or self.budget < 1:
            raise OutskirtsError(
                "competing_classes must be at least 0, and budget at least 1; they are "
                f"{self.competing_classes} and {self.budget}."
            )
        low, high = self.span
        if not 0 < low <= high < math.inf:
            raise OutskirtsError(
                f"span must go from a positive number to an equal or larger one, not from {low} to {high}."
            )
        if self.mode == "invariant" and low < 1:
            raise OutskirtsError(
                "With the mode 'invariant', outliers lie beyond the radius of held-out embeddings; span must "
                f"begin at 1 or more, not {low}."
            )
        if self.quantile is not None and not 0.5 <= self.quantile < 1:
            raise OutskirtsError(f"quantile must be from 0.5 to less than 1, not {self.quantile}.")

    @torch.no_grad()
    def fit(self, manifold: Manifold, embeddings: Tensor, labels: Tensor) -> Self:
        """Estimate the Gaussians of the embeddings [N, D] and labels [N] that the manifold was fitted to.

        Everything that is made of them is on the device of the manifold.

        Raises:
            OutskirtsError: If they are others.
        """
        if fingerprint(embeddings, labels) != manifold.fingerprint:
            raise OutskirtsError("The manifold was fitted to other embeddings; pass those, in the same order.")
        embeddings, labels = embeddings.to(manifold.mean), labels.to(manifold.mean.device, torch.int64)
        seen, held, classes = manifold.fitted_to, manifold.held_out, manifold.classes
        u = manifold(embeddings, labels)
        self.gaussians = ClassGaussians.fit(
            u[seen], labels[seen], u[held], labels[held], classes, manifold.invariants, self.reference_quirks
        )
        self.fresh_limits, self.fresh_beyond = self.gaussians.typical(u[manifold.fresh], labels[manifold.fresh])
        self.manifold = manifold
        rows, valid = grouped.table(labels, len(classes))
        means = (embeddings[rows] * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        apart = torch.cdist(means, means).fill_diagonal_(torch.inf)
        competing_classes = 0 if self.reference_quirks else min(self.competing_classes, len(classes) - 1)
        self.nearest = apart.topk(competing_classes, largest=False).indices
        return self

    def log_prob(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Logarithm of the density of embeddings [N, D] under their class [N], float64.

        Raises:
            OutskirtsError: If nothing was fitted.
        """
        manifold, gaussians, _ = self._fitted()
        log_density = gaussians.log_density(manifold(embeddings, labels), labels)
        return log_density - embeddings.shape[1] * manifold.scale.double().log()

    @torch.no_grad()
    def sample(self, per_class: int, generator: Generator) -> Outliers:
        """`per_class` outliers of every class, class by class.

        Arguments:
            per_class: k.
            generator: On the device of the manifold.

        Returns:
            Values [C·k, D] in float32. The info holds ``distance``, the squared Mahalanobis distance of each, and the
            scalar ``rejected``, the share of draws that were typical of another class. If the fit has fresh embeddings,
            there are two more scalars: ``below_fresh``, the share of outliers that are less likely than 95 % of the
            fresh embeddings of their class, of classes that have any; and ``fresh_beyond``, the share of fresh
            embeddings that lie beyond the distance that 95 % of held-out ones have at most.

        Raises:
            OutskirtsError: If nothing was fitted, or a class lies within another.
        """
        manifold, gaussians, nearest = self._fitted()
        count, dim = gaussians.means.shape
        values = manifold.mean.new_empty(count, per_class, dim)
        distance = gaussians.limits.new_empty(count, per_class)
        filled = torch.zeros(count, dtype=torch.int64, device=values.device)
        drawn, typical = torch.zeros_like(filled), torch.zeros_like(nearest)
        rejected = torch.zeros_like(filled)
        for _ in range(_ATTEMPTS):
            lacking = (filled < per_class).nonzero().squeeze(1)
            if not len(lacking):
                break
            white = self._white(gaussians, lacking, per_class, generator)
            u = gaussians.place(white, lacking)
            made = manifold.inverse(u.flatten(0, 1), lacking.repeat_interleave(u.shape[1])).view(u.shape)
            others = self._typical_of(made, nearest[lacking])
            fine = ~others.any(1)
            place = filled[lacking, None] + fine.cumsum(1) - 1
            taken = fine & (place < per_class)
            row = lacking[:, None].expand_as(place)[taken]
            values[row, place[taken]], distance[row, place[taken]] = made[taken], white.square().sum(2)[taken]
            filled[lacking] += taken.sum(1)
            drawn[lacking] += fine.shape[1]
            rejected[lacking] += (~fine).sum(1)
            typical[lacking] += others.sum(2)
        if (filled < per_class).any():
            worst = int(filled.argmin())
            rival = gaussians.classes[int(nearest[worst, typical[worst].argmax()])]
            raise OutskirtsError(
                f"Of {int(drawn[worst])} outliers drawn of class '{gaussians.classes[worst]}', "
                f"{int(rejected[worst])} are typical of another class, most often of '{rival}'. The two "
                "classes overlap; choose a larger span, fewer competing_classes (0 keeps all), or merge the "
                "classes."
            )
        return Outliers(
            values.flatten(0, 1),
            torch.arange(count, device=values.device).repeat_interleave(per_class),
            {
                "distance": distance.flatten().float(),
                "rejected": rejected.sum() / drawn.sum().clamp_min(1),
                **self._of_fresh(distance),
            },
        )

    def _of_fresh(self, distance: Tensor) -> dict[str, Tensor]:
        """What fresh embeddings say of outliers at squared distances [C, k]; nothing if there are none."""
        if self.fresh_limits is None or self.fresh_beyond is None or not self.fresh_limits.isfinite().any():
            return {}
        known = self.fresh_limits.isfinite()
        beyond = distance[known] > self.fresh_limits[known, None]
        return {"below_fresh": beyond.sum() / max(1, beyond.numel()), "fresh_beyond": self.fresh_beyond}

    def _fitted(self) -> tuple[Manifold, ClassGaussians, Tensor]:
        if self.manifold is None or self.gaussians is None or self.nearest is None:
            raise OutskirtsError("There is no manifold yet; call fit first.")
        return self.manifold, self.gaussians, self.nearest

    def _white(self, gaussians: ClassGaussians, classes: Tensor, per_class: int, generator: Generator) -> Tensor:
        """Whitened outliers [P, n, D] of P classes, n being `per_class` or a few more."""
        count, dim = len(classes), gaussians.means.shape[1]
        if self.reference_quirks or self.mode == "lowest":
            sets = -(-per_class // self.keep)
            squares = largest_squares((count * sets, self.keep), self.draws, dim, generator).double()
            return directions(squares.view(count, sets * self.keep), dim, generator)
        if self.quantile is None:
            low, high = self.span
            share = torch.rand(count, per_class, generator=generator, device=generator.device).double()
            squares = (low + (high - low) * share).square() * gaussians.limits[classes, None]
        else:
            squares = squares_between((count, per_class), dim, 0, 1 - self.quantile, generator)
        if self.mode == "radius":
            return directions(squares, dim, generator)
        m = gaussians.invariants
        # At least half of all vectors, and so nearer than any outlier.
        inner = squares_between((count, per_class), dim - m, 0.5, 1, generator)
        return torch.cat([directions(inner, dim - m, generator), directions(squares - inner, m, generator)], 2)

    def _typical_of(self, made: Tensor, nearest: Tensor) -> Tensor:
        """Which embeddings [P, n, D] are typical of each of R other classes [P, R], bool [P, R, n]."""
        manifold, gaussians, _ = self._fitted()
        (pairs, count, dim), competing_classes = made.shape, nearest.shape[1]
        typical = torch.zeros(pairs, competing_classes, count, dtype=torch.bool, device=made.device)
        if not competing_classes:
            return typical
        own, other = torch.arange(pairs, device=made.device).repeat_interleave(competing_classes), nearest.flatten()
        step = max(1, self.budget // (16 * dim * count))
        for at in torch.arange(len(own), device=made.device).split(step):
            rows = made[own[at]]
            u = manifold(rows.flatten(0, 1), other[at].repeat_interleave(count)).view(rows.shape)
            inside = gaussians.squares(u, other[at]) < gaussians.limits[other[at], None]
            typical.view(-1, count)[at] = inside
        return typical
