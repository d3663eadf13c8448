"""The images that a classifier has learnt from, and those that must not be among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..data.imageset import ImageSet
from ..data.keyset import KeySet
from ..data.leakage import TOLERATED, require_no_shared_groups
from ..data.levels import measured_reading
from ..data.likeness import Likeness, load_likenesses
from ..data.sources import open as open_images
from ..data.sources import open_split
from ..errors import OutskirtsError
from ..evaluation.subject import Subject, aligned
from ..models.classifier import Classifier
from ..telling import Say
from ..texts import verb
from ..training.config import TrainConfig
from ..training.loading import load, run_of
from ..training.run import Run
from ..training.validation import require_apart, validation_beside, with_validation

__all__ = ["Own", "Sources", "held_out", "known_keys", "known_pixels", "unseen"]


@dataclass(frozen=True)
class Sources:
    """What is given of the images of a classifier; see `outskirts.guard.guard.Guard.fit`.

    Arguments:
        train: Images that it was trained on, or their spec.
        val: Validation images, or their spec.
        val_fraction: Share of the training images that is set aside where there are none.
        seed: Seed of that part.
        skip_corrupt: Leave out images that cannot be decoded.
    """

    train: ImageSet | str | Path | None
    val: ImageSet | str | Path | None
    val_fraction: float
    seed: int
    skip_corrupt: bool

    def own(self, classifier: Classifier | Run | str | Path, say: Say) -> Own:
        """A classifier with its images.

        Raises:
            OutskirtsError: If they cannot be read, or a run is given images that it knows.
        """
        run = None if isinstance(classifier, Classifier) else run_of(classifier)
        if run is not None:
            if self.train is not None or self.val is not None:
                raise OutskirtsError(f"The run {run.path} knows its own images; leave out train and val.")
            subject = Subject.of(run)
            return Own(subject.classifier, subject.train, subject.val, run, subject)
        assert not isinstance(classifier, Run)
        if self.train is None and self.val is not None:
            raise OutskirtsError(
                "Validation images go with training images; pass those, too (train=, or --train SPEC)."
            )
        if self.train is None:
            known = classifier if isinstance(classifier, Classifier) else load(classifier, say=say)
            return Own(known, None, None)
        images = open_images(self.train)
        images.require_trainable()
        val = validation_beside(images, say) if self.val is None else open_split(self.val, "val")
        if not isinstance(classifier, Classifier):
            classifier = load(classifier, classes=images.classes, say=say)
        read = measured_reading(images, classifier.transform.reading, self.skip_corrupt, say)
        if read != classifier.transform.reading:
            classifier = classifier.with_transform(replace(classifier.transform, reading=read))
        if val is not None:
            require_apart(images, val)
        config = TrainConfig(val_fraction=self.val_fraction, seed=self.seed)
        return Own(classifier, *aligned(classifier, *with_validation(images, val, config)))


@dataclass(frozen=True)
class Own:
    """A classifier, and the images that it has learnt from.

    Arguments:
        classifier: The classifier.
        train: Training images; None where they are not known.
        val: Validation images.
        run: Run of the classifier, if it has one.
        subject: Run as it is evaluated.
    """

    classifier: Classifier
    train: ImageSet | None
    val: ImageSet | None
    run: Run | None = None
    subject: Subject | None = None

    def sets(self) -> dict[str, ImageSet]:
        """The images, by what they are."""
        return {name: one for name, one in (("training", self.train), ("validation", self.val)) if one is not None}


def known_keys(seen: Mapping[str, ImageSet], run: Run | None) -> dict[str, KeySet]:
    """The keys of all images that trained or chose anything, by what they are.

    Arguments:
        seen: Sets that did, by what they are.
        run: The run, which knows what else was seen.
    """
    files = {} if run is None else _files(run)
    return {**{name: KeySet.of(one.keys) for name, one in seen.items()}, **files}


def held_out(calibration: ImageSet, seen: Mapping[str, ImageSet], known: Mapping[str, KeySet], say: Say) -> ImageSet:
    """Calibration images without the few that were seen before.

    Arguments:
        calibration: The images.
        seen: Sets that trained or chose anything, by what they are.
        known: Keys of these and of others, as `known_keys` gives them.
        say: Told how many are left out.

    Raises:
        OutskirtsError: If more of them were seen than real sets have copies.
    """
    for name, one in seen.items():
        require_no_shared_groups(calibration, "calibration", one, name)
    left = torch.ones(len(calibration), dtype=torch.bool)
    for name, keys in known.items():
        left &= ~_tolerated(torch.from_numpy(keys.among(calibration)), name, calibration, say)
    return calibration if left.all() else calibration.subset(left)


def _files(run: Run) -> dict[str, KeySet]:
    """What a run was shown besides its training images."""
    files = {
        "the generator's": run.seen_by_generator,
        "outlier": run.seen_as_outliers,
        "synthetic or earlier training": run.seen_before,
    }
    return {name: KeySet.load(file) for name, file in files.items() if file is not None}


def known_pixels(own: Own) -> dict[str, Likeness]:
    """What is known of the pixels of a classifier's images, by what they are."""
    kept = {} if own.run is None else load_likenesses(own.run.likeness)
    return {**kept, **{name: one.likeness for name, one in own.sets().items() if one.likeness is not None}}


def unseen(calibration: ImageSet, known: Mapping[str, Likeness], say: Say) -> torch.Tensor:
    """Which of the calibration images that were decoded have other pixels than all that was seen, bool [n].

    Arguments are those of `held_out`; `known` is what `known_pixels` gives.
    """
    assert calibration.likeness is not None
    pixels = [key for key in calibration.likeness.keys() if key]  # noqa: SIM118
    left = torch.ones(len(pixels), dtype=torch.bool)
    for name, likeness in known.items():
        others = set(likeness.keys())
        left &= ~_tolerated(torch.tensor([key in others for key in pixels], dtype=torch.bool), name, calibration, say)
    return left


def _tolerated(among: torch.Tensor, name: str, calibration: ImageSet, say: Say) -> torch.Tensor:
    """Which images were seen, if they are few."""
    count = int(among.sum())
    if count > TOLERATED * len(calibration):
        raise OutskirtsError(
            f"{count:,} of the {len(calibration):,} calibration images ({calibration.spec}) {verb(count, 'are')} also "
            f"{name} images. Calibrate on images that neither trained nor chose anything, such as another part of "
            "them: SPEC?part=90-100%."
        )
    if count:
        say(
            f"{count:,} of the {len(calibration):,} calibration images {verb(count, 'are')} also {name} images, and "
            f"{verb(count, 'are')} left out."
        )
    return among
