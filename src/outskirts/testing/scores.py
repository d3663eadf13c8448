"""Whether a device gives a classifier's outputs, and detectors their scores, as the host does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..data.imageset import ImageSet
from ..detectors import Probe, registry
from ..errors import OutskirtsError
from ..evaluation.evaluate import Chosen, choose_detectors, fit_detectors, lacking, score_images
from ..evaluation.metrics import auroc
from ..extraction.extract import extract
from ..models.classifier import Classifier
from .device import TOLERANCES
from .expect import expect

__all__ = ["check_scores", "every_detector", "rank_difference"]

Precision = Literal["fp32", "bf16"]

#: Arguments with which a few images are enough.
_SMALL: Mapping[str, Mapping[str, Any]] = {
    "combination": {"detectors": ["energy", "knn:k=5"]},
    "knn": {"k": 5},
    "nnguide": {"k": 5},
    "residual": {"dim": 4},
    "vim": {"dim": 4},
}


def every_detector(run: Path) -> list[Mapping[str, Any]]:
    """All detectors, those that need arguments, or many images by default, with some.

    Arguments:
        run: Folder of the classifier's run; an ensemble is of it and itself.
    """
    given = {**_SMALL, "ensemble": {"runs": [str(run)]}}
    return [{"name": name, **given.get(name, {})} for name in registry.names()]


def _serves(classifier: Classifier, probe: Probe) -> bool:
    """Whether the network has what a probe asks of it."""
    transform = classifier.transform
    nothing = torch.zeros(1, transform.channels, transform.size, transform.size)
    try:
        probe(classifier.cpu(), nothing)
    except OutskirtsError:
        return False
    return True


def check_scores(
    classifier: Classifier,
    device: torch.device,
    images: ImageSet,
    others: ImageSet,
    precisions: Sequence[Precision] = ("fp32",),
    detectors: Chosen = "all",
) -> dict[str, Any]:
    """Check that a device gives a classifier's outputs, and all detectors their scores, as the host does.

    Arguments:
        classifier: A trained classifier, which gives the outputs.
        device: Device to compare with the host.
        images: Labelled images of its classes; one half fits the detectors, the other is scored.
        others: OOD images.
        precisions: Precisions on the device; the host computes once, in float32.
        detectors: Detectors to compare, in the forms that `outskirts.evaluate` takes; see `every_detector`.

    Returns:
        For each precision, the largest differences that `Tolerance` speaks of; how many ``detectors`` were compared,
        and which were ``left out``, with the reasons.

    Raises:
        AssertionError: A sentence that says what differs.
    """
    sets = {"train": images.part("0-50%"), "test": images.part("50-100%"), "others": others}
    expected = _scored(classifier, sets, torch.device("cpu"), "fp32", detectors)
    report: dict[str, Any] = {}
    for precision in precisions:
        differences = _compared(expected, _scored(classifier, sets, device, precision, detectors), precision, device)
        report |= {f"{precision} {name}": value for name, value in differences.items()}
    return {**report, "detectors": len(expected.scores), "left out": dict(expected.left_out)}


class _Scored(NamedTuple):
    """What was found.

    Arguments:
        logits: Logits of the test images.
        scores: Scores of test images and others, by detector.
        left_out: Why some detectors have none.
    """

    logits: Tensor
    scores: Mapping[str, tuple[Tensor, Tensor]]
    left_out: Mapping[str, str]


def _scored(
    classifier: Classifier, sets: Mapping[str, ImageSet], device: torch.device, precision: Precision, detectors: Chosen
) -> _Scored:
    every = choose_detectors(detectors)
    probes = {probe.key: probe for detector in every.values() if not detector.lacks for probe in detector.probes}
    probes = {key: probe for key, probe in probes.items() if _serves(classifier, probe)}
    outputs = {
        name: extract(classifier, image_set, probes=probes.values(), device=device, precision=precision)
        for name, image_set in sets.items()
    }
    scores, left_out = {}, {}
    for label, detector in every.items():
        if reason := lacking(detector, outputs["test"]):
            left_out[label] = reason
            continue
        try:
            fit_detectors({label: detector}, train=outputs["train"], val=outputs["train"])
        except OutskirtsError as error:  # Some need more classes, or more images.
            left_out[label] = str(error)
            continue
        scores[label] = (
            score_images(detector, outputs["test"], "test"),
            score_images(detector, outputs["others"], "others"),
        )
    logits = outputs["test"].logits
    assert logits is not None
    return _Scored(logits, scores, left_out)


def _compared(expected: _Scored, actual: _Scored, precision: Precision, device: torch.device) -> dict[str, float]:
    where, allowed = f"in {precision} on {device}", TOLERANCES[precision]
    others = sorted(expected.scores.keys() ^ actual.scores.keys())
    expect(not others, f"other detectors can be computed {where}: {', '.join(others)}", "device")
    apart = float((actual.logits - expected.logits).abs().max() / expected.logits.std())
    expect(apart <= allowed.logits, f"logits {where} differ by {apart:.2g}", "device")
    differences = {"logits": apart}
    measures = {
        "auroc": lambda one, two: abs(auroc(*one) - auroc(*two)),
        "scores": lambda one, two: rank_difference(torch.cat(one), torch.cat(two)),
    }
    for name, measure in measures.items():
        off = {label: measure(actual.scores[label], scores) for label, scores in expected.scores.items()}
        worst = max(off, key=lambda label: off[label])
        differences[name] = off[worst]
        most = getattr(allowed, name)
        expect(
            off[worst] <= most,
            f"the {name} of {worst} {where} differs by {off[worst]:.3g}, and {most} is allowed",
            "device",
        )
    return differences


def rank_difference(one: Tensor, two: Tensor) -> float:
    """One less Spearman's rank correlation of scores [N] with others.

    Where one of them tells no image from another, 0 if the other does not either, else 1.

    >>> rank_difference(torch.tensor([1.0, 2, 3]), torch.tensor([10.0, 20, 40]))
    0.0
    >>> rank_difference(torch.tensor([1.0, 2, 3]), torch.tensor([3.0, 2, 1]))
    2.0
    """
    ranks = torch.stack([_ranks(scores) for scores in (one, two)])
    constant = (ranks == ranks[:, :1]).all(1)
    if constant.any():
        return float(not constant.all())
    return max(0.0, float(1 - torch.corrcoef(ranks)[0, 1]))


def _ranks(scores: Tensor) -> Tensor:
    """From 1, float64; equal scores have the mean of theirs. Those that differ by roundings alone are equal."""
    if float(scores.amax() - scores.amin()) <= 1e-6 * float(scores.abs().amax()):
        return scores.new_ones(len(scores), dtype=torch.float64)
    _, which, counts = scores.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[which]
