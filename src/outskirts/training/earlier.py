"""Which images the run that a training begins from has seen."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..data.keyset import KeySet
from ..errors import OutskirtsError
from ..telling import Say
from .loading import run_of
from .validation import training_sets

__all__ = ["Seen", "seen_by"]


class Seen(NamedTuple):
    """The keys of images that a network has seen in training.

    Arguments:
        learnt: Keys of images of classes, real or synthetic.
        as_outliers: Keys of images that were shown as outliers.
    """

    learnt: KeySet = KeySet()
    as_outliers: KeySet = KeySet()


def seen_by(init: str | None, say: Say) -> Seen:
    """What a network has seen before a training begins from it, as far as it is known.

    Arguments:
        init: The run, or a classifier that was trained elsewhere, of which nothing is known.
        say: Told why the images of a run cannot be compared with others.
    """
    run = run_of(init) if init else None
    if run is None:
        return Seen()
    known = Seen(_loaded(run.seen_before), _loaded(run.seen_as_outliers))
    try:
        images, _ = training_sets(run)
    except OutskirtsError as error:
        say(f"Nobody can tell whether images of this run were seen in the training of {run.path}: {error}")
        return known
    return known._replace(learnt=known.learnt | KeySet.of(images.keys))


def _loaded(file: Path | None) -> KeySet:
    return KeySet() if file is None else KeySet.load(file)
