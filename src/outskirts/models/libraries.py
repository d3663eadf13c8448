"""Networks of torchvision and timm, and the transforms of their weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import timm
import torchvision
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from ..data.transform import Transform
from ..errors import OutskirtsError, debugging, reason, unknown
from .weights import fitted, load_weights, misfits, require_fit

__all__ = [
    "is_headless",
    "is_of_library",
    "library_classes",
    "library_model",
    "library_transform",
    "published_weights",
    "with_weights",
]

#: What timm calls the ways in which an image fits.
_FITS: Mapping[str, Literal["crop", "squash", "pad"]] = {"center": "crop", "squash": "squash", "border": "pad"}
#: These return further logits in training, which no method asks for.
_AUXILIARY = ("googlenet", "inception_v3")


def published_weights(name: str) -> list[str]:
    """The names of the weights that torchvision has of a model, if it is one of its own."""
    bare = _of_torchvision(name)
    return [] if bare is None else list(torchvision.models.get_model_weights(bare).__members__)


def is_of_library(name: str) -> bool:
    """Whether torchvision or timm has a model of this name."""
    return _of_torchvision(name) is not None or _of_timm(name) is not None


def is_headless(model: nn.Module) -> bool:
    """Whether a model of a library was made to return features: timm's, such as DINO's, have no classes then."""
    return getattr(model, "num_classes", None) == 0


def _unknown(name: str, beside: Iterable[str] = ()) -> OutskirtsError:
    library, _, bare = name.rpartition(":")
    if library not in ("", "timm", "torchvision"):
        return unknown("model library", library, ["timm", "torchvision"])
    names = [*(_torchvision() if library != "timm" else []), *(timm.list_models() if library != "torchvision" else [])]
    return unknown("backbone", bare, {*beside, *names})


def library_model(
    name: str,
    channels: int,
    size: int | None,
    weights: bool | str = False,
    classes: int | None = None,
    beside: Iterable[str] = (),
) -> nn.Module:
    """A classifier of a library, with random weights or with its own.

    Arguments:
        name: ``torchvision:NAME`` or ``timm:NAME``, or the bare name where one of them has it.
        channels: Channels of the images.
        size: Side of the images in pixels; the model's own unless given.
        weights: True for the library's own, or the name of some of torchvision's.
        classes: Number of classes, where it is another than that of the library; 0 for no head.
        beside: Further names that there are, for the message.

    Raises:
        OutskirtsError: If there is no such model, or its weights cannot be fetched.
    """
    try:
        with _hub_silent():
            if (bare := _of_torchvision(name)) is not None:
                return _torchvision_model(bare, channels, weights, classes)
            if (bare := _of_timm(name)) is not None:
                return _timm_model(bare, channels, size, bool(weights), classes)
    except OSError as error:
        raise OutskirtsError(
            f"The weights of '{name}' cannot be fetched ({reason(error)}); fetch them elsewhere and pass the file: "
            "weights=FILE after the question mark of a classifier, or train --pretrained FILE, with --new-head if "
            "it is of other classes."
        ) from error
    raise _unknown(name, beside)


@contextmanager
def _hub_silent() -> Iterator[None]:
    """A block without the log of the hub that timm's weights come from: of each failed try, it has two lines."""
    log = logging.getLogger("huggingface_hub")
    level = log.level
    if not debugging():
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


def with_weights(
    model: nn.Module, make: Callable[[int | None], nn.Module], state: Mapping[str, Tensor], file: str
) -> nn.Module:
    """A classifier with the weights of a file, for as many classes as these are of.

    Arguments:
        model: What `make` makes without a number of classes; it gets the weights if it has as many.
        make: Makes the classifier, for a number of classes if there is one, with 0 for no head.
        state: State dict, by whatever names.
        file: Where it was read, for the message.

    Raises:
        OutskirtsError: If the weights do not fit.
    """
    state = fitted(model.state_dict(), state)
    if (classes := _classes(model.state_dict(), state)) is not None:
        model = make(classes)
    require_fit(model.state_dict(), state, f"The weights {file} do not fit the network")
    load_weights(model, state, strict=False)
    return model


