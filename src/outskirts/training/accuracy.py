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

__all__ = ["accuracy"]


def accuracy(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    engine: Accelerator,
    warn: Callable[[Tensor], str] = lambda missed: "",
) -> dict[str, Any]:
    """Accuracy and cross-entropy on images that are in memory, and a ``warning`` if there is one.

    Arguments:
        classifier: The classifier, in evaluation mode.
        images: Images, uint8 [N, C, H, W].
        labels: Classes of the images, [N].
        engine: Precision and device.
        warn: Told whether each class has images here but is never predicted, [C]; returns what to say of it.
    """
    classes = len(classifier.classes)
    sums, predictions = [], []
    with torch.no_grad(), engine.autocast():
        for block, target in zip(images.split(500), labels.split(500)):
            block, target = sent(block, engine.device), there(target, engine.device)
            x = classifier.transform.device(block).contiguous(memory_format=torch.channels_last)
            logits = classifier(x).float()
            predicted = logits.argmax(1)
            correct = (predicted == target).sum()
            sums.append(torch.stack([correct.float(), cross_entropy(logits, target, reduction="sum")]))
            predictions.append(grouped.counts(predicted, classes))
    correct, loss = torch.stack(sums).cpu().double().sum(0).tolist()
    never = torch.stack(predictions).sum(0).cpu() == 0
    warning = warn(never & (grouped.counts(labels.cpu(), classes) > 0))
    return {"accuracy": correct / len(labels), "loss": loss / len(labels), **({"warning": warning} if warning else {})}
