"""Guards of small networks, made without training."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from outskirts.data.transform import Transform
from outskirts.detectors.base import create
from outskirts.extraction.forward import PassOptions
from outskirts.extraction.outputs import Outputs
from outskirts.extraction.stream import stream
from outskirts.guard.calibration import Calibration
from outskirts.guard.export.verifying import noise
from outskirts.guard.guard import Guard
from outskirts.models.classifier import Backbone, Classifier
from outskirts.models.heads import LinearHead
from outskirts.seeding import isolated

CLASSES = ["ant", "honey bee", "fly"]
TRANSFORM = Transform(16, 3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), resize=18)


def small_classifier(head=None, transform=TRANSFORM):
    """A convolution with normalisation, pooled to 32 features, and a head."""
    with isolated(0, "small"):
        network = nn.Sequential(
            nn.Conv2d(transform.channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )  # fmt: skip
        head = LinearHead(nn.Linear(32, 3)) if head is None else head
    return Classifier(Backbone(network, 32, "small"), head, transform, CLASSES).eval()


def guarded(classifier, detector="energy", per_class=False, features="head", acceptance=0.8):
    """A guard that is fitted and calibrated on pictures of noise."""
    with isolated(1, "small"):
        images = noise(classifier.transform)
        made = create(detector)
        batches = stream(classifier, images, made.probes, features, PassOptions())
        (outputs,) = [outputs for _, outputs in batches]
        # A few pictures, moved a little, are many.
        many = torch.arange(60) % len(outputs)

        def moved(rows):
            return rows[many] * (1 + 0.1 * torch.randn(60, *rows.shape[1:]))

        logits = None if outputs.logits is None else moved(outputs.logits)
        extra = {key: moved(rows) for key, rows in outputs.extra.items()}
        outputs = Outputs(moved(outputs.features), logits, torch.arange(60) % 3, outputs.head, extra)
        made.fit(outputs)
        scores = made.score(outputs)
        calibration = Calibration.of(scores.repeat(2), acceptance)
        if per_class:
            calibration = Calibration.per_class(scores, torch.arange(60) % 3, classifier.classes, acceptance)
    return Guard(classifier, made, calibration, features)


@pytest.fixture
def guard() -> Callable[..., Guard]:
    return lambda detector="energy", head=None, transform=TRANSFORM, **named: guarded(
        small_classifier(head, transform), detector, **named
    )
