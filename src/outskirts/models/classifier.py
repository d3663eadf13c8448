"""Any network seen as features → head → logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..data.transform import Transform
from ..evaluation.outputs import Head
from ..files import digest
from .heads import LinearHead

__all__ = ["Backbone", "Classifier"]


@dataclass(frozen=True)
class Backbone:
    """A network without its head: maps normalised images [B, C, H, W] to features [B, `dim`]."""

    network: nn.Module
    dim: int
    name: str


class Classifier(nn.Module):
    """Features, head and logits of one network, with the transform and the class names it was made for.

    Arguments:
        backbone: The network without its head.
        head: Maps features [B, D] to logits [B, C].
        transform: What happens to an image before the network.
        classes: The C class names, in the order of the labels.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, transform: Transform, classes: Sequence[str]) -> None:
        super().__init__()
        self.backbone = backbone.network
        self.head = head
        self.dim = backbone.dim
        self.architecture = backbone.name
        self.transform = transform
        self.classes = list(classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features [B, D] of normalised images [B, C, H, W], before any map by the head."""
        return self.backbone(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

    def head_inputs(self, features: Tensor) -> Tensor:
        """What the linear layer is applied to: the features, standardised where the head does so."""
        return self.head.inputs(features) if isinstance(self.head, LinearHead) else features

    @property
    def linear(self) -> Head | None:
        """Weight [C, D] and bias [C] of the linear layer, such that ``head_inputs @ weight.T + bias`` are the
        logits; None for a head of another kind.
        """
        if not isinstance(self.head, LinearHead):
            return None
        weight = self.head.linear.weight.detach()
        bias = self.head.linear.bias
        return Head(weight, weight.new_zeros(len(weight)) if bias is None else bias.detach())

    def risk(self, features: Tensor) -> Tensor | None:
        """The logit [B] of a network trained to tell training images from outliers, larger for the former, given
        the backbone's features [B, D]; None if the method trains none.
        """
        network = getattr(self.head, "risk", None)
        return None if network is None else network(features, self.head(features))

    def fingerprint(self) -> str:
        """A hash of all weights and buffers."""
        state = self.state_dict()
        return digest(*(part for key in sorted(state) for part in (key, state[key])))
