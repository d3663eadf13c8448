"""What is measured: the classifier of a run, or one that was trained elsewhere, and its own images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from ..data.imageset import ImageSet
from ..errors import OutskirtsError
from ..methods import Method, registry
from ..models.classifier import Classifier
from ..training.config import Recipe
from ..training.given import Given
from ..training.loading import load
from ..training.run import Run
from ..training.validation import training_sets

__all__ = ["Subject", "aligned"]


@dataclass(frozen=True)
class Subject:
    """A classifier, and the images that detectors are fitted on.

    Arguments:
        run: Folder of the results.
        classifier: The classifier.
        train: Training images.
        val: Validation images.
        recipe: What it was trained with; None where it was trained elsewhere.
        given: The classifier that was trained elsewhere, and its images; None where the run has a recipe.
        command: Words of the command that begins the folder of such a classifier, but for the folder.
    """

    run: Run
    classifier: Classifier
    train: ImageSet
    val: ImageSet
    recipe: Recipe | None = None
    given: Given | None = None
    command: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run) -> Self:
        """What a run folder holds.

        Raises:
            OutskirtsError: If it cannot be read, or its images are others than they were.
        """
        classifier = load(run.path)
        if (given := run.given) is not None:
            if given.data is None:
                raise OutskirtsError(f"The training images of {run.path} were made in Python; pass them again.")
            return cls(run, classifier, *aligned(classifier, *training_sets(run)), given=given)
        recipe = run.recipe()
        train, val = training_sets(run)
        if train.classes != classifier.classes:  # Of runs of version 0.1, nothing else is known.
            raise OutskirtsError(
                f"The network of {run.path} has the classes {', '.join(classifier.classes)}, and {train.spec} now "
                f"holds {', '.join(train.classes)}. Put back what it was trained on, or train again."
            )
        return cls(run, classifier, train, val, recipe=recipe)

    def begin(self) -> None:
        """Make the folder of a classifier that was trained elsewhere, where it is new."""
        if self.given is not None and not self.run.config.is_file():
            self.run.begin_given(self.given, self.train, self.val, self.command)

    @property
    def method(self) -> Method[Any] | None:
        """What trained the classifier."""
        return None if self.recipe is None else registry[self.recipe.method](self.recipe.settings, self.classifier)

    @property
    def published(self) -> Sequence[Mapping[str, Any]]:
        """The detectors that the method's authors use, with their parameters."""
        return () if self.recipe is None else registry[self.recipe.method].detectors(self.recipe.settings)

    @property
    def label(self) -> str:
        """What the results call the way in which it was trained."""
        return self.classifier.architecture if self.recipe is None else self.recipe.method

    @property
    def seed(self) -> int:
        """The seed of the run."""
        if self.recipe is not None:
            return self.recipe.training.seed
        assert self.given is not None
        return self.given.seed

    @property
    def val_fraction(self) -> float | None:
        """The share of the training images that the validation images are; None where these were named."""
        config = self.recipe.training if self.recipe is not None else self.given
        assert config is not None
        return config.val_fraction if config.val is None else None

    @property
    def options(self) -> dict[str, Any]:
        """All that it was made with, by name."""
        if self.recipe is not None:
            return self.recipe.flat()
        assert self.given is not None
        return asdict(self.given)


def aligned(classifier: Classifier, train: ImageSet, val: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Images with the labels of the classifier's own order of classes."""
    return train.align(classifier.classes), val.align(classifier.classes)
