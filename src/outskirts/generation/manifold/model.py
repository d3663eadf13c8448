"""The manifolds that classes lie on, as the zeros of some coordinates of a learned volume-preserving map.

`outskirts.generation.manifold.fitting.fit_manifold` fits one.

References:
    | Non-Linear Outlier Synthesis for Out-of-Distribution Detection (Doorenbos et al., 2024)
    | https://arxiv.org/abs/2411.13619
    |
    | Learning Non-Linear Invariants for Unsupervised Out-of-Distribution Detection (Doorenbos et al., 2024)
    | https://github.com/LarsDoorenbos/Nonlinear-invariants
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...arguments import check_arguments, require_positive
from ...errors import OutskirtsError
from ...files import digest, file_digest, load_json, load_tensors, save_json, save_tensors
from ...models.volume_preserving import Rotation, VolumePreserving
from ...renamed import unset_as_before, unset_as_now
from ...seeding import isolated

__all__ = ["Manifold", "ManifoldOptions", "fingerprint"]

#: The first format has no fresh embeddings.
_FORMAT, _READABLE = 2, (1, 2)
#: Vectors in the network at once.
_BLOCK = 8192


@check_arguments
@dataclass(frozen=True)
class ManifoldOptions:
    """How a manifold is fitted.

    Raises:
        OutskirtsError: If one is out of range.
    """

    blocks: int = 4
    """Number of coupling blocks in the volume-preserving network."""
    hidden: int | None = None
    """Width of the coupling blocks. Default: four times the half of the embeddings' dimensions."""
    rotation: Rotation = "cayley"
    """How rotations are parametrised: cayley, expm, or fixed to leave them as drawn."""
    variance: float = 0.05
    """Share of a class's variance that the invariants may carry before the network is fitted; decides their number."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    batch_size: int = 512
    """Embeddings per step."""
    epochs: int = 200
    """Largest number of epochs."""
    patience: int = 10
    """Stop after so many epochs without a lower loss on held-out embeddings."""
    holdout: float = 0.1
    """Share of each class's embeddings that are held out, at least one. As large a share of the others is fresh."""
    seed: int = 0
    """Seed of the split, the initial weights and the order of the embeddings."""
    device: str = "cpu"
    """Where to fit: auto, cpu or cuda."""
    reference_quirks: bool = False
    """Fit as the published code does; see `outskirts.generation.manifold.fitting`."""

    def __post_init__(self) -> None:
        require_positive(**{name: getattr(self, name) for name in ("batch_size", "epochs", "patience")})
        for name in ("variance", "holdout"):
            if not 0 < getattr(self, name) < 1:
                raise OutskirtsError(f"{name} must be a share between 0 and 1, not {getattr(self, name)}.")
        if not 0 < self.lr < float("inf"):
            raise OutskirtsError(f"lr must be positive and finite, not {self.lr}.")

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The published hyper-parameters and the published code's behaviour, but for the given changes."""
        return cls(**{"lr": 1e-4, "batch_size": 64, "epochs": 200, "reference_quirks": True, **changes})


def fingerprint(embeddings: Tensor, labels: Tensor) -> str:
    """A hash of embeddings [N, D], in single precision, and labels [N]."""
    return digest(embeddings.float(), labels.long())


