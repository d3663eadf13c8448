r"""Outliers at the edge of each class, without assuming its distribution.

A feature far from its K-th nearest neighbour lies where its class is thin. Around such boundary points Gaussian
noise makes candidates, and those farthest from the class are kept.

Distances are squared Euclidean between features of unit norm, ``2 - 2 cos``, so cosines do all the work. A class's
boundary points go in pairs, the second with the noise of the first, its sign turned: no less Gaussian for either, and
the products that the search takes are made once for both.

The published code departs from the paper in three ways, which `reference_quirks` brings back: it reads the selected
candidates from wrong places whenever it uses more than one boundary point, which makes the selection one by chance;
it counts a boundary point among its own neighbours; and one noise matrix serves every class and boundary point.

References:
    | Non-Parametric Outlier Synthesis (Tao et al., 2023)
    | https://arxiv.org/abs/2303.02966
    |
    | Noise on the unit sphere: Dream the Impossible: Outlier Imagination with Diffusion Models (Du et al., 2023)
    | https://arxiv.org/abs/2309.13415
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from ..arguments import check_arguments, require_positive
from ..devices import full_precision, there
from ..errors import OutskirtsError
from ..neighbours.cosine import Scratch, kth_cosine_about, kth_own_cosine
from .bank import FeatureBank, evenly
from .noise import MirroredNoise, SharedNoise
from .outliers import Outliers

__all__ = ["BoundarySynthesizer", "boundary_rows", "select"]


def boundary_rows(near: Tensor, valid: Tensor | None, size: int) -> Tensor:
    """The rows of each class that are farthest from their K-th neighbour, farthest first, and equals in their order.

    Arguments:
        near: Cosine of each row with its K-th neighbour, [C, n].
        valid: Which rows count, bool [C, n], at least `size` of each class; None for all.
        size: S.

    Returns:
        Row numbers, [C, S].
    """
    near = near if valid is None else near.masked_fill(~valid, torch.inf)
    # Rows that are each other's K-th neighbours are equally far; rounding must not decide which of them comes first.
    return near.round(decimals=6).sort(dim=1, stable=True).indices[:, :size]


def select(near: Tensor, keep: int, scrambled: bool = False) -> Tensor:
    """Which candidates of each boundary point to keep: those farthest from their K-th neighbour, farthest first.

    Arguments:
        near: Cosine of each candidate with its K-th neighbour, [C, P, L].
        keep: m.
        scrambled: Choose as the published code does: the P·L values of a class are read as L rows of P, and the best of
            column i are taken for candidates of point i. The same for P = 1, at which that code stops.

    Returns:
        Candidate numbers, [C, P, m].
    """
    classes, points, candidates = near.shape
    if scrambled:
        near = near.reshape(classes, candidates, points).mT
    return near.topk(keep, largest=False).indices


class _Made(NamedTuple):
    """What a call makes of R classes, P boundary points of each, and m outliers of each of these."""

    values: Tensor  # [R, P, m, D]
    distance: Tensor  # [R, P, m]
    boundary: Tensor  # [R, P], rows
    boundary_distance: Tensor  # [R, P]
    rejected: Tensor  # [R, P], the sum of the rejected candidates' distances

    @classmethod
    def empty(cls, shape: tuple[int, int, int, int], like: Tensor) -> _Made:
        values = like.new_empty(shape)
        return cls(
            values,
            like.new_empty(shape[:3]),
            like.new_empty(shape[:2], dtype=torch.int64),
            like.new_empty(shape[:2]),
            like.new_empty(shape[:2]),
        )


def _squared(cosine: Tensor) -> Tensor:
    """The squared distance of unit vectors; rounding may take a cosine above 1."""
    return (2 - 2 * cosine).clamp_min(0)


def _vectors(values: Tensor, index: Tensor) -> Tensor:
    """The vectors at [..., k] of values [..., n, D], [..., k, D]."""
    return values.gather(-2, index[..., None].expand(*index.shape, values.shape[-1]))


_COUNTS = ("k", "boundary", "picks", "candidates", "keep", "classes_per_call", "budget")


@check_arguments
@dataclass
class BoundarySynthesizer:
    """Keeps the candidates around boundary points that are farthest from their class.

    Arguments:
        k: Which neighbour's distance counts, K.
        boundary: Size of each class's boundary set, S.
        picks: Boundary points used per class and call, P, drawn from the boundary set without replacement.
        candidates: Made around each boundary point, L.
        keep: Candidates kept of each boundary point, m.
        sigma: Standard deviation of the noise in every dimension; on the sphere, the features' norm is 1.
        space: ``sphere`` adds noise to normalized features and normalises the sum; ``raw`` adds it to the features,
            as published, with sigma 0.1.
        exclude_self: Do not count a feature among its own neighbours.
        selection: ``distance``, or ``random`` to keep candidates regardless of their distance.
        shared_noise: One noise matrix per call for all classes and boundary points, as published.
        reference_quirks: Select as the published code does, see above; implies `shared_noise` and not `exclude_self`.
        min_rows: A class is ready when it has this many features, and as many as `k` and `boundary` need; as many as
            these need unless given.
        classes_per_call: Number of ready classes to take in each call, drawn at random; all unless given.
        budget: Bytes that features, noise and cosines may take at once, at least those of one class.

    >>> features = torch.eye(4).repeat(5, 1) + 0.1 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    >>> synthesizer = BoundarySynthesizer(k=3, boundary=4, candidates=9, keep=3).fit(features, torch.arange(20) % 2)
    >>> synthesizer.sample(6, torch.Generator().manual_seed(0)).labels
    tensor([0, 0, 0, 1, 1, 1])
    """

    k: int = 300
    boundary: int = 200
    picks: int = 2
    candidates: int = 600
    keep: int = 200
    sigma: float = 0.03
    space: Literal["sphere", "raw"] = "sphere"
    exclude_self: bool = True
    selection: Literal["distance", "random"] = "distance"
    shared_noise: bool = False
    reference_quirks: bool = False
    min_rows: int | None = None
    classes_per_call: int | None = None
    budget: int = 2**26
    bank: FeatureBank | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_positive(**{name: getattr(self, name) for name in _COUNTS})
        for name in ("sigma", "min_rows"):
            if not 0 <= (getattr(self, name) or 0) < float("inf"):
                raise OutskirtsError(f"{name} must be finite and at least 0, not {getattr(self, name)}.")
        if self.picks > self.boundary:
            raise OutskirtsError(
                f"{self.picks} boundary points cannot be drawn from a set of {self.boundary}; "
                f"choose picks of at most {self.boundary}, or a larger boundary."
            )
        if self.keep > self.candidates:
            raise OutskirtsError(
                f"{self.keep} of {self.candidates} candidates cannot be kept; "
                f"choose keep of at most {self.candidates}, or more candidates."
            )

    @property
    def neighbor(self) -> int:
        """Which neighbour of a bank's own row to look for, counting the row itself."""
        return self.k + (self.exclude_self and not self.reference_quirks)

    @property
    def needed(self) -> int:
        """Features that a class needs to be ready."""
        return max(self.neighbor, self.boundary, self.min_rows or 0)

    def __call__(self, values: Tensor, filled: Tensor, generator: Generator) -> Outliers:
        """Outliers of the classes that are ready; none, with zero rows, while no class is.

        Arguments:
            values: Features by class, [C, n, D]; computed with in float32, or in float64 if they are.
            filled: How many rows of each class are valid, from the first on, [C]; on the host, which needs to know.
            generator: Generator on the device of the values.

        Returns:
            For each ready class and boundary point the kept candidates, farthest first. The info holds
            ``boundary``, the row of the class that each was made of, and ``distance``, its squared distance to the
            K-th neighbour; and the scalars ``ready``, the share of classes, ``kept_distance``,
            ``rejected_distance`` and ``boundary_distance``, means that are 0 where there is nothing to average.

        Raises:
            OutskirtsError: If a class can never be ready, as k, boundary or min_rows exceed n.
        """
        size = values.shape[1]
        if self.needed > size:
            more = "" if self.min_rows is None else f" and min_rows = {self.min_rows}"
            asked = f"k = {self.k}, boundary = {self.boundary}{more}"
            raise OutskirtsError(
                f"A queue of {size} features per class never holds the {self.needed} that {asked} need; choose smaller "
                "values or a longer queue."
            )
        # Which classes are ready decides the shape of the result.
        counts = filled.tolist()
        ready = [c for c, count in enumerate(counts) if count >= self.needed]
        rows = there(torch.tensor(ready, dtype=torch.int64), values.device)
        if self.classes_per_call is not None and self.classes_per_call < len(ready):
            order = torch.randperm(len(ready), generator=generator, device=values.device)
            rows = rows[order[: self.classes_per_call].sort().values]
        # While all are full, which is most of the time, nothing needs a mask.
        partial = there(filled, values.device) if any(counts[c] < size for c in ready) else None
        with torch.no_grad(), full_precision(values):
            made = self._made(values, partial, rows, generator)
        every = (len(rows), self.picks, self.keep)
        rejected = len(rows) * self.picks * (self.candidates - self.keep)
        return Outliers(
            made.values.flatten(0, 2),
            rows[:, None, None].expand(every).flatten(),
            {
                "ready": made.distance.new_full((), len(ready) / max(1, len(counts))),
                "boundary_distance": made.boundary_distance.sum() / max(1, made.boundary_distance.numel()),
                "kept_distance": made.distance.sum() / max(1, made.distance.numel()),
                "rejected_distance": made.rejected.sum() / max(1, rejected),
                "boundary": made.boundary[..., None].expand(every).flatten(),
                "distance": made.distance.flatten(),
            },
        )

    def _made(self, values: Tensor, filled: Tensor | None, rows: Tensor, generator: Generator) -> _Made:
        """Everything of the classes `rows`, in chunks that draw what any other chunks would."""
        dtype = values.dtype if values.dtype == torch.float64 else torch.float32
        device, (_, size, dim) = values.device, values.shape
        made = _Made.empty((len(rows), self.picks, self.keep, dim), values.new_empty(0, dtype=dtype))
        order = torch.rand(len(rows), self.boundary, generator=generator, device=device).topk(self.picks).indices
        drawn = (self.picks, (self.candidates, dim), self.sigma, generator, made.values)
        shared = self.shared_noise or self.reference_quirks
        noise = SharedNoise(*drawn) if shared else MirroredNoise(len(rows), *drawn)
        chunk, memory, cosines = self._chunk(size, dim, dtype.itemsize), Scratch(), Scratch(self.budget // 2)
        for start in range(0, len(rows), chunk):
            classes = range(start, min(start + chunk, len(rows)))
            part = torch.arange(classes.start, classes.stop, device=device)
            own = rows[part]
            bank = torch.index_select(values, 0, own, out=memory.take((len(own), size, dim), values)).to(dtype)
            valid = None if filled is None else torch.arange(size, device=device) < filled[own, None]
            norms = bank.norm(dim=2)
            bank.div_(norms.clamp_min(torch.finfo(dtype).tiny)[..., None])
            near = kth_own_cosine(bank, valid, self.neighbor, cosines)
            # A feature without direction is nobody's boundary: above all cosines, it comes last. The published search
            # finds it infinitely far from everything, so that it comes first.
            edge = boundary_rows(near.masked_fill(norms == 0, -2 if self.reference_quirks else 2), valid, self.boundary)
            made.boundary[part] = picked = edge.gather(1, order[part])
            made.boundary_distance[part] = _squared(near.gather(1, picked))
            for some, signs, offsets in noise.of(classes):
                at = picked[:, some]
                base = _vectors(bank, at) if self.space == "sphere" else values[own[:, None], at].to(dtype)
                kth_cosines = kth_cosine_about(base, offsets, signs, bank, valid, self.k, cosines)
                kept = self._kept(kth_cosines)
                chosen = _vectors(offsets[:, None].expand(-1, len(some), -1, -1), kept)
                place = (part[:, None], some)
                made.values[place] = base[:, :, None] + chosen * signs[:, None, None]
                made.distance[place] = _squared(kth_cosines.gather(2, kept))
                made.rejected[place] = _squared(kth_cosines).scatter(2, kept, 0).sum(2)
        if self.space == "sphere":
            normalize(made.values, dim=3, out=made.values)
        return made

    def _chunk(self, size: int, dim: int, bytes_each: int) -> int:
        """How many classes fit into half of the budget; cosines have the rest."""
        most = max((size + self.candidates) * dim, size**2)
        return max(1, self.budget // 2 // bytes_each // most)

    def _kept(self, near: Tensor) -> Tensor:
        """Which candidates [C, P, m] to keep, given their cosines [C, P, L]."""
        if self.selection == "distance":
            return select(near, self.keep, self.reference_quirks)
        # A point's candidates differ by chance alone, so the first are as good as any.
        return torch.arange(self.keep, device=near.device).expand(*near.shape[:2], -1)

    def fit(
        self,
        features: Tensor,
        labels: Tensor,
        classes: Sequence[str] | None = None,
        size: int | None = None,
    ) -> Self:
        """Hold features to make outliers of with `sample`.

        Arguments:
            features: [N, D].
            labels: [N].
            classes: Names; numbers unless given.
            size: The most features to hold of a class, the last ones; all unless given.

        Raises:
            OutskirtsError: If no class has enough features, or one is zero or not finite.
        """
        bank = FeatureBank.of(features, labels, classes, size)
        most = int(bank.filled.max())
        if most < self.needed:
            raise OutskirtsError(
                f"No class has enough features: '{bank.classes[int(bank.filled.argmax())]}', the largest, has {most}, "
                f"and k = {self.k} with boundary = {self.boundary} needs {self.needed}; choose a k of at most "
                f"{max(1, most - 1)} and a boundary of at most {most}."
            )
        self.bank = bank
        return self

    def sample(self, n: int, generator: Generator) -> Outliers:
        """`n` outliers of the features held, as many of each class that has enough of them.

        They are drawn from those of as many calls as it takes; the scalars of the info are means over the calls,
        and ``boundary`` is the row of the features given to `fit`.

        Raises:
            OutskirtsError: If nothing was fitted.
        """
        if self.bank is None:
            raise OutskirtsError("There are no features to make outliers of; call fit first.")
        values, filled, rows, _ = self.bank
        calls = [self(values, filled, generator)]
        while sum(map(len, calls)) < n:
            calls.append(self(values, filled, generator))
        labels = torch.cat([made.labels for made in calls])
        chosen = evenly(labels, len(values), n, generator)
        info = {
            key: torch.stack([made.info[key] for made in calls]).mean(0)
            if value.ndim == 0
            else torch.cat([made.info[key] for made in calls])[chosen]
            for key, value in calls[0].info.items()
        }
        labels = labels[chosen]
        info["boundary"] = rows[labels, info["boundary"]]
        return Outliers(torch.cat([made.values for made in calls])[chosen], labels, info)
