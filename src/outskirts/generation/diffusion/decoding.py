"""Images of token vectors that lie off their classes: the outliers of NCIS and Dream-OOD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from ... import grouped
from ...arguments import check_arguments
from ...errors import OutskirtsError
from ...models.diffusion.latent import LatentDiffusion, Sampler
from ...renamed import unset_as_before
from ...seeding import subseed
from ...synthesis.outliers import Outliers

__all__ = ["Decoder", "Decoding", "decoded"]


@check_arguments
@dataclass(frozen=True)
class Decoding:
    """How vectors become images.

    Arguments:
        network_evaluations: Network evaluations per image: one for each step, or two where guidance is not 1.
        guidance: Classifier-free guidance scale; 1 disables it.
        size: Side of the images; that of the model's own unless given.
        resize: How they are brought to another size. As detectors tell one from the other, ``both`` makes two images of
            each, smoothed and not, one after the other.
        precision: fp32 or bf16.
        sampler: How steps are taken: ``dpm``, or ``plms`` as published.
    """

    network_evaluations: int = 20
    guidance: float = 2.0
    size: int | None = None
    resize: Literal["both", "bilinear", "nearest"] = "both"
    precision: str = "fp32"
    sampler: Sampler = "dpm"

    def __post_init__(self) -> None:
        if self.network_evaluations < 1 or (self.size is not None and self.size < 1):
            raise OutskirtsError(
                f"network_evaluations and size must be at least 1, not {self.network_evaluations} and {self.size}."
            )
        if not self.guidance >= 0:
            raise OutskirtsError(f"guidance must not be negative, but is {self.guidance}.")


def decoded(model: LatentDiffusion, vectors: Tensor, seeds: Sequence[int], how: Decoding) -> Tensor:
    """Images of the model's own size, uint8 [n, C, S, S], of vectors [n, D], each from the noise of its own seed."""
    device = next(model.parameters()).device
    steps = max(1, how.network_evaluations // (1 if how.guidance == 1 else 2))
    with torch.autocast(device.type, torch.bfloat16, enabled=how.precision == "bf16"):
        images = model.sample(vectors.to(device), seeds, steps=steps, guidance=how.guidance, sampler=how.sampler)
    return ((images + 1) * 127.5).round().to(torch.uint8).cpu()


class Decoder:
    """Makes images of vectors, each from one of its own as long as there are enough, and from noise of its own.

    Arguments:
        model: A model on its device, in evaluation mode.
        vectors: Values [C·k, D] of C classes, as many of each.
        how: How vectors become images.
    """

    def __init__(self, model: LatentDiffusion, vectors: Outliers, how: Decoding) -> None:
        self.model, self.how = model, how
        counts = grouped.counts(vectors.labels, len(model.classes))
        if int(counts.min()) != int(counts.max()):
            raise OutskirtsError(
                f"The classes have from {int(counts.min())} to {int(counts.max())} vectors; all classes must "
                "have the same number."
            )
        rows, _ = grouped.table(vectors.labels, len(counts))
        self.vectors = vectors.values[rows]

    @property
    def side(self) -> int:
        """Side of the images, in pixels."""
        return self.model.side if self.how.size is None else self.how.size

    @property
    def both(self) -> bool:
        """Whether two images are made of each, smoothed and not."""
        return self.how.resize == "both" and self.side != self.model.side

    def sample(self, labels: Tensor, numbers: Tensor, seed: int) -> Tensor:
        """Images, uint8 [n, C, S, S], as `outskirts.generation.generators.ImageGenerator.sample` makes them."""
        share = 2 if self.both else 1
        # Two sizes of one image are made at once.
        wanted, place = torch.stack([labels, numbers // share], 1).unique(dim=0, return_inverse=True)
        names = wanted.tolist()
        large = decoded(
            self.model,
            self.vectors[wanted[:, 0], wanted[:, 1] % self.vectors.shape[1]],
            [subseed(seed, "imagined", *which) for which in names],
            self.how,
        )[place]
        smooth = (numbers % share == 0) if self.both else torch.full_like(numbers, self.how.resize != "nearest").bool()
        if self.side == self.model.side:
            return large
        size = [self.side, self.side]
        bilinear, nearest = F.resize(large, size, antialias=True), F.resize(large, size, InterpolationMode.NEAREST)
        return torch.where(smooth[:, None, None, None], bilinear, nearest)

    def about(self) -> Mapping[str, Any]:
        """What a pool's manifest says of it."""
        how = dict(vars(self.how))
        # Pools of earlier versions do not name the only sampler that there was.
        if how["sampler"] == "dpm":
            del how["sampler"]
        return {"vectors": self.vectors.shape[1], **unset_as_before(how)}
