"""The outputs that an evaluation works with: of each set, one pass over its images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..data.imageset import ImageSet
from ..detectors import Probe
from ..extraction.extract import extract
from ..extraction.forward import PassOptions
from ..extraction.outputs import Outputs
from ..models.classifier import Classifier
from ..models.heads import Space
from ..texts import counted, verb
from .results import ID
from .shareable import Shareable
from .task import Task

__all__ = ["Gathered", "Passes", "gather"]


@dataclass(frozen=True)
class Passes:
    """Passes through one classifier, each of which is made once: what it has left lies in the store.

    Arguments:
        classifier: Classifier of the run.
        store: The run's folder of outputs; None to keep none.
        features: Features that detectors see: ``head``, ``raw`` or ``projection``; see `extract`.
        options: How images go through the network.
        notes: Where what a reader of the results should know is added.
        say: Told in sentences what is done.
        progress: Told of the images forwarded.
    """

    classifier: Classifier
    store: Path | None
    features: Space
    options: PassOptions
    notes: list[str]
    say: Callable[[str], None]
    progress: Callable[[str, int, int], None]

    def outputs(self, name: str, image_set: ImageSet, probes: Iterable[Probe]) -> Outputs:
        """What the classifier and the probes say of the images of a set."""
        forwarded = 0

        def count(done: int, total: int) -> None:
            nonlocal forwarded
            forwarded = done
            self.progress(name, done, total)

        outputs = extract(
            self.classifier,
            image_set,
            probes=probes,
            features=self.features,
            store=self.store,
            progress=count,
            **vars(self.options),
        )
        through = f"{counted(forwarded, 'image')} went through the network"
        self.say(f"{name}: {through if forwarded else counted(len(outputs), 'image') + ', taken from the store'}")
        if image_set.skipped:
            self.note(
                f"{len(image_set.skipped)} of the {len(image_set):,} images of {name} could not be decoded and "
                f"{verb(len(image_set.skipped), 'were')} left out, such as {image_set.skipped[0]}."
            )
            self.say(f"{name}: left out first: {image_set.skipped[0]}")
        return outputs

    def raw(self, image_set: ImageSet) -> tuple[Tensor, Tensor]:
        """The backbone's features [N, D] and the labels [N] of a set that a pass was made over before."""
        outputs = extract(self.classifier, image_set, features="raw", store=self.store, **vars(self.options))
        assert outputs.labels is not None
        return outputs.features, outputs.labels

    def note(self, sentence: str) -> None:
        """Tell now, and the reader of the results, without the folders of this machine."""
        sentence = Shareable().text(sentence)
        self.notes.append(sentence)
        self.say(sentence)


@dataclass(frozen=True)
class Gathered:
    """The outputs of all sets.

    Arguments:
        sets: Outputs of the ID test images and of the OOD sets, by name.
        train: Outputs of the training images, where something learns from them.
        val: Outputs of the validation images, where something learns from them.
    """

    sets: dict[str, Outputs]
    train: Outputs | None
    val: Outputs | None


def gather(task: Task, passes: Passes, tuned: bool) -> Gathered:
    """The outputs of all sets that the detectors of a task take.

    Arguments:
        task: Says which they are.
        passes: Through its classifier.
        tuned: Whether parameters are chosen by the scores of validation images.
    """
    probes = task.probes
    sets = {name: passes.outputs(name, image_set, probes) for name, image_set in task.sets.items()}
    if (task.sets[ID].labels < 0).any():
        passes.note("Some images of the ID test set have no label, so its accuracy is not known.")
        sets[ID] = replace(sets[ID], labels=None)
    fitted: dict[str, Outputs] = {}
    for split, image_set in {"train": task.train, "val": task.val}.items():
        # Scores of validation images need all that scores of others do.
        scored = split == "val" and tuned
        on = [one for one in task.detectors.values() if one.fit_on == split or (one.calibrates and split == "val")]
        if on or scored or (split == "train" and task.fills_queue):
            needed = [probe for one in on for probe in one.probes if one.fits_probes]
            fitted[split] = passes.outputs(split, image_set, probes if scored else needed)
    return Gathered(sets, fitted.get("train"), fitted.get("val"))
