r"""NPOS on CLIP: fine-tune the last blocks of the image tower against outliers at the boundary of each class.

Classes are the text embeddings of their names, which stay as they are; the logits of an image are its cosines to them
over a temperature. Beside them a small network φ learns to tell embeddings of images from outliers made of the latest
embeddings of each class (`BoundarySynthesizer`):

.. math::
    L = L_\mathrm{ID} + \beta \, \big( \mathrm{E}_x \log(1 + e^{-\phi(x)}) + \mathrm{E}_v \log(1 + e^{\phi(v)}) \big)

Outliers are constants, so that the network learns from φ of the images alone. The published score is not φ but the
softmax probability of the nearest class, the detector ``mcm``; φ is the detector ``ood_head``. With no training at all,
``epochs=0`` or the preset ``zero-shot``, that is MCM.

The patches' embedding and the first blocks are frozen (``clip:DIR?frozen=N``). What they say of the images can be
computed once, ``outskirts data extract``, and trained from as ``tokens:DIR``. The scripts for that which the published
code comes with cannot run: they pass images to what expects tokens, and make none of the OOD sets.

Where the published code and the paper differ, or the code has a defect:

* The code divides embeddings by the norm of all of a batch at once, by which scores depend on the batch. Here each has
  its own norm; ``reference_quirks`` divides as published.
* Its ID loss is LogitNorm at t = 8, where the loss can fall by no more than 3 % (100 classes); the default here is
  cross-entropy at the temperature at which CLIP ended its own training, 1/100.
* Outliers as in `outskirts.methods.npos`: the published selection is one by chance, and images hardly count in the
  average with them.
* The code trains weights in half precision without scaling the loss; here they are in full precision.
* The published learning rate rises tenfold after epoch 60; here it falls by a cosine.

The presets ``imagenet100`` and ``imagenet1k`` are the published settings on the unit sphere, where σ = 0.01 is what
0.1 is among embeddings of length 10. They have not been run on those images.

References:
    | Non-Parametric Outlier Synthesis (Tao et al., 2023)
    | https://arxiv.org/abs/2303.02966
    | https://github.com/deeplearning-wisc/npos
    |
    | Delving into Out-of-Distribution Detection with Vision-Language Representations (Ming et al., 2022)
    | https://arxiv.org/abs/2211.13445
    |
    | Mitigating Neural Network Overconfidence with Logit Normalization (Wei et al., 2022)
    | https://arxiv.org/abs/2205.09310
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..bounds import NonNegative, Positive
from ..data.loading.batches import Batch
from ..errors import OutskirtsError
from ..models.classifier import Classifier
from ..models.clip import PREFIX, ClipTower, clip_folder, prompts, text_prototypes
from ..models.heads import PrototypeHead
from ..models.ood_head import FeatureOODHead
from .averages import classification
from .base import register
from .logitnorm import logit_norm
from .options import OODHeadOptions, scalars
from .queued import Queued

__all__ = ["NPOSCLIP", "NPOSCLIPConfig"]


@dataclass(frozen=True)
class NPOSCLIPConfig(OODHeadOptions):
    """NPOS on CLIP."""

    templates: str = "ensemble"
    """Text templates of a class: ensemble (18 of them), photo (1), or your own with {} for the class name, separated by
    |."""
    id_loss: Literal["ce", "logitnorm"] = "ce"
    """Loss on images: cross-entropy of the logits (ce), or of logits scaled to one norm, as published (logitnorm)."""
    temperature: Positive = 0.01
    """Temperature τ that divides the cosines in the logits, above 0."""
    logitnorm_temperature: Positive = 8.0
    """Temperature of logitnorm, above 0; the norm of the logits is 1 divided by it."""
    ood_head_lr_factor: NonNegative = 0.1
    """Learning rate of the network φ as a multiple of that of the rest, at least 0; 1 is the same rate."""
    reference_quirks: bool = False
    """Divide by the norm of the batch, make outliers and average exactly as the published code does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        prompts([], self.templates)


