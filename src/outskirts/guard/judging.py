"""Verdicts on the outputs of a guard's classifier, and on images a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from ..data.imageset import ImageSet
from ..errors import OutskirtsError
from ..extraction.forward import PassOptions
from ..extraction.outputs import Outputs
from ..extraction.stream import stream
from .parts import Parts
from .verdicts import Verdicts

__all__ = ["judge", "judged", "require_top"]


def require_top(parts: Parts, top: int) -> None:
    """Raise unless a guard can give this many of the most probable classes of an image."""
    headless, classes = parts.classifier.headless, len(parts.classifier.classes)
    if not 1 <= top <= (1 if headless else classes):
        known = "This guard tells no probabilities of classes" if headless else f"This guard knows {classes} classes"
        most = "leave top as 1" if headless else f"top is a number from 1 to {classes}"
        raise OutskirtsError(f"{known}; {most}, and not {top}.")


def judge(parts: Parts, outputs: Outputs, files: Sequence[str], top: int = 1) -> Verdicts:
    """Verdicts on outputs of the classifier of a guard.

    Arguments:
        parts: The guard.
        outputs: Outputs of N images, with what the probes of the detector give.
        files: Names of the images.
        top: How many of the most probable classes are given.

    Raises:
        OutskirtsError: If there are not so many.
    """
    require_top(parts, top)
    with torch.inference_mode():
        # A score that is no number is one of an image that is not accepted.
        scores = parts.detector.score(outputs).cpu().double() if len(outputs) else torch.empty(0).double()
    shares = outputs.features.new_empty(len(outputs), 0)
    places = torch.empty(len(outputs), 0, dtype=torch.int64)
    predicted = None
    if outputs.logits is not None:
        shares, places = outputs.logits.float().softmax(1).topk(top)
        predicted = outputs.predicted
    return Verdicts(
        files,
        parts.classifier.classes,
        scores,
        parts.calibration.p_values(scores, predicted),
        parts.calibration.accepted(scores, predicted),
        shares,
        places,
    )


def judged(parts: Parts, images: ImageSet, options: PassOptions, top: int = 1) -> Iterator[tuple[Tensor, Verdicts]]:
    """Verdicts on images, a batch at a time, with the positions of its images [B].

    Arguments:
        parts: The guard.
        images: The images.
        options: How they go through the network.
        top: How many of the most probable classes are given.

    Raises:
        OutskirtsError: If there is no image.
    """
    if not len(images):
        raise OutskirtsError(f"There is no image to look at: {images.spec or 'the image set'} holds none.")
    with closing(stream(parts.classifier, images, parts.detector.probes, parts.features, options)) as batches:  # type: ignore[type-var]
        for places, outputs in batches:
            yield places, judge(parts, outputs, [images.name(place) for place in places.tolist()], top)
