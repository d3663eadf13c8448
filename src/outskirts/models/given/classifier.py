"""A classifier from the text that names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...data.transform import Transform, require_unit_scale
from ...errors import OutskirtsError, unknown
from ...files import is_file, reading
from ...telling import Say, silence
from ..adapter import without_logits
from ..classifier import Backbone, Classifier
from ..heads import CarriedHead, NoHead, both_sides
from ..seams import UNKNOWN, Seam
from .of_functions import open_function
from .of_libraries import open_backbone, open_library
from .of_transformers import open_clip, open_hf
from .opened import Opened
from .parting import parted
from .rebuilding import FILES
from .spec import TAKEN, ModelSpec, parse_model

__all__ = ["given_backbone", "given_classifier", "is_rebuilt"]

_OPENERS: Mapping[str, Callable[[ModelSpec], Opened]] = {
    "timm": open_library,
    "torchvision": open_library,
    "backbone": open_backbone,
    "hf": open_hf,
    "module": open_function,
    **FILES,
}


#: Whether images are turned upright.
_EXIF = {"apply": True, "ignore": False}
#: Kinds of which a run that trains on can build the network again.
_REBUILT = ("timm", "torchvision", "hf", "module")


def is_rebuilt(architecture: str) -> bool:
    """Whether the name of an architecture is the text of a classifier, rather than that of a backbone."""
    kind, _, where = architecture.partition(":")
    return kind in ("hf", "module") or (kind in _REBUILT and "?" in where)


def given_backbone(architecture: str, transform: Transform, seam: Seam = UNKNOWN) -> Backbone:
    """The network of a classifier that was trained elsewhere, with whatever weights, for a run that trained it on."""
    values = {name: ",".join(map(str, getattr(transform, name))) for name in ("mean", "std")}
    # All is said, so that nothing is asked for it: the shape of the images is what counts.
    values |= {"size": str(transform.size), "interpolation": transform.interpolation, "fit": transform.fit, "crop": "1"}
    spec = parse_model(architecture).with_options(**values)
    if spec.kind in ("timm", "torchvision"):
        spec = spec.with_options(weights="none")
    if "channels" in TAKEN[spec.kind]:
        spec = spec.with_options(channels=str(transform.channels))
    backbone, head, _ = _opened(spec, (), seam)
    return without_logits(backbone, head)


def given_classifier(spec: ModelSpec, classes: Sequence[str] = (), say: Say = silence) -> Classifier:
    """The classifier that a text names, in evaluation mode, with the head and the transform it was trained with.

    Arguments:
        spec: Any kind but ``run``.
        classes: Names of the classes of the images that it is for, in the order of their labels. Where the classifier
            knows the names of its classes, these must be among them; where it does not, its logits are taken to be in
            this order.
        say: Told where names do not tell the order of the classes.

    Raises:
        OutskirtsError: If it cannot be opened, nothing tells its transform, or its classes are others.
    """
    known = _names(spec)
    backbone, head, opened = _opened(spec, known or classes)
    for note in opened.notes:
        say(note)
    transform = _transform(spec, opened.transform)
    about = {"model": str(spec), **opened.about}
    if isinstance(head, NoHead):
        names = known or classes
        return Classifier(backbone, head, transform, names, about, named=bool(names)).eval()
    with torch.no_grad():
        count = head(torch.zeros(1, backbone.dim)).shape[1]
    if isinstance(head, CarriedHead) and head.dim == 0:
        say(
            f"No module of '{spec}' shows its features, so it gives logits alone, and detectors that need features "
            "or the last layer are left out. Name what gives them: features=NAME."
        )
    own = known or opened.classes
    names = _agreed(spec, count, own, classes, say)
    return Classifier(backbone, head, transform, names, about, named=bool(own or classes)).eval()


def _opened(spec: ModelSpec, classes: Sequence[str], seam: Seam = UNKNOWN) -> tuple[Backbone, nn.Module, Opened]:
    """A backbone and a head, and what else is known."""
    opened = open_clip(spec, tuple(classes)) if spec.kind == "clip" else _OPENERS[spec.kind](spec)
    if opened.split is not None:
        backbone, head = opened.split
    else:
        assert opened.model is not None
        transform = _transform(spec, opened.transform)
        backbone, head = parted(opened.model, spec, transform, opened.headless, seam)
    return backbone, both_sides(head, backbone.dim), opened


def _names(spec: ModelSpec) -> tuple[str, ...]:
    """The names of the classes that the text gives."""
    text = spec.options.get("classes", "")
    path = Path(text)
    if not is_file(path):
        names = [name.strip() for name in text.split(",")] if text else []
    else:
        try:
            with reading(path):
                lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise OutskirtsError(f"{path} is not a list of names in UTF-8 ({error}); save it in UTF-8.") from error
        names = [line.strip() for line in lines if line.strip()]
        if not names:
            raise OutskirtsError(f"{path} names no class; write the name of a class into each line.")
    if twice := _twice(names):
        raise OutskirtsError(f"'{spec}' has two classes that are called '{twice}'; each class needs a name of its own.")
    return tuple(names)


def _twice(names: Sequence[str]) -> str | None:
    """The first name that is there twice; None if there is none."""
    return next((name for place, name in enumerate(names) if name in names[:place]), None)


def _agreed(spec: ModelSpec, count: int, known: Sequence[str], given: Sequence[str], say: Say) -> Sequence[str]:
    """The names of the classes in the order of the logits."""
    if known and len(known) != count:
        raise OutskirtsError(f"'{spec}' gives {count} logits, and there are {len(known)} names of classes.")
    if not given:
        return known or [str(place) for place in range(count)]
    if set(given) <= set(known) and not _twice(known):
        if len(given) < count:
            say(f"The training images are of {len(given)} of the {count} classes of '{spec}'.")
        return known
    if len(given) != count:
        raise OutskirtsError(
            f"'{spec}' gives {count} logits, and the training images are of {len(given)} classes. Pass images of its "
            "own classes. If they are of some of these, name all in the order of the logits: classes=FILE. To use its "
            "features alone, add head=none."
        )
    if not known:
        return given
    if common := set(known) & set(given):
        other = min(set(known) - common, default=f"{_twice(known)} twice")
        raise OutskirtsError(
            f"'{spec}' shares only {len(common)} of its {count} classes with the training images: it has "
            f"{other}, and these have {sorted(set(given) - common)[0]}. Rename the folders, "
            "or name the classes in the order of the logits: classes=FILE."
        )
    say(
        f"The classes of '{spec}' have other names than those of the training images, such as {known[0]} and "
        f"{given[0]}; they are taken to be in the same order."
    )
    return given


def _transform(spec: ModelSpec, known: Transform | None) -> Transform:
    """What happens to an image before the network: what belongs to its weights, and what the text says."""
    mean, std = spec.channel_values("mean"), spec.channel_values("std")
    if known is None:
        missing = [name for name in ("size", "mean", "std") if name not in spec.options]
        if missing:
            raise OutskirtsError(
                f"Nothing tells what happens to an image before '{spec}'; add "
                f"{', '.join(f'{name}=' for name in missing)}, "
                "such as size=224&mean=0.485,0.456,0.406&std=0.229,0.224,0.225."
            )
        known = Transform(
            spec.number("size", int), spec.number("channels", int) or len(mean or ()), mean or (), std or ()
        )
    changes: dict[str, Any] = {name: value for name, value in (("mean", mean), ("std", std)) if value is not None}
    changes |= {name: spec.options[name] for name in ("interpolation", "fit") if name in spec.options}
    if (share := spec.number("crop", float)) is not None:
        if share > 1:
            raise OutskirtsError(f"crop={share:g} in '{spec}' is a share of the image, above 0 and at most 1.")
        changes["resize"] = None if share == 1 else round(known.size / share)
    if (exif := spec.options.get("exif")) is not None:
        if exif not in _EXIF:
            raise unknown("exif", exif, _EXIF, f"in '{spec}'")
        changes["reading"] = replace(known.reading, upright=_EXIF[exif])
    whole = replace(known, **changes)
    require_unit_scale(whole)
    return whole
