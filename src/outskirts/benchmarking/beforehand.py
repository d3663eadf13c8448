"""What is known before any training: whether the runs of a matrix could be measured at the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..data.benchmark import open_groups
from ..data.imageset import ImageSet
from ..data.transform import Transform
from ..detectors import Detector
from ..errors import OutskirtsError
from ..evaluation.evaluate import asked_for, choose_detectors, lacking
from ..evaluation.separation import require_apart, require_apart_from_validation, shared_images
from ..evaluation.task import by_name
from ..extraction.outputs import Outputs
from ..extraction.outputs_of import outputs_of
from ..extraction.probes import HeadProbe
from ..methods import registry
from ..models.classifier import Backbone, Classifier
from ..training.config import Recipe, resolve_recipe
from ..training.validation import with_validation
from .jobs import Job
from .run_job import finished, open_all, opened, training_images

__all__ = ["require_measurable"]

#: Any width and number of classes will do: what a head gives does not depend on them.
_DIM, _CLASSES = 64, 3


def require_measurable(jobs: Sequence[Job]) -> None:
    """Raise if the images or the detectors of a matrix are such that its runs would be refused once they are trained.

    Arguments:
        jobs: The runs; those that are finished were measured.

    Raises:
        OutskirtsError: As the evaluation of such a run would raise. Of image sets that cannot be opened here, and of
            what a training refuses, the runs will tell.
    """
    left = [job for job in jobs if not finished(job)]
    if not left:
        return
    # Seeds change no head.
    for job in {job.label: job for job in left}.values():
        _require_detectors(job)
    job = left[0]
    try:
        open_all(job)
        recipe = resolve_recipe(job.method, job.options)
        train, val = with_validation(*training_images(job), recipe.training)
    except OutskirtsError:
        return
    _require_images(job, train, val, recipe.training.skip_corrupt)


def _require_images(job: Job, train: ImageSet, val: ImageSet, skip_corrupt: bool) -> None:
    sets = by_name(opened(job.sets["test"]), open_groups(job.ood, opened), train.classes)
    shared_images(sets, train, val, skip_corrupt)
    others = {**sets, "train": train}
    if job.tune_on:
        require_apart(opened(job.tune_on), val, others, None)
    else:
        require_apart_from_validation(val, others)


def _require_detectors(job: Job) -> None:
    """Raise if the head that a method trains gives none of the detectors what they need."""
    recipe = resolve_recipe(job.method, job.options)
    detectors = choose_detectors(asked_for(job.detectors), registry[job.method].detectors(recipe.settings))
    outputs = _outputs_of_nothing(recipe, list(detectors.values()))
    reasons = {label: lacking(detector, outputs) for label, detector in detectors.items()}
    if all(reasons.values()):
        told = "; ".join(f"{label} {reason}" for label, reason in reasons.items())
        raise OutskirtsError(
            f"No detector can be computed of a classifier that is trained by '{job.method}': {told}. Choose other "
            "detectors, or leave out the method."
        )


def _outputs_of_nothing(recipe: Recipe, detectors: Sequence[Detector]) -> Outputs:
    """What detectors would see of one image, by a head that is not trained; passes of their own give a number."""
    with torch.random.fork_rng(devices=[]):
        head = registry[recipe.method].head(recipe.settings, _DIM, _CLASSES)
        classes = list(map(str, range(_CLASSES)))
        classifier = Classifier(Backbone(nn.Identity(), _DIM, recipe.method), head, Transform(size=8), classes).eval()
        features = torch.ones(1, _DIM)
        with torch.no_grad():
            values = {
                "features": features,
                "logits": classifier.head(features),
                "labels": torch.zeros(1, dtype=torch.long),
            }
        probes = [probe for one in detectors for probe in one.probes]
        given = {
            probe.key: torch.zeros(1)
            for probe in probes
            if not isinstance(probe, HeadProbe) or probe.given_by(classifier.head)
        }
        return outputs_of(classifier, values, given, (), "head", torch.device("cpu"))
