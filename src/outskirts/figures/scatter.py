"""A picture of features and the outliers made of them, in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn.functional import normalize

from .. import seeding
from ..errors import OutskirtsError
from ..synthesis.outliers import Outliers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plane"]

#: Of one picture: beyond ten, colours cannot be told apart, and beyond some hundreds, points.
_CLASSES, _POINTS = 10, 200

#: Principal components that discriminants are sought among, and letters of a name.
_DIMENSIONS, _NAME = 50, 24

#: Less than this is rounding.
_VARIES = 1e-12

# Told apart with every kind of colour vision (Petroff, 2021: https://arxiv.org/abs/2107.02270).
_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip


def plane(features: Tensor, labels: Tensor, outliers: Outliers, classes: Sequence[str], seed: int = 0) -> Figure:
    """Scatter features and outliers where their classes differ most.

    The plane is that of the two linear discriminants of the normalised features, or of their principal components
    where there are fewer than three classes or two features of a class. At most 10 classes, and 200 features and 200
    outliers of each, are drawn; classes with outliers come first.

    Arguments:
        features: [N, D].
        labels: Class of each, [N], int64.
        outliers: Outliers made of these features. If their info has ``boundary``, the rows of `features` that they were
            made of, these are ringed.
        classes: Names of all classes.
        seed: Seed of the choice of what is drawn.

    Raises:
        OutskirtsError: If there are fewer than three features, or outliers of other dimensions.
    """
    if features.ndim != 2 or len(features) < 3 or outliers.values.shape[1:] != features.shape[1:]:
        raise OutskirtsError(
            f"A plane takes three or more features [N, D] and outliers [M, D], not shapes {list(features.shape)} and "
            f"{list(outliers.values.shape)}."
        )
    generator = seeding.generator(seed, "plane")
    features, labels = normalize(features.detach().cpu().double(), dim=1), labels.cpu()
    values, made_of = normalize(outliers.values.detach().cpu().double(), dim=1), outliers.labels.cpu()
    chosen = _classes(labels, made_of, generator)
    crosses = torch.cat([_some(made_of == c, generator) for c in chosen])
    rings = outliers.info.get("boundary", labels.new_empty(len(outliers), 0)).cpu()[crosses].unique()
    points = {c: torch.cat([_some(labels == c, generator), rings[labels[rings] == c]]).unique() for c in chosen}
    shown = torch.cat(list(points.values()))
    axes, name = _axes(features[shown], labels[shown])
    return _drawing(
        [(classes[c], (features[rows] @ axes).numpy()) for c, rows in points.items()],
        (features[rings] @ axes).numpy(),
        (values[crosses] @ axes).numpy(),
        name,
    )


def _classes(labels: Tensor, made_of: Tensor, generator: Generator) -> list[int]:
    """At most ten classes that have features, those with outliers first."""
    present = labels.unique()
    shuffled = present[torch.randperm(len(present), generator=generator)]
    first = torch.isin(shuffled, made_of)
    return torch.cat([shuffled[first], shuffled[~first]])[:_CLASSES].sort().values.tolist()


def _some(mask: Tensor, generator: Generator) -> Tensor:
    """Positions where the mask is true, at most as many as are drawn."""
    positions = mask.nonzero().squeeze(1)
    return positions[torch.randperm(len(positions), generator=generator)[:_POINTS]]


def _axes(features: Tensor, labels: Tensor) -> tuple[Tensor, str]:
    """The directions of the plane, [D, 2], and what they are."""
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    if features.shape[1] == 1 or features.var(0).sum() < _VARIES:
        return torch.eye(features.shape[1], 2, dtype=features.dtype), "feature"
    # Discriminants of hundreds of dimensions tell any classes apart, even of noise.
    principal = PCA(min(_DIMENSIONS, *features.shape), random_state=0).fit(features.numpy())
    axes = torch.from_numpy(principal.components_.T.copy())
    reduced = features @ axes
    present, index, counts = labels.unique(return_inverse=True, return_counts=True)
    means = torch.stack([reduced[labels == c].mean(0) for c in present])
    varies = (reduced - means[index]).var(0).sum() > _VARIES
    if len(present) < 3 or counts.min() < 2 or not varies:
        return axes[:, :2], "principal component"
    # The fewer features there are, the less their covariance within classes can be relied on.
    dims = reduced.shape[1]
    shrinkage = dims / (dims + len(reduced) - len(means))
    discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage).fit(reduced.numpy(), labels.numpy())
    return axes @ torch.from_numpy(discriminant.scalings_[:, :2].copy()), "discriminant"


def _drawing(
    points: Sequence[tuple[str, NDArray[Any]]], rings: NDArray[Any], crosses: NDArray[Any], axis: str
) -> Figure:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from .style import INK, STYLE

    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 4.4), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        for color, (name, place) in zip(_COLORS, points):
            axes.scatter(place[:, 0], place[:, 1], s=12, color=color, linewidths=0, alpha=0.75, label=_short(name))
        if len(rings):
            x, y = rings.T
            axes.scatter(x, y, s=34, facecolors="none", edgecolors=INK, linewidths=0.9, label="boundary")
        axes.scatter(crosses[:, 0], crosses[:, 1], s=16, marker="x", color=INK, linewidths=0.8, label="outliers")
        axes.set(xticks=[], yticks=[], xlabel=f"first {axis}", ylabel=f"second {axis}")
        axes.set_aspect("equal", adjustable="datalim")
        figure.legend(loc="outside right upper", markerscale=1.4)
    return figure


def _short(name: str) -> str:
    name = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
    # Matplotlib leaves names that begin with an underscore out of the legend.
    return f" {name}" if name.startswith("_") else name
