"""How well a classifier does on the validation images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import cross_entropy

from .. import grouped
from ..devices import sent, there
from ..models.classifier import Classifier
from .concerns import Validated

__all__ = ["accuracy"]


def accuracy(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    engine: Accelerator,
    share: float,
    warn: Callable[[float, Validated], str] = lambda share, found: "",
) -> dict[str, Any]:
    """Accuracy and cross-entropy on images that are in memory, and a ``warning`` if there is one.

    Arguments:
        classifier: The classifier, in evaluation mode.
        images: Images, uint8 [N, C, H, W].
        labels: Classes of the images, [N].
        engine: Precision and device.
        share: Share of the training that is done.
        warn: Told the share and what was counted; returns what to say of it.
    """
    classes = len(classifier.classes)
    losses, predictions = [], []
    with torch.no_grad(), engine.autocast():
        for block, target in zip(images.split(500), labels.split(500)):
            block, target = sent(block, engine.device), there(target, engine.device)
            x = classifier.transform.device(block).contiguous(memory_format=torch.channels_last)
            logits = classifier(x).float()
            predicted = logits.argmax(1)
            losses.append(cross_entropy(logits, target, reduction="sum"))
            predictions.append(predicted)
    predicted, labels = torch.cat(predictions).cpu(), labels.cpu()
    loss = float(torch.stack(losses).cpu().double().sum()) / len(labels)
    shown, right, said = (grouped.counts(of, classes) for of in (labels, labels[predicted == labels], predicted))
    warning = warn(share, Validated(loss, shown, right, said))
    return {"accuracy": int(right.sum()) / len(labels), "loss": loss, **({"warning": warning} if warning else {})}