class Manifold(nn.Module):
    """A map of embeddings and labels to coordinates, the last of which are near zero on a class's manifold.

    Embeddings are centred and divided by one number, which changes their density by a constant factor, and mapped by a
    `VolumePreserving` network, which does not change it.

    Arguments:
        dim: D.
        classes: Names of the C.
        invariants: m, how many of the last coordinates.
        rows: N, how many embeddings it is fitted to and judged by.
        options: How the manifold is fitted.

    Attributes:
        held_out: Which rows the network was not fitted to. They end the fit and calibrate distances, bool [N].
        fresh: Which rows had no part in either, so that a claim can be tested on them, bool [N]. A fit of an earlier
            version has none.
        report: What the fit came to.
        fingerprint: A hash of the embeddings and labels.
    """

    mean: Tensor
    scale: Tensor
    held_out: Tensor
    fresh: Tensor

    def __init__(
        self, dim: int, classes: Sequence[str], invariants: int, rows: int, options: ManifoldOptions | None = None
    ) -> None:
        super().__init__()
        self.options = options or ManifoldOptions()
        self.classes, self.invariants = list(classes), invariants
        self.report: dict[str, Any] = {}
        self.fingerprint = ""
        self.network = VolumePreserving(
            dim,
            len(classes),
            self.options.blocks,
            self.options.hidden,
            self.options.rotation,
            self.options.reference_quirks,
        )
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("held_out", torch.zeros(rows, dtype=torch.bool))
        self.register_buffer("fresh", torch.zeros(rows, dtype=torch.bool))

    @property
    def fitted_to(self) -> Tensor:
        """Which rows the network was fitted to, bool [N]."""
        return ~(self.held_out | self.fresh)

    def standardized(self, embeddings: Tensor) -> Tensor:
        """Embeddings [N, D] as the network sees them."""
        return (embeddings.to(self.mean) - self.mean) / self.scale

    @torch.no_grad()
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Coordinates [N, D] of embeddings [N, D] with labels [N]; no gradient."""
        return self._mapped(self.network.pinned(), self.standardized(embeddings), labels)

    @torch.no_grad()
    def inverse(self, coordinates: Tensor, labels: Tensor) -> Tensor:
        """The embeddings [N, D] that have these coordinates [N, D]; no gradient."""
        standardized = self._mapped(self.network.pinned().inverse, coordinates.to(self.mean), labels)
        return standardized * self.scale + self.mean

    def _mapped(self, function: Callable[[Tensor, Tensor], Tensor], values: Tensor, labels: Tensor) -> Tensor:
        blocks = zip(values.split(_BLOCK), labels.split(_BLOCK))
        return torch.cat([function(rows, of) for rows, of in blocks])

    # On disk

    def save(self, folder: Path | str) -> None:
        """Write ``manifold.safetensors`` and, last, ``manifold.json``."""
        weights = Path(folder) / "manifold.safetensors"
        save_tensors(weights, self.state_dict())
        about = {
            "content": "manifold",
            "format": _FORMAT,
            "dim": self.network.dim,
            "classes": self.classes,
            "invariants": self.invariants,
            "rows": len(self.held_out),
            "options": unset_as_before(asdict(self.options)),
            "fingerprint": self.fingerprint,
            "report": self.report,
            "weights": file_digest(weights),
        }
        save_json(Path(folder) / "manifold.json", about)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what `save` wrote, to the CPU; a missing, damaged or foreign file is an error."""
        path, weights = Path(folder) / "manifold.json", Path(folder) / "manifold.safetensors"
        about = load_json(path)
        if not isinstance(about, dict) or about.get("content") != "manifold":
            raise OutskirtsError(f"{path} is not the description of a manifold.")
        if about.get("format") not in _READABLE:
            raise OutskirtsError(
                f"{path} was written in format {about.get('format')} of manifolds; this version of outskirts reads "
                f"{' and '.join(map(str, _READABLE))}. Fit it again, or use the version that wrote it."
            )
        if file_digest(weights) != about["weights"]:
            raise OutskirtsError(f"{weights} is not the file that {path} describes; fit the manifold again.")
        options = ManifoldOptions(**unset_as_now(about["options"]))
        with isolated(0, "loading"):
            manifold = cls(about["dim"], about["classes"], about["invariants"], about["rows"], options)
        manifold.load_state_dict({"fresh": manifold.fresh, **load_tensors(weights)[0]})
        manifold.report, manifold.fingerprint = about["report"], about["fingerprint"]
        return manifold
