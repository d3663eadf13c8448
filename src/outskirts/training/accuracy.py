"""How well a classifier does on the validation images."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..devices import sent, there
from ..models.classifier import Classifier

__all__ = ["accuracy"]


def accuracy(classifier: Classifier, images: Tensor, labels: Tensor, engine: Accelerator) -> dict[str, float]:
    """Accuracy and cross-entropy on images that are in memory, uint8 [N, C, H, W]."""
    sums = []
    with torch.no_grad(), engine.autocast():
        for block, target in zip(images.split(500), labels.split(500)):
            block, target = sent(block, engine.device), there(target, engine.device)
            x = classifier.transform.device(block).contiguous(memory_format=torch.channels_last)
            logits = classifier(x).float()
            correct = (logits.argmax(1) == target).sum()
            sums.append(torch.stack([correct.float(), cross_entropy(logits, target, reduction="sum")]))
    correct, loss = torch.stack(sums).cpu().double().sum(0).tolist()
    return {"accuracy": correct / len(labels), "loss": loss / len(labels)}
