"""The contract of a training method."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from ..arguments import check_fields
from ..data.loading.batches import Batch
from ..models.classifier import Classifier
from ..models.heads import LinearHead
from ..models.tapped import Tapped
from ..registry import Registry
from ..synthesis.outliers import Outliers
from ..trainable import Trainable

__all__ = ["Config", "Method", "register", "registry"]


@dataclass(frozen=True)
class Config:
    """The hyper-parameters of a method; the command line's options are made from the fields."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def needs_outlier_images(self) -> bool:
        """Whether the method trains with images of outliers from disk."""
        return False

    def require_complete(self) -> None:
        """Called before a training begins.

        Raises:
            OutskirtsError: If an option that has no default is not given.
        """


C = TypeVar("C", bound=Config)


class Method(Trainable, ABC, Generic[C]):
    """A way to train a classifier.

    Arguments:
        config: The hyper-parameters.
        classifier: What is trained; made with the method's own `head`.
    """

    name: ClassVar[str]
    #: The dataclass of the hyper-parameters.
    Config: ClassVar[type[Config]] = Config
    #: Named settings: overrides of the method's and of the training's options.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    #: Whether the loss is an average in which images have the weights of the batch; without, options that weigh images
    #: are refused.
    weighs_images: ClassVar[bool] = True

    def __init__(self, config: C, classifier: Classifier) -> None:
        super().__init__()
        self.config = config
        self.classifier = classifier

    @property
    def network(self) -> nn.Module:
        return self.classifier.backbone

    @property
    def queue_size(self) -> int:
        """How many features of each class `fill_queue` has room for; 0 if outliers are not made of features."""
        return 0

    @classmethod
    def head(cls, config: C, dim: int, classes: int) -> nn.Module:
        """The head this method trains, from features [B, dim] to logits [B, classes]."""
        return LinearHead(nn.Linear(dim, classes))

    @classmethod
    def require_backbone(cls, name: str) -> None:
        """Raise if the method cannot train the backbone of this name."""

    @property
    def needs_outlier_images(self) -> bool:
        return self.config.needs_outlier_images

    @property
    def has_unused_parameters(self) -> bool:
        # What lies behind the features inside a given network, such as its own head, is computed and not used.
        return any(isinstance(part, Tapped) for part in self.classifier.backbone.modules())

    def setup(self) -> None:
        """Called on a method that is going to be trained, before anything is written, for what it takes from
        elsewhere than the training images.

        Raises:
            OutskirtsError: If this is no classifier that the method can train.
        """

    def fill_queue(self, features: Tensor, labels: Tensor) -> None:
        """Take in features [N, D] of training images, for methods whose outliers are made of what they have seen.

        Called on a method made anew from a trained run, before `outliers`, with at most `queue_size` rows of a class.
        """

    @classmethod
    def detectors(cls, config: C) -> Sequence[Mapping[str, Any]]:
        """The detectors this method is published with and their parameters; reports speak of the first one."""
        return ()

    def outliers(self, batch: Batch) -> Outliers | None:
        """The outliers a step would train on, for people to look at; None if the method makes none."""
        return None


M = TypeVar("M", bound=type[Method])
registry: Registry[type[Method]] = Registry("method", "outskirts.methods", Method)


def register(name: str) -> Callable[[M], M]:
    """Register a method class under `name`."""
    return registry.register(name)  # type: ignore[return-value]