def _classes(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int | None:
    """The number of classes that weights are of, where nothing but this differs."""
    heads = {key for key in own if key in state and own[key].shape != state[key].shape}
    if any(own[key].shape[1:] != state[key].shape[1:] for key in heads):
        return None
    bodies = ({key: value for key, value in one.items() if key not in heads} for one in (own, state))
    sizes = {(own[key].shape[0], state[key].shape[0]) for key in heads}
    return next(iter(sizes))[1] if len(sizes) == 1 and not misfits(*bodies) else None


def library_transform(name: str, size: int | None = None, weights: bool | str = True) -> Transform:
    """What a library does to an image before a model.

    Arguments:
        name: Name of the model, as `library_model` takes it.
        size: Side of the network's input in pixels; the library's own unless given.
        weights: Name of some of torchvision's weights; the default ones unless given.

    Raises:
        OutskirtsError: If it is something that a `Transform` does not do.
    """
    if (bare := _of_torchvision(name)) is not None:
        about = _weights(bare, weights).transforms()
        mean, std, own = tuple(about.mean), tuple(about.std), about.crop_size[0]
        resize, interpolation, fit = about.resize_size[0], about.interpolation.value, _FITS["center"]
    elif (bare := _of_timm(name)) is not None:
        config = resolve_data_config({}, pretrained_cfg=_config(bare), use_test_size=False)
        mean, std, (_, own, width) = tuple(config["mean"]), tuple(config["std"]), config["input_size"]
        if own != width:
            raise OutskirtsError(f"'{name}' takes images of {own}x{width} pixels; outskirts shows square ones alone.")
        resize, interpolation = int(own / config["crop_pct"]), config["interpolation"]
        fit = _FITS[config["crop_mode"]]
    else:
        raise _unknown(name)
    side = size or own
    resize = round(resize * side / own)
    return Transform(side, len(mean), mean, std, resize if resize != side else None, interpolation, fit=fit)


def library_classes(name: str, weights: bool | str = True) -> tuple[str, ...]:
    """Names of the classes of torchvision's weights; none of others."""
    bare = _of_torchvision(name)
    return () if bare is None else tuple(_weights(bare, weights).meta["categories"])


def _weights(bare: str, weights: bool | str) -> Any:
    """Weights of a model of torchvision: those of a name, or the default ones."""
    chosen = torchvision.models.get_model_weights(bare)
    return chosen[weights] if isinstance(weights, str) and weights in chosen.__members__ else chosen.DEFAULT


def _of_torchvision(name: str) -> str | None:
    """The bare name of a model of torchvision; None if it is none."""
    library, _, bare = name.rpartition(":")
    return bare if library in ("", "torchvision") and bare in _torchvision() else None


def _of_timm(name: str) -> str | None:
    """The bare name of a model of timm; None if it is none."""
    library, _, bare = name.rpartition(":")
    model = bare.partition(".")[0]
    if library not in ("", "timm") or not timm.is_model(model):
        return None
    try:
        timm.get_pretrained_cfg(bare)
    except RuntimeError as error:  # What follows the dot names no weights.
        known = timm.list_pretrained(f"{model}.*")
        raise unknown("weights", bare, known, f"of the model '{model}' of timm") from error
    return bare


def _torchvision() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def _torchvision_model(name: str, channels: int, weights: bool | str, classes: int | None) -> nn.Module:
    if channels != 3:
        raise OutskirtsError(f"torchvision's '{name}' takes colour images; leave out channels, or set them to 3.")
    arguments: dict[str, Any] = {"weights": "DEFAULT" if weights is True else weights or None}
    if name in _AUXILIARY:
        arguments |= {"aux_logits": False, "init_weights": not weights}
    if classes is not None:
        arguments["num_classes"] = classes
    return torchvision.models.get_model(name, **arguments)


def _timm_model(name: str, channels: int, size: int | None, weights: bool, classes: int | None) -> nn.Module:
    arguments: dict[str, Any] = {"in_chans": channels, "pretrained": weights}
    if classes is not None:
        arguments["num_classes"] = classes
    if size is None:
        return timm.create_model(name, **arguments)
    try:
        return timm.create_model(name, img_size=size, **arguments)
    except TypeError:  # Only models with position embeddings know an image size.
        return timm.create_model(name, **arguments)


def _config(name: str) -> dict[str, Any]:
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if config is None:
        raise OutskirtsError(f"timm has no weights of '{name}', so what happens to an image before it is not known.")
    return config.to_dict()
