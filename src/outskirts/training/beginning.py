"""What a training begins from: a network by name, one with weights, an earlier run, or a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from ..data.reading import Reading
from ..data.transform import IMAGENET, Transform, require_unit_scale
from ..devices import faster_precision, resolve_device
from ..errors import OutskirtsError
from ..models.adapter import adapt, without_logits
from ..models.backbones import build_split, native_size
from ..models.classifier import Backbone, Classifier, inherit
from ..models.heads import CarriedHead, LinearHead, NoHead, both_sides
from ..models.libraries import is_of_library, library_transform
from ..telling import Say
from .config import Recipe, TrainConfig
from .rebuilding import assemble

__all__ = ["begin", "own_network", "resolved"]


class _Network(NamedTuple):
    """A backbone, its transform, and the head that came with it, if any."""

    backbone: Backbone
    transform: Transform
    head: nn.Module | None


def begin(
    recipe: Recipe,
    sample: Sequence[Tensor],
    classes: list[str],
    model: nn.Module | None,
    head: str | None,
    earlier: Classifier | None,
    reading: Reading,
    say: Say,
) -> Classifier:
    """The classifier before its first step.

    Arguments:
        recipe: With nothing left open; see `resolved`.
        sample: Some training images.
        classes: Names of the classes.
        model: A user's own network.
        head: Dotted name of its head, where it cannot be found.
        earlier: The classifier that the training begins from.
        reading: How the pixels of `sample` became bytes.
        say: Told of a head that is not used.

    Raises:
        OutskirtsError: If weights come with a head that does not fit, unless a new one is asked for.
    """
    config = recipe.training
    if earlier is not None:
        network = _taken_over(earlier)
    elif model is not None:
        network = _own(model, head, config, sample)
    else:
        network = _by_name(config, sample)
    transform = replace(network.transform, reading=reading)
    classifier = assemble(recipe, network.backbone, transform, classes)
    if earlier is not None and not config.new_head and not inherit(classifier, earlier) and not earlier.headless:
        say(f"The head of {config.init} is of other classes or of another kind; '{recipe.method}' trains a new one.")
    if network.head is not None and not isinstance(network.head, NoHead) and not config.new_head:
        _keep(network.head, classifier, recipe, say)
    return classifier


def _keep(head: nn.Module, classifier: Classifier, recipe: Recipe, say: Say) -> None:
    """Take over the head that came with the weights.

    Published weights are of other classes as a rule; it is said that a new head takes the place of theirs.

    Raises:
        OutskirtsError: If the head is of other classes, and its weights are not published ones.
    """
    own, dim = classifier.head, classifier.dim
    plain = [
        part.linear for part in (own, head) if isinstance(part, LinearHead) and isinstance(part.inputs, nn.Identity)
    ]
    with torch.no_grad():
        count = head(torch.zeros(1, head.dim if isinstance(head, CarriedHead) else dim)).shape[1]
    if len(plain) == 2 and count == len(classifier.classes):
        plain[0].load_state_dict({"bias": torch.zeros(count), **plain[1].state_dict()})
        return
    if count != len(classifier.classes) and recipe.training.pretrained != "true":
        raise OutskirtsError(
            f"The weights have a head of {count} classes, and the training images are of {len(classifier.classes)}. "
            "Pass images of its classes, or ask for a new head (--new-head)."
        )
    other = "another kind" if count == len(classifier.classes) else f"{count} classes"
    say(f"The head of the weights is of {other}; '{recipe.method}' trains a new one.")


def resolved(
    config: TrainConfig,
    sample: list[Tensor],
    model: nn.Module | None,
    earlier: Classifier | None,
    reading: Reading,
) -> TrainConfig:
    """Replace what is left open by what it means here, so that the run can be repeated elsewhere.

    Arguments:
        config: The options as given.
        sample: Some training images.
        model: A user's own network.
        earlier: The classifier that the training begins from.
        reading: How the pixels of `sample` became bytes.

    Raises:
        OutskirtsError: If options contradict each other.
    """
    device = resolve_device(config.device)
    precision = _faster_precision(device) if config.precision == "auto" else config.precision
    backbone = config.backbone if model is None else own_network(model)
    if model is None and backbone.startswith("custom:"):
        raise OutskirtsError(
            f"The run was trained on your own network {backbone.removeprefix('custom:')}; pass an instance of it, "
            "in Python: model=..."
        )
    if earlier is not None:
        for name, own, other in (
            ("backbone", backbone, earlier.architecture),
            ("size", config.size, earlier.transform.size),
        ):
            if own not in (getattr(TrainConfig, name), other):
                raise OutskirtsError(
                    f"{config.init} has the {name} {other}, which a training from it (--init) takes over; "
                    f"leave out the {name} (--{name} {own})."
                )
        if config.pretrained:
            raise OutskirtsError(
                "A training begins either from an earlier run or from published weights; leave out one of them "
                "(--init or --pretrained)."
            )
        backbone = earlier.architecture
    size = (
        earlier.transform.size
        if earlier is not None
        else config.size or native_size(backbone) or min(min(sample[0].shape[1:]), 64 if _flexible(backbone) else 224)
    )
    exif = "apply" if reading.upright else "ignore"
    return replace(config, device=device.type, precision=precision, backbone=backbone, size=size, exif=exif)  # type: ignore[arg-type]


def own_network(model: nn.Module) -> str:
    """How a run calls a user's own network, in place of a backbone's name."""
    return f"custom:{type(model).__name__}"


def _faster_precision(device: torch.device) -> str:
    """What the first of several processes measures, as their measurements may differ."""
    PartialState(cpu=device.type == "cpu")  # By which they meet.
    return broadcast_object_list([faster_precision(device)])[0]


def _flexible(backbone: str) -> bool:
    """Whether a backbone is made for small images and for whatever channels they have."""
    return backbone == "fast" or backbone.endswith("-cifar")


def _by_name(config: TrainConfig, sample: Sequence[Tensor]) -> _Network:
    """A network of ours or of a library; what happens to an image before it belongs to its weights, if it has any."""
    assert config.size is not None
    channels = 1 if _grey(sample) and _flexible(config.backbone) else 3
    weights = config.pretrained == "true" or config.pretrained or False
    backbone, head = build_split(config.backbone, channels, config.size, weights)
    known = backbone.transform
    if known is None and weights:
        known = library_transform(config.backbone, config.size, weights) if is_of_library(config.backbone) else None
        known = known or Transform(config.size, channels, *IMAGENET)
    return _Network(backbone, _transform(config, sample, channels, known), head)


def _own(model: nn.Module, head: str | None, config: TrainConfig, sample: Sequence[Tensor]) -> _Network:
    assert config.size is not None
    channels = _channels(model, _grey(sample))
    example = torch.zeros(2, channels, config.size, config.size)
    backbone, found = adapt(model, example, head, name=config.backbone)
    found = both_sides(found, backbone.dim)
    return _Network(without_logits(backbone, found), _transform(config, sample, channels, None), found)


def _taken_over(earlier: Classifier) -> _Network:
    backbone = Backbone(earlier.backbone, earlier.dim, earlier.architecture)
    return _Network(without_logits(backbone, earlier.head), earlier.transform, None)


def _grey(sample: Sequence[Tensor]) -> bool:
    return all(len(image) == 1 for image in sample)


def _channels(model: nn.Module, grey: bool) -> int:
    """What a network's first convolution takes, or else what the images have."""
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    return first.in_channels if first is not None and first.in_channels in (1, 3) else 1 if grey else 3


def _transform(config: TrainConfig, sample: Sequence[Tensor], channels: int, known: Transform | None) -> Transform:
    """What belongs to the weights, or what is measured on the images, changed as the options say.

    Arguments:
        config: The options.
        sample: Some training images.
        channels: Channels of the network's input.
        known: What belongs to the weights, if there are any.
    """
    assert config.size is not None
    size, changes = config.size, config.preparation(channels)
    # Random resized crops of photographs want more pixels than the network's input to cut from. Trained weights have
    # their own share.
    if known is None and "resized-crop" in config.augment and size > 64:
        changes.setdefault("resize", round(size * 256 / 224))
    if known is None and not {"mean", "std"} <= changes.keys():
        shape = Transform(size, channels)
        measured = Transform.measured(torch.stack([shape.host(image) for image in sample]), size)
        changes = {"mean": measured.mean, "std": measured.std, **changes}
    whole = replace(known or Transform(size, channels), **changes)
    require_unit_scale(whole)
    return whole
