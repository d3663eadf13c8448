"""Training only parts of a backbone."""

from __future__ import annotations

from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import unknown
from ..methods import Method
from ..models.classifier import Classifier
from ..texts import comma_separated
from ..trainable import Trainable
from .config import TrainConfig

__all__ = ["freeze", "training"]


def freeze(classifier: Classifier, layers: str | None) -> None:
    """Keep the gradient from all parameters of the backbone but those of some layers.

    Arguments:
        classifier: Changed in place.
        layers: Dotted names of parts of the backbone, comma-separated; nothing is frozen if None.

    Raises:
        OutskirtsError: If there is no part of such a name.
    """
    names = comma_separated(layers)
    parts = dict(classifier.backbone.named_modules())
    for name in names:
        if name not in parts:
            raise unknown("layer of the backbone", name, [part for part in parts if part])
    if names:
        for parameter in classifier.backbone.parameters():
            parameter.requires_grad_(False)
        for name in names:
            parts[name].requires_grad_(True)


def training(method: Trainable, config: TrainConfig) -> None:
    """Put a method in training mode, but for the normalisation of frozen layers where it is to stay fixed.

    The published code of CIDER freezes parameters only, so that the running statistics of the frozen layers drift
    away from what the weights after them were trained with; ``frozen_batchnorm="tracking"`` does that.
    """
    method.train()
    names = tuple(f"{name}." for name in comma_separated(config.train_layers))
    if names and config.frozen_batchnorm == "fixed" and isinstance(method, Method):
        for name, part in method.classifier.backbone.named_modules():
            if isinstance(part, _BatchNorm) and not f"{name}.".startswith(names):
                part.eval()
