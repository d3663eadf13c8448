"""Any network seen as features → head → logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .. import notebook
from ..data.imageset import ImageSet
from ..data.transform import Transform
from ..errors import OutskirtsError
from ..files import digest
from .heads import CarriedHead, DividedHead, Head, LinearHead, NoHead, PrototypeHead, Space

__all__ = ["Backbone", "Classifier", "inherit"]

#: Classes that a line names.
_NAMED = 3
#: Tensors of heads that have a row for each class.
_OF_CLASSES = ("linear.weight", "linear.bias", "prototypes")


@dataclass(frozen=True)
class Backbone:
    """A network without its head: maps normalised images [B, C, H, W] to features [B, `dim`].

    Arguments:
        network: The network.
        dim: D.
        name: Name of the architecture.
        transform: What happens to an image before it, if it comes with that.
        cut: Dotted name of the linear layer in whose place it has an identity, if nothing else was done to it.
    """

    network: nn.Module
    dim: int
    name: str
    transform: Transform | None = None
    cut: str | None = None


class Classifier(nn.Module):
    """Features, head and logits of one network, with the transform and the class names it was made for.

    Arguments:
        backbone: The network without its head.
        head: Maps features [B, D] to logits [B, C].
        transform: What happens to an image before the network.
        classes: The C class names, in the order of the labels.
        built_from: What builds the network again, without its weights; see `outskirts.training.rebuilding`. None for a
            network that was made in Python.
        named: Whether the names are its own, rather than numbers in the place of names that nobody told.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        transform: Transform,
        classes: Sequence[str],
        built_from: Mapping[str, Any] | None = None,
        named: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone.network
        self.head = head
        self.dim = backbone.dim
        self.architecture = backbone.name
        self.cut = backbone.cut
        self.transform = transform
        self.classes = list(classes)
        self.built_from = built_from
        self.named = named

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features [B, D] of normalised images [B, C, H, W], before any map by the head."""
        return self.backbone(images)

    def __repr__(self) -> str:
        return f"Classifier({', '.join(f'{name} {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return notebook.table("Classifier", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        """What matters, by name; the layers are those of the backbone and the head."""
        transform, names = self.transform, self.classes
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return [
            ("architecture", self.architecture),
            ("classes", f"{len(names)}: {', '.join(names[:_NAMED])}{more}"),
            ("input", f"{transform.channels}×{transform.size}×{transform.size}"),
            ("features", str(self.dim)),
            ("head", type(self.head).__name__),
        ]

    def with_transform(self, transform: Transform) -> Classifier:
        """The same network behind another transform; this classifier stays as it is."""
        other = copy(self)
        other.transform = transform
        return other

    def labelled(self, images: ImageSet) -> ImageSet:
        """Images whose labels are of the classes of this classifier, in its order; those without classes as they are.

        Raises:
            OutskirtsError: If they have other classes.
        """
        return images.align(self.classes) if images.classes else images

    def places(self, classes: Sequence[str]) -> list[int]:
        """The place of each of these classes among those of this classifier; -1 for one that it lacks.

        Where nobody told it the names of its classes, they are taken to be these, in the order of its logits, if they
        are as many, or if it gives no logits.
        """
        if not self.named and (self.headless or len(classes) == len(self.classes)):
            return list(range(len(classes)))
        own = {name: place for place, name in enumerate(self.classes)} if self.named else {}
        return [own.get(name, -1) for name in classes]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

    @property
    def headless(self) -> bool:
        """Whether it has no head, and so gives features alone."""
        return isinstance(self.head, NoHead)

    def space(self, features: Tensor, name: Space) -> tuple[Tensor, Head | None]:
        """The features as detectors are to see them, and the linear layer that goes with them, if any.

        Arguments:
            features: What the backbone gives, [B, D].
            name: ``raw`` for just that; ``head`` for what the linear layer is applied to, standardised where the
                head does so; ``projection`` for the points on the sphere [B, d] of a head with prototypes, whose
                linear layer is the prototypes over the temperature.

        Raises:
            OutskirtsError: If a projection is asked for of a head that has none.
        """
        if name == "projection" and not isinstance(self.head, PrototypeHead):
            raise OutskirtsError("This classifier has no projection; take the features 'head' or 'raw' of it.")
        if isinstance(self.head, LinearHead | PrototypeHead | CarriedHead):
            return self.head.space(features, name)
        return features, None

    def ood_logit(self, features: Tensor) -> Tensor | None:
        """The logit [B] of a network trained to tell training images from outliers, larger for the former, given
        the backbone's features [B, D]; None if the method trains none.
        """
        network = getattr(self.head, "ood_head", None)
        return None if network is None else network(features, self.head(features))

    def readings(self, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """What the head says beside its logits [B, C] of the backbone's features [B, D]: ``ood_head`` [B] as above; of
        a head with prototypes ``projection`` [B, d], the points on the sphere, and ``cosines`` [B, C] to them; of a
        divided head ``numerators`` [B, C].
        """
        readings = {}
        if (logit := self.ood_logit(features)) is not None:
            readings["ood_head"] = logit
        if isinstance(self.head, PrototypeHead):
            readings["projection"] = self.head.project(features)
            readings["cosines"] = logits * self.head.temperature
        if isinstance(self.head, DividedHead):
            readings["numerators"] = self.head.numerators(features)
        return readings

    def fingerprint(self) -> str:
        """A hash of all weights and buffers."""
        state = self.state_dict()
        return digest(*(part for key in sorted(state) for part in (key, state[key])))


def inherit(classifier: Classifier, earlier: Classifier) -> bool:
    """Take over those weights of an earlier classifier's head that fit, where both have the same classes, in whatever
    order; returns whether there are any.

    A head of another kind shares no names and begins anew. Single numbers that are not learned are settings, and stay.
    """
    fitting: dict[str, Tensor] = {}
    if sorted(classifier.classes) == sorted(earlier.classes):
        settings = {name for name, value in classifier.head.named_buffers() if not value.ndim}
        own = {name: value for name, value in classifier.head.state_dict().items() if name not in settings}
        fitting = {k: v for k, v in earlier.head.state_dict().items() if k in own and v.shape == own[k].shape}
        order = [earlier.classes.index(name) for name in classifier.classes]
        if order != sorted(order):
            fitting = {name: value[order] for name, value in fitting.items() if name in _OF_CLASSES}
        classifier.head.load_state_dict(fitting, strict=False)
    return bool(fitting)