class _BatchNormHead(PrototypeHead):
    """As published: features over the Frobenius norm of the batch, so that a row's logits depend on all rows."""

    def project(self, features: Tensor) -> Tensor:
        features = features.float()
        return features / features.norm()


_RECIPE = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 1e-4, "warmup": 0.0, "augment": "none"}
_PUBLISHED = {
    **{"queue": 1000, "k": 400, "boundary": 300, "candidates": 1500, "keep": 2, "sigma": 0.01},
    **{"id_loss": "logitnorm", **_RECIPE},
}


@register("npos-clip")
class NPOSCLIP(Queued[NPOSCLIPConfig]):
    """CLIP's last blocks trained on class names, and a network that tells images from outliers at their boundary."""

    Config = NPOSCLIPConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "imagenet100": {"picks": 3, "start": 0.5, "epochs": 20, "batch_size": 800, **_PUBLISHED},
        "imagenet1k": {"picks": 1, "start": 0.4, "epochs": 100, "batch_size": 1000, **_PUBLISHED},
        "quick": {
            **{"queue": 100, "k": 10, "boundary": 20, "picks": 5, "candidates": 200, "keep": 4, "start": 0.2},
            **{"epochs": 5, "batch_size": 64, **_RECIPE, "lr": 0.01, "warmup": 0.1},
        },
        "zero-shot": {"epochs": 0, "templates": "photo", "augment": "none"},
    }

    def __init__(self, config: NPOSCLIPConfig, classifier: Classifier) -> None:
        super().__init__(config, classifier)
        self.synthesizer = config.boundary_synthesizer(config.reference_quirks)

    @classmethod
    def head(cls, config: NPOSCLIPConfig, dim: int, classes: int) -> nn.Module:
        """Prototypes that `setup` takes from the text tower."""
        kind = _BatchNormHead if config.reference_quirks else PrototypeHead
        return kind(nn.Identity(), classes, dim, config.temperature, ood_head=FeatureOODHead(dim, 32))

    @classmethod
    def detectors(cls, config: NPOSCLIPConfig) -> Sequence[Mapping[str, Any]]:
        return ({"name": "mcm", "temperature": 1.0},)

    @property
    def prototypes(self) -> PrototypeHead:
        """The classifier's head."""
        assert isinstance(self.classifier.head, PrototypeHead)
        return self.classifier.head

    @classmethod
    def require_backbone(cls, name: str) -> None:
        if not name.startswith(PREFIX):
            raise OutskirtsError(f"The method '{cls.name}' trains CLIP models; pass --backbone {PREFIX}DIR.")
        clip_folder(name)

    @torch.no_grad()
    def setup(self) -> None:
        """Put each prototype at the text embedding of its class name."""
        tower = self.classifier.backbone
        if not isinstance(tower, ClipTower):
            raise OutskirtsError(f"The method '{self.name}' trains CLIP models; pass --backbone {PREFIX}DIR.")
        texts = text_prototypes(tower.folder, self.classifier.classes, self.config.templates)
        self.prototypes.prototypes.copy_(texts)

    def lr_factor(self, parameter: str) -> float:
        return self.config.ood_head_lr_factor if parameter.startswith("classifier.head.ood_head.") else 1.0

    def step(self, batch: Batch) -> dict[str, Tensor]:
        features = self.classifier.features(batch.images)
        logits = self.classifier.head(features)
        self.remember(features, batch)
        outliers = self.synthesized(batch)
        if self.config.id_loss == "logitnorm":
            logits = logit_norm(logits, self.config.logitnorm_temperature)
        loss_id = classification(logits, batch.labels, batch.weights)
        loss_outlier, accuracy = self.config.ood_loss(
            self.prototypes.ood_head, features, outliers.values, batch.weights
        )
        return {
            "loss": loss_id + self.config.outlier_weight * loss_outlier,
            "loss_id": loss_id.detach(),
            "loss_outlier": loss_outlier.detach(),
            "outlier_accuracy": accuracy,
            **scalars(outliers),
        }
