"""What is asked of an evaluation: a run, the sets it is measured on, and the detectors, all of it checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ..data.imageset import ImageSet
from ..detectors import Detector, Probe
from ..errors import OutskirtsError
from ..extraction.forward import PassOptions
from ..methods import Method
from ..models.classifier import Classifier
from ..training.run import Run
from .evaluate import choose_detectors, require_any
from .results import ID
from .separation import seen_in_training, shared_images
from .set_groups import SHIFTED
from .subject import Subject

__all__ = ["Task", "by_name", "open_task"]


@dataclass(frozen=True)
class Task:
    """A run and what it is measured on, open and checked.

    Arguments:
        subject: The classifier and its own images.
        method: What it was trained by; None where it was trained elsewhere.
        sets: ID test images and OOD sets, by name.
        groups: The group of each OOD set, by name.
        detectors: By label, those that the network can serve.
        unfit: By label, why others cannot be computed.
        notes: What a reader of the results should know; more may be added.
    """

    subject: Subject
    method: Method[Any] | None
    sets: Mapping[str, ImageSet]
    groups: Mapping[str, str]
    detectors: Mapping[str, Detector]
    unfit: Mapping[str, str]
    notes: list[str]

    @property
    def probes(self) -> list[Probe]:
        """What the detectors take besides features and logits, each once."""
        return list({probe.key: probe for one in self.detectors.values() for probe in one.probes}.values())

    @property
    def run(self) -> Run:
        """Folder of the results."""
        return self.subject.run

    @property
    def classifier(self) -> Classifier:
        """The classifier that is measured."""
        return self.subject.classifier

    @property
    def train(self) -> ImageSet:
        """Training images."""
        return self.subject.train

    @property
    def val(self) -> ImageSet:
        """Validation images."""
        return self.subject.val

    @property
    def fills_queue(self) -> bool:
        """Whether the method makes outliers of features of training images, which it then is given again."""
        recipe = self.subject.recipe
        return self.method is not None and recipe is not None and self.method.queue_size > 0 < recipe.training.epochs


def open_task(
    subject: Subject,
    test: ImageSet,
    ood: Mapping[str, Mapping[str, ImageSet]],
    detectors: Literal["all"] | Iterable[str | Detector | Mapping[str, Any]],
    options: PassOptions,
) -> Task:
    """Check that a classifier can be measured so.

    Arguments:
        subject: The classifier and its own images.
        test: ID test images, of the run's classes.
        ood: OOD sets by group and name.
        detectors: ``"all"``, or names, mappings such as ``{"name": "knn", "k": 10}`` and detectors. Those that the
            network cannot serve are left out, and `Task.unfit` says why.
        options: How images will go through the network.

    Raises:
        OutskirtsError: If a set is empty, shares images with ID sets or has been seen in the training; or if the
            network can serve no detector.
    """
    classifier, run = subject.classifier, subject.run
    chosen = choose_detectors(detectors, subject.published)
    sets = by_name(test, ood, classifier.classes)
    notes = shared_images(sets, subject.train, subject.val, options.skip_corrupt)
    notes += seen_in_training(run, sets, subject.val)
    unfit = _unserved(chosen, classifier, options.device) if test.pictures else {}
    able = {label: one for label, one in chosen.items() if label not in unfit}
    require_any(able, unfit)
    return Task(
        subject,
        subject.method,
        sets,
        groups={name: group for group, members in ood.items() for name in members},
        detectors=able,
        unfit=unfit,
        notes=notes,
    )


def by_name(test: ImageSet, ood: Mapping[str, Mapping[str, ImageSet]], classes: Sequence[str]) -> dict[str, ImageSet]:
    """ID test images and OOD sets by name, those that hold ID images with the labels of a classifier.

    Arguments:
        test: ID test images.
        ood: OOD sets by group and name.
        classes: The classes, in the order of the labels.

    Raises:
        OutskirtsError: If ID images have other classes.
    """
    sets = {ID: test.align(classes)}
    for group, members in ood.items():
        sets |= {name: images.align(classes) if group == SHIFTED else images for name, images in members.items()}
    return sets


def _unserved(chosen: Mapping[str, Detector], classifier: Classifier, device: torch.device | str) -> dict[str, str]:
    """Why detectors cannot be computed, by label: they ask more of the network than an image of nothing gives."""
    transform = classifier.transform
    nothing = torch.zeros(1, transform.channels, transform.size, transform.size, device=device)
    classifier = classifier.to(device).eval()
    reasons = {}
    for label, detector in chosen.items():
        try:
            for probe in detector.probes:
                probe(classifier, nothing)
        except OutskirtsError as error:
            reasons[label] = f"cannot be computed: {f'{error}'.removesuffix('.')}"
    return reasons
