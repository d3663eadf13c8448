"""The texts that name a classifier, such as ``timm:resnet50?weights=my.pt&size=224``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import OutskirtsError, unknown
from ...paths import home_expanded

__all__ = ["KINDS", "NAMED", "OPTIONS", "TAKEN", "ModelSpec", "parse_model"]

#: Kinds of classifiers, and what follows the colon.
KINDS = {
    "run": "folder of a finished run, or of an evaluation",
    "timm": "name of a model of timm",
    "torchvision": "name of a model of torchvision",
    "backbone": "name of a network of outskirts, such as resnet18-cifar",
    "hf": "folder of an image classifier of transformers, as save_pretrained writes it",
    "clip": "folder of a CLIP model, which knows classes by their names",
    "module": "package.file:name of a function or a class that makes a network",
    "onnx": "ONNX file",
    "torchscript": "file of torch.jit.save",
    "pt2": "file of torch.export.save",
}

#: What may be said of a classifier after the question mark.
OPTIONS = {
    "weights": "file of a state dict; of a library's models also the name of its weights, or none for random ones",
    "head": "name of the layer that makes the logits, or none for a network that gives features",
    "output": "name of the logits, or their place, among several tensors",
    "features": "name of the module, node or output that gives the features",
    "size": "side of the network's input in pixels",
    "channels": "channels of the network's input, 1 or 3",
    "mean": "mean of each channel on the scale of 0 to 1, such as 0.485,0.456,0.406",
    "std": "standard deviation of each channel on the same scale",
    "interpolation": "bilinear or bicubic",
    "crop": "share of the resized image that is kept, above 0 and at most 1",
    "fit": "how images that are not square fit: crop, squash or pad",
    "exif": "whether images are turned upright as their EXIF data says: apply or ignore",
    "classes": "names of the classes in the order of the logits: a text file with a line for each, or names and commas",
    "words": "words for the classes, with commas, for CLIP",
    "template": "text with {} in the place of a word, for CLIP",
}

#: What may be said of every classifier but a run, which knows it.
_IMAGES = ("mean", "std", "interpolation", "crop", "fit", "exif", "classes")
_SHAPE = ("size", "channels")
_NETWORK = ("weights", "head", "output", "features")
_FILE = ("head=none", "output", "features", *_SHAPE, *_IMAGES)
#: The options that each kind takes; one with a value, this value alone.
TAKEN = {
    **dict.fromkeys(("timm", "backbone", "module"), (*_NETWORK, *_SHAPE, *_IMAGES)),
    "torchvision": (*_NETWORK, "size", *_IMAGES),
    "hf": ("head", "features", "size", *_IMAGES),
    "clip": ("words", "template", *_IMAGES),
    **dict.fromkeys(("onnx", "torchscript", "pt2"), _FILE),
}
#: Kinds that are the name of something; all others are paths.
NAMED = ("timm", "torchvision", "backbone", "module")
#: Options that say how a network is taken apart.
_STRUCTURE = ("head", "output", "features")
#: Kinds of files that are given without one.
_SUFFIXES = {".onnx": "onnx", ".pt2": "pt2"}
#: Options that are paths.
_PATHS = ("weights", "classes")


@dataclass(frozen=True)
class ModelSpec:
    """A parsed text: the kind of classifier, what follows its colon, and the options."""

    kind: str
    where: str
    options: Mapping[str, str]

    def __post_init__(self) -> None:
        taken = TAKEN.get(self.kind, tuple(OPTIONS))
        for name, value in self.options.items():
            if name not in taken and f"{name}={value}" not in taken:
                raise OutskirtsError(
                    f"'{self}' has the option {name}={value}, which a classifier of the kind {self.kind} does not "
                    f"take; leave it out. It takes: {', '.join(taken)}."
                )
        if self.options.get("head") == "none" and "features" in self.options:
            raise OutskirtsError(
                f"'{self}' says head=none, which takes what the network returns for features, and features=; leave "
                "out one of them."
            )

    def __str__(self) -> str:
        options = "&".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.kind}:{self.where}" + (f"?{options}" if options else "")

    @property
    def file_name(self) -> str:
        """The kind and the name of the file, without its folder."""
        return f"{self.kind}:{Path(self.where).name}"

    def structure(self) -> str:
        """The text with those options alone that say how a network is taken apart."""
        return str(replace(self, options={name: self.options[name] for name in _STRUCTURE if name in self.options}))

    def number(self, name: str, kind: type[int] | type[float]) -> Any:
        """An option that is a number above 0; None if it is not given."""
        text = self.options.get(name)
        if text is None:
            return None
        try:
            if (value := kind(text)) > 0:
                return value
        except ValueError:
            pass
        raise OutskirtsError(f"{name}={text} in '{self}' is not a {_NUMBERS[kind]} above 0.")

    def channel_values(self, name: str) -> tuple[float, ...] | None:
        """An option that is a number for each channel; None if it is not given."""
        text = self.options.get(name)
        try:
            return None if text is None else tuple(float(part) for part in text.split(","))
        except ValueError:
            raise OutskirtsError(
                f"{name}={text} in '{self}' is not a number for each channel; write {name}=0.485,0.456,0.406."
            ) from None

    def with_options(self, **options: str | None) -> ModelSpec:
        """With further options; those that are None are not given."""
        given = {name: value for name, value in options.items() if value is not None}
        for name in given.keys() & self.options.keys():
            raise OutskirtsError(f"The option {name} is given twice: in '{self}' and by --{name}.")
        return replace(self, options={**self.options, **given})


_NUMBERS = {int: "whole number", float: "number"}


def parse_model(text: str | Path, base: Path | None = None) -> ModelSpec:
    """Take the text of a classifier apart, and check every name in it. Paths become absolute.

    Arguments:
        text: ``KIND:WHERE?OPTION=VALUE&OPTION=VALUE``; a folder alone is that of a run, and a file .onnx or .pt2 tells
            its kind.
        base: Folder that relative paths start from; the working folder unless given.

    Raises:
        OutskirtsError: If the kind or an option is unknown, or a value is no value of its option.
    """
    base = base or Path()
    body, _, query = str(text).partition("?")
    kind, colon, where = body.partition(":")
    path = base / home_expanded(body)
    if not colon or (kind not in KINDS and path.exists()):
        kind = "run" if path.is_dir() else _SUFFIXES.get(path.suffix.lower(), "") if path.is_file() else ""
        where = body
        if not kind:
            raise OutskirtsError(
                f"'{text}' does not say what kind of classifier it is; write KIND:{body} with one of: "
                f"{', '.join(KINDS)}."
            )
    if kind not in KINDS:
        raise unknown("kind of classifier", kind, KINDS)
    if not where:
        raise OutskirtsError(f"'{text}' names no classifier; write {kind}: and the {KINDS[kind]}.")
    if kind not in NAMED:
        where = str((base / home_expanded(where)).absolute())
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise OutskirtsError(f"'{pair}' in '{text}' is not an option of the form NAME=VALUE.")
        if name not in OPTIONS:
            raise unknown("option", name, OPTIONS, "of a classifier")
        if name in options:
            raise OutskirtsError(f"The option {name} is given twice in '{text}'.")
        options[name] = _placed(value, base) if name in _PATHS else value
    return ModelSpec(kind, where, options)


def _placed(value: str, base: Path) -> str:
    """A path from anywhere; what is no file stays as it is."""
    path = base / home_expanded(value.rpartition("#")[0] or value)
    part = f"#{value.rpartition('#')[2]}" if "#" in value else ""
    return f"{path.absolute()}{part}" if path.is_file() else value
