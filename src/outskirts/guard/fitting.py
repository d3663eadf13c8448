"""Fit a detector and calibrate its threshold, each on images of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..data.imageset import ImageSet
from ..data.keyset import KeySet
from ..data.notes import notes_of
from ..data.set_record import SetRecord
from ..data.sources import open_split
from ..detectors import Detector
from ..detectors.base import written
from ..detectors.ensemble import MemberLogits
from ..errors import OutskirtsError
from ..evaluation.evaluate import choose_detectors, fit_detectors, lacking, score_images
from ..evaluation.passes import Passes
from ..evaluation.separation import require_apart
from ..evaluation.shareable import Shareable
from ..evaluation.tuning import own_outliers
from ..extraction.forward import PassOptions
from ..extraction.outputs import Outputs
from ..models.heads import Space
from ..telling import Progress, Say
from ..texts import counted
from .calibration import Calibration
from .choosing import Choice, candidates, choose
from .own_images import Own, held_out, known_keys, known_pixels, unseen
from .parts import Parts
from .threshold import promise

__all__ = ["AUTO", "Terms", "Work", "fitted"]

#: In the place of a detector: choose one.
AUTO = "auto"
#: Validation images below which a choice says so.
_FEW = 100


@dataclass(frozen=True)
class Terms:
    """What the threshold is to promise; see `outskirts.guard.guard.Guard.fit`.

    Arguments:
        acceptance: Share of new in-distribution images that is to be accepted.
        confidence: Probability that it is, or None.
        per_class: Whether each predicted class has a threshold of its own.
    """

    acceptance: float
    confidence: float | None
    per_class: bool

    def calibrate(self, detector: Detector, outputs: Outputs, classes: list[str]) -> Calibration:
        """The calibration on outputs of calibration images."""
        scores = score_images(detector, outputs, "calibration")
        if not self.per_class:
            return Calibration.of(scores, self.acceptance, self.confidence)
        if outputs.logits is None:
            raise OutskirtsError("A threshold for each predicted class needs logits, which this classifier lacks.")
        return Calibration.per_class(scores, outputs.predicted, classes, self.acceptance, self.confidence)


@dataclass(frozen=True)
class Work:
    """How images go through the network, and who is told.

    Arguments:
        features: Features that the detector sees.
        options: How images go through the network.
        seed: Seed of outliers.
        say: Told in sentences what is done.
        progress: Told of the images forwarded.
    """

    features: Space
    options: PassOptions
    seed: int
    say: Say
    progress: Progress

    def passes(self, own: Own) -> Passes:
        """Passes through the classifier; those of a run are kept in its folder."""
        store = None if own.run is None else own.run.outputs
        return Passes(own.classifier, store, self.features, self.options, [], self.say, self.progress)


def fitted(
    own: Own,
    calibration: ImageSet | str | Path,
    detector: str | Detector,
    tune: ImageSet | str | Path | None,
    terms: Terms,
    work: Work,
) -> Parts:
    """The parts of a guard.

    Arguments:
        own: The classifier and its images.
        calibration: Calibration images, or their spec.
        detector: The detector, its name, or ``auto``.
        tune: OOD images to choose it on, or their spec.
        terms: What is promised.
        work: How it is computed.
    """
    classifier = own.classifier
    images = open_split(calibration, "test")
    images = classifier.labelled(images)
    tuning = None if tune is None else open_split(tune, "val")
    sets = {**own.sets(), **({} if tuning is None else {"tuning": tuning})}
    seen = known_keys(sets, own.run)
    images = held_out(images, sets, seen, work.say)
    promise(len(images), terms.acceptance, terms.confidence)  # Refuses too few before hours of passes.
    passes = work.passes(own)
    for note in notes_of({"calibration images": images, **{f"{name} images": one for name, one in sets.items()}}):
        passes.note(note)
    if own.train is None:
        passes.note(
            "Nothing tells which images the classifier was trained on. So nothing tells whether calibration images are "
            "among them, which would accept fewer new images than promised."
        )
    choice = None
    if detector == AUTO:
        choice = _chosen(own, tuning, passes, work)
        detector = choice.detector
        row = choice.row
        work.say(f"Detector: {written(detector)}, AUROC {row.auroc:.1%} on {row.dataset}.")
        if tuning is None:
            work.say(
                "They may be easier, or harder, than the images that the guard will meet. Measure it on such images: "
                "outskirts evaluate --guard."
            )
    else:
        if tuning is not None:
            raise OutskirtsError("Images to choose a detector on need a detector 'auto'; leave out --tune-on.")
        detector = _named(own, detector, passes)
    if any(isinstance(probe, MemberLogits) for probe in detector.probes):
        raise OutskirtsError("A guard holds one network, so it cannot have the detector 'ensemble', which asks others.")
    outputs = passes.outputs("calibration", images, detector.probes)
    if reason := lacking(detector, outputs):
        raise OutskirtsError(f"The detector '{detector.name}' {reason}.")
    outputs = outputs[unseen(images, known_pixels(own), work.say)] if images.likeness is not None else outputs
    calibrated = terms.calibrate(detector, outputs, classifier.classes)
    about = {
        "data": _records({"calibration": images, **sets}),
        "choice": None if choice is None else choice.to_json(),
        "measured": _measured(outputs, images),
        "notes": passes.notes,
    }
    return Parts(
        classifier.cpu(),
        detector,
        calibrated,
        work.features,
        work.options.precision,
        Shareable().value(about),
        {"calibration": KeySet.of(images.keys), **seen},
    )


def _named(own: Own, detector: str | Detector, passes: Passes) -> Detector:
    """A detector that was asked for, fitted; a fitted one stays as it is where there is nothing to learn from."""
    published = () if own.subject is None else own.subject.published
    ((label, made),) = choose_detectors([detector], published).items()
    outputs: dict[str, Outputs] = {}
    needed = {made.fit_on, "val" if made.calibrates else None}
    for name, split in (("train", own.train), ("val", own.val)):
        if name in needed and split is not None:
            outputs[name] = passes.outputs(name, split, made.probes if made.fits_probes else ())
    for one in outputs.values():
        if reason := lacking(made, one) if made.fits_probes or not made.probes else None:
            raise OutskirtsError(f"The detector '{label}' {reason}.")
    if made.fit_on is not None and made.fit_on not in outputs and own.train is None:
        _require_fitted(label, made)
    fit_detectors({label: made}, **outputs)
    return made


def _require_fitted(label: str, detector: Detector) -> None:
    if any(buffer is None for buffer in detector._buffers.values()):  # `buffers()` omits None.
        raise OutskirtsError(
            f"The detector '{label}' learns from the images that the classifier was trained on: pass them (train=, or "
            "--train SPEC)."
        )


def _chosen(own: Own, tuning: ImageSet | None, passes: Passes, work: Work) -> Choice:
    """The best detector on validation images and outliers."""
    if own.train is None or own.val is None:
        raise OutskirtsError(
            "To choose a detector takes the images that the classifier was trained on (train=, or --train SPEC). Or "
            "name a detector that learns nothing, such as energy."
        )
    if tuning is None:
        options = work.options
        tuning = own_outliers(own.classifier.to(options.device), own.val, work.seed, options.skip_corrupt)
        name = "outliers made of validation images"
    else:
        name = "tuning images"
        passes.notes.extend(require_apart(tuning, own.val, {"train": own.train}, own.run))
    if len(own.val) < _FEW:
        more = (
            "Name more of them (val=, or --val SPEC)"
            if own.run is None
            else "Train with more of them (--val SPEC, or a larger --val-fraction)"
        )
        passes.note(
            f"The detector is chosen by how well it tells {counted(len(own.val), 'validation image')} from {name}. "
            f"These are few validation images: another choice may be as good. {more}, or name a detector."
        )
    sets = {"train": own.train, "val": own.val, name: tuning}
    train, val, outliers = (passes.outputs(what, images, ()) for what, images in sets.items())
    return choose(candidates(val), train=train, val=val, outliers=outliers, name=name, seed=work.seed)


def _records(sets: Mapping[str, ImageSet]) -> dict[str, Any]:
    return {name: {"images": len(one) - len(one.skipped), **asdict(SetRecord.of(one))} for name, one in sets.items()}


def _measured(outputs: Outputs, images: ImageSet) -> dict[str, Any]:
    """What the calibration images tell besides the threshold."""
    if outputs.logits is None or outputs.labels is None or (outputs.labels < 0).any():
        return {}
    return {"accuracy": outputs.accuracy, "images": counted(len(outputs), "calibration image")}
