"""The contract of a training method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from ..data.batches import Batch
from ..errors import OutskirtsError
from ..models.classifier import Classifier
from ..models.heads import LinearHead
from ..registry import Registry
from ..synthesis.outliers import Outliers

__all__ = ["Config", "Method", "register", "registry", "require_share"]


@dataclass(frozen=True)
class Config:
    """The hyper-parameters of a method; the command line's options are made from the fields."""


def require_share(name: str, value: float) -> None:
    """Raise unless an option lies between 0 and 1."""
    if not 0 <= value <= 1:
        raise OutskirtsError(f"{name} is a share from 0 to 1, not {value}.")


C = TypeVar("C", bound=Config)


class Method(nn.Module, ABC, Generic[C]):
    """A way to train a classifier: one step at a time, with no loop of its own.

    Whatever it learns or remembers lives in parameters and buffers, so that the loop can checkpoint it, move it
    and run it on several devices.

    Arguments:
        config: The hyper-parameters.
        classifier: What is trained; made with the method's own `head`.
    """

    name: ClassVar[str]
    #: The dataclass of the hyper-parameters.
    Config: ClassVar[type[Config]] = Config
    #: Named settings: overrides of the method's and of the training's options.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, config: C, classifier: Classifier) -> None:
        super().__init__()
        self.config = config
        self.classifier = classifier

    @property
    def views(self) -> int:
        """How many differently augmented copies of each image a step takes."""
        return 1

    @property
    def recalls(self) -> int:
        """How many features of each class `recall` has room for; 0 if outliers are not made of features."""
        return 0

    @classmethod
    def head(cls, config: C, dim: int, classes: int) -> nn.Module:
        """The head this method trains, from features [B, dim] to logits [B, classes]."""
        return LinearHead(nn.Linear(dim, classes))

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The ``loss`` to minimise on one batch, and any other scalars worth recording."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.step(batch)

    def setup(self) -> None:
        """Called on a method that is going to be trained, before anything is written, for what it takes from
        elsewhere than the training images.

        Raises:
            OutskirtsError: If this is no classifier that the method can train.
        """

    def prepare(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Called once, before the first step, for what a method must know of the training set as a whole.

        Arguments:
            images: Every training image once, un-augmented, in blocks of normalised images [B, C, H, W] and
                labels [B]. Forwarded only if it is iterated.
        """

    def recall(self, features: Tensor, labels: Tensor) -> None:
        """Take in features [N, D] of training images, for methods whose outliers are made of what they have seen.

        Called on a method made anew from a trained run, before `outliers`, with at most `recalls` rows of a class.
        """

    def lr_factor(self, parameter: str) -> float:
        """What to multiply the learning rate by for the parameter of this name."""
        return 1.0

    def warning(self, means: Mapping[str, float]) -> str:
        """What a user should know of the training's course and what would help, given the averages of the latest
        scalars; empty if all is well.
        """
        return ""

    @classmethod
    def detectors(cls, config: C) -> Sequence[Mapping[str, Any]]:
        """The detectors this method is published with and their parameters; reports speak of the first one."""
        return ()

    @property
    def published_warmup(self) -> bool:
        """Whether the schedule ``epoch-cosine`` warms up as in CIDER's code, below zero at first."""
        return False

    def outliers(self, batch: Batch) -> Outliers | None:
        """The outliers a step would train on, for people to look at; None if the method makes none."""
        return None


M = TypeVar("M", bound=type[Method])
registry: Registry[type[Method]] = Registry("method", "outskirts.methods")


def register(name: str) -> Callable[[M], M]:
    """Register a method class under `name`."""
    return registry.register(name)  # type: ignore[return-value]
