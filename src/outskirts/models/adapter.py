"""Find the head and the penultimate features of any classifier, asking nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OutskirtsError, reason
from ..seeding import generator
from .answer import Answer, find_answer, require_finite
from .calls import Seen, look
from .classifier import Backbone
from .heads import CarriedHead, NoHead
from .splits import Split, at_features, at_head, found, same_answer
from .tapped import Tapped

__all__ = ["adapt", "without_logits"]

#: Images that a network is looked at with: layers that agree on so many rows of noise are the same.
_ROWS = 4
#: What torch calls types of numbers that do not go together.
_TYPES = ("dtype", "scalar type", "Input type")
_ALIKE = "Images are of float32: make the weights so (model.float()), and leave them and the images so in its forward."


def adapt(
    model: nn.Module,
    example: Tensor,
    head: str | None = None,
    name: str | None = None,
    *,
    output: str | None = None,
    features: str | None = None,
) -> tuple[Backbone, nn.Module]:
    """Split a classifier into the network up to its penultimate features, and its head.

    The head is the part that makes the logits of features [B, D]. It is a linear layer wherever it computes one,
    whatever its class: a 1×1 convolution, two layers that are averaged, cosines (linear on the unit sphere). A network
    that shows no such part keeps its logits, and what its last layer takes, averaged over positions, are its features.
    Where that layer makes other maps, such as a convolution, its output would be, but only if a weight of the network
    makes the logits of it; otherwise there are no features.
    The split is checked before it is returned: features and head make the logits of the model.

    Arguments:
        model: Maps images [B, C, H, W] to logits [B, classes]; changed in place, unless the split fails. Of one that
            ends with a softmax or a sigmoid, the logits before it are found.
        example: A batch of images; its shape, type and device count, and noise takes the place of its values.
        head: Dotted name of the head, such as ``"classifier.1"``, where another is found; ``"none"`` for a network
            that returns features [B, D], not logits.
        name: What to call the architecture; the name of its class unless given.
        output: Name of the logits, or their place, if the model returns several tensors and they cannot be told.
        features: Dotted name of the module whose output is the features.

    Raises:
        OutskirtsError: If the model does not take such images, or returns neither logits nor features.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> backbone, head = adapt(model, torch.randn(2, 3, 2, 2))
    >>> backbone.dim, head.linear
    (5, Linear(in_features=5, out_features=3, bias=True))
    """
    kind = type(model).__name__
    # Constant images could make different layers agree.
    images = torch.randn(_ROWS, *example.shape[1:], generator=generator(0, "adapt")).to(example)
    with _evaluating(model) as parts, torch.no_grad():
        entry = find_answer(_returned(model, images), output, kind)
        model = model if entry is None else Answer(model, entry).eval()
        seen = look(model, images, kind)
        if seen.logits.ndim < 2 or seen.logits[0].numel() != seen.logits.shape[1]:
            raise OutskirtsError(
                f"{kind} returns a tensor of shape {tuple(seen.logits.shape)}; a classifier returns logits of shape "
                "[batch, classes], and a network without a head features of shape [batch, width]."
            )
        if seen.logits.dtype != images.dtype:
            raise OutskirtsError(f"{kind} returns {seen.logits.dtype} for images of {images.dtype}. {_ALIKE}")
        seen = seen._replace(logits=seen.logits.flatten(1))
        require_finite(seen.logits, images, kind)
        network, part, cut = _split(seen, head, features)
        made = network(images)
        # What is random when it should not be, such as dropout by a function, is taken apart wrongly.
        if head != "none" and not same_answer(part(made), seen.logits):
            raise OutskirtsError(f"{kind} gives other logits each time it sees the same images; mend that first.")
        parts += [network, part]
    return Backbone(network, made.shape[1], name or kind, cut=cut if entry is None else None), part


def without_logits(backbone: Backbone, head: nn.Module) -> Backbone:
    """The backbone for another head, which is to see the features alone."""
    if not isinstance(head, CarriedHead):
        return backbone
    if head.dim == 0:
        raise OutskirtsError(
            f"Nothing tells the features of {backbone.name}, which another head would be for. Make a module give them: "
            "the layer nn.Linear as the last step, or any other before it whose name features=NAME can tell."
        )
    tapped = backbone.network
    assert isinstance(tapped, Tapped)
    return replace(backbone, network=Tapped(tapped.model, tapped.paths, tapped.side), dim=head.dim)


def _split(seen: Seen, head: str | None, features: str | None) -> Split:
    if head == "none":
        maps = seen.calls[-1].made.ndim > 2
        return Split(nn.Sequential(seen.model, nn.Flatten()) if maps else seen.model, NoHead())
    if features is not None:
        return at_features(seen, features)
    return found(seen) if head is None else at_head(seen, head)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[list[nn.Module]]:
    """Evaluation mode; afterwards, each part is in the mode that it was in, and parts that are new in the model's."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    new: list[nn.Module] = []
    try:
        yield new
    finally:
        for part in (part for whole in (model, *new) for part in whole.modules()):
            part.training = modes.get(part, modes[model])


def _returned(model: nn.Module, images: Tensor) -> Any:
    try:
        return model(images)
    except (AssertionError, RuntimeError, ValueError, TypeError) as error:
        said = reason(error)
        advice = f". {_ALIKE}" if any(word in said for word in _TYPES) else ""
        raise OutskirtsError(
            f"{type(model).__name__} cannot take images of shape {tuple(images.shape[1:])}: {said}{advice}"
        ) from error
