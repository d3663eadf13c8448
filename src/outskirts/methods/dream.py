r"""Dream-OOD's first stage: features that lie where the words of their classes lie.

A linear map takes features to the space of a diffusion model's token vectors; logits are cosines with the classes' own
vectors, which stay as they are, over a temperature:

.. math:: L = \mathrm{CE}(\cos(W h, a_c) / T, y)

About features so aligned, outliers can be made that the diffusion model turns into images: ``outskirts synthesize
dream``, and then ``outskirts train ncis``. This classifier itself is not what is deployed.

References:
    | Dream the Impossible: Outlier Imagination with Diffusion Models (Du et al., 2023)
    | https://arxiv.org/abs/2309.13415
    | https://github.com/deeplearning-wisc/dream-ood
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..bounds import Count, Positive, Share
from ..data.loading.batches import Batch
from ..errors import MissingExtra, OutskirtsError
from ..models.heads import PrototypeHead
from ..texts import CommaSeparated
from .averages import classification
from .base import Config, Method, register

__all__ = ["Dream", "DreamConfig"]


@dataclass(frozen=True)
class DreamConfig(Config):
    """Features aligned with token vectors."""

    anchors: str | None = None
    """Folder of the diffusion model whose token vectors the features are aligned with: POOL/generator, or a Stable
    Diffusion. Required."""
    words: CommaSeparated | None = None
    """Class names to use in texts, separated by commas, in the order of the classes. Default: the class names."""
    embedding: Count = 128
    """Dimension of the token vectors, at least 1: 768 for Stable Diffusion 1; 64, 128 or 256 for a generator of
    size tiny, small or base."""
    temperature: Positive = 0.1
    """Temperature τ that divides the cosines, above 0."""
    label_smoothing: Share = 0.0
    """Label smoothing: probability spread evenly over all classes in the target, from 0 to 1."""

    def require_complete(self) -> None:
        if not self.anchors:
            raise OutskirtsError(
                "The method 'dream' aligns features with the class vectors of a diffusion model; pass its folder "
                "as --anchors DIR."
            )


_RECIPE = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4, "warmup": 0.0, "embedding": 768}
_SCRATCH = {"backbone": "resnet34-cifar", "augment": "flip,crop:4", "batch_size": 256}
_LARGE = {"backbone": "torchvision:resnet34", "size": 224, "augment": "resized-crop,flip", "batch_size": 160}


@register("dream")
class Dream(Method[DreamConfig]):
    """Cross-entropy of cosines with the token vectors of the classes."""

    Config = DreamConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar100": {**_SCRATCH, **_RECIPE, "epochs": 200},
        "imagenet100": {**_LARGE, **_RECIPE, "epochs": 100},
    }

    @classmethod
    def head(cls, config: DreamConfig, dim: int, classes: int) -> nn.Module:
        """Prototypes that `setup` takes from the diffusion model."""
        return PrototypeHead(nn.Linear(dim, config.embedding), classes, config.embedding, config.temperature)

    @torch.no_grad()
    def setup(self) -> None:
        """Put each prototype at the token vector of its class."""
        assert self.config.anchors is not None
        try:
            from ..models.diffusion.load_model import load_model
        except ImportError as error:
            raise MissingExtra("The method 'dream'", "generate") from error
        model = load_model(Path(self.config.anchors), self.classifier.classes, self.config.words)
        vectors = model.prompts.starts(torch.arange(len(self.classifier.classes)))
        if vectors.shape[1] != self.config.embedding:
            raise OutskirtsError(
                f"The vectors of {self.config.anchors} have {vectors.shape[1]} dimensions, not "
                f"{self.config.embedding}; pass --embedding {vectors.shape[1]}."
            )
        assert isinstance(self.classifier.head, PrototypeHead)
        self.classifier.head.prototypes.copy_(normalize(vectors, dim=1))

    def step(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.classifier(batch.images)
        return {"loss": classification(logits, batch.labels, batch.weights, self.config.label_smoothing)}
