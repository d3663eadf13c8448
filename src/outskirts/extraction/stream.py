"""The outputs of an image set, a batch at a time, for sets of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from ..data.imageset import ImageSet
from ..devices import repeatable
from ..models.classifier import Classifier
from ..models.heads import Space
from .forward import PASS, PassOptions, forward
from .outputs import Outputs
from .outputs_of import outputs_of
from .probes import FeatureProbe, Probe
from .transfer import to_host

__all__ = ["stream"]


def stream(
    classifier: Classifier, image_set: ImageSet, probes: Sequence[Probe], features: Space, options: PassOptions
) -> Iterator[tuple[Tensor, Outputs]]:
    """What `extract` gives, but for the labels, a batch at a time; nothing is kept.

    Who looks at images of any kind asks nothing of their labels, which may be of other classes.

    Arguments:
        classifier: Is put in evaluation mode.
        image_set: Images.
        probes: What else detectors need.
        features: Features that detectors see, as of `extract`.
        options: How images go through the network.

    Yields:
        The positions of the images in the set, int64 [B], and their outputs.
    """
    device = torch.device(options.device)
    classifier = classifier.to(device).eval()
    through_head = [probe.key for probe in probes if isinstance(probe, FeatureProbe)]
    with repeatable(), closing(forward(classifier, image_set, probes, {PASS}, options)) as passes:
        for places, tables in to_host(passes, device):
            values = {name: column for name, column in tables.pop(PASS).items() if name != "labels"}
            given = {key: columns["values"] for key, columns in tables.items()}
            yield places, outputs_of(classifier, values, given, through_head, features, device)
