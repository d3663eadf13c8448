"""What version 0.1 called otherwise: read for one more minor version, with a warning that gives the new name."""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping
from typing import Any, TypeVar

__all__ = [
    "DETECTORS",
    "IMPLIED",
    "OPTIONS",
    "PARAMETERS",
    "SYNTHESIS",
    "UNSET",
    "VALUES",
    "RenamedWarning",
    "as_before",
    "buffers",
    "current",
    "current_value",
    "records",
    "renamed",
    "unset_as_before",
    "unset_as_now",
    "was_not_given",
    "weights",
]

T = TypeVar("T")

_OF_METHODS = {
    "initial": "prototype_init",
    "hold": "prototype_freeze",
    "scored": "feature_space",
    "risk": "ood_head",
    "risk_lr_factor": "ood_head_lr_factor",
}

#: Options: in YAML files, on the command line, in Python.
OPTIONS = {
    **_OF_METHODS,
    "engine": "executor",
    "noises": "draws",
    "together": "batch_size",
    "each": "per_class",
    "nearest": "min_radius",
    "farthest": "max_radius",
    "rivals": "competing_classes",
    "evaluations": "network_evaluations",
    "surest": "max_confidence",
    "least": "min_confidence",
    "most": "max_probability",
}

#: Options of what makes images, where those of a training may have the same old names.
SYNTHESIS = {
    **OPTIONS,
    "together": "embedding_batch_size",
    "batch_size": "embedding_batch_size",
    "batch": "generation_batch_size",
}

#: Values of options, by the name that the option has now.
VALUES = {"exposure": {"risk": "features"}}

#: What stood for "not given" where there is None now.
UNSET: Mapping[str, Any] = {
    **dict.fromkeys(
        ("val", "synthetic", "outlier_images", "pretrained", "init", "train_layers", "tracker", "anchors", "words"), ""
    ),
    **dict.fromkeys(("data", "model", "codec", "source", "class_ids"), ""),
    **dict.fromkeys(("size", "outlier_batch", "classes_per_step", "hidden", "k"), 0),
    **dict.fromkeys(("clip_norm", "distinct"), 0.0),
    "real_weight": -1.0,
}

#: Options that version 0.1 did not have, as they are where they are not used.
_NEW: Mapping[str, Any] = {"compile": False, "exif": None}

#: Detectors.
DETECTORS = {"risk": "ood_head"}

#: Parameters of detectors.
PARAMETERS = {"normalise": "normalize", "centred": "centered"}

#: Parameters that files of 0.1 do not have, by detector: how it was fitted then.
IMPLIED: Mapping[str, Mapping[str, str]] = {"vim": {"level": "published"}}

_WEIGHTS = {"head.risk.": "head.ood_head."}
_BUFFERS = {"centre": "center"}


class RenamedWarning(FutureWarning):
    """Something is called by a name that will not be known for long."""


def current(name: str, table: Mapping[str, str], kind: str) -> str:
    """The name that something has now; if it was given by another one, a warning says so.

    >>> current("knn", DETECTORS, "detector")
    'knn'
    """
    return next(iter(renamed({name: None}, table, kind)))


def current_value(option: str, value: Any) -> Any:
    """The value of an option, by the name that the value has now; if it was given by another one, a warning says so.

    >>> current_value("exposure", "margin")
    'margin'
    """
    table = VALUES.get(option, {})
    return current(value, table, f"{option} value") if isinstance(value, str) and value in table else value


def renamed(
    given: Mapping[str, T], table: Mapping[str, str], kind: str, known: Container[str] | None = None
) -> dict[str, T]:
    """The same under the names that its keys have now, where those are `known`, if that is said, and the keys are not.
    One warning says all changes.

    >>> renamed({"lr": 0.1, "batch_size": 8}, SYNTHESIS, "option", {"lr", "batch_size"})
    {'lr': 0.1, 'batch_size': 8}
    """
    changed = {
        name: table[name]
        for name in given
        if name in table and (known is None or (name not in known and table[name] in known))
    }
    if changed:
        told = ", ".join(f"'{old}' is now called '{new}'" for old, new in changed.items())
        warnings.warn(f"{kind.capitalize()}s have new names since version 0.1: {told}.", RenamedWarning, 3)
    return {changed.get(name, name): value for name, value in given.items()}


def records(about: Any) -> Any:
    """What a file of any version says of work that was begun, in the names of this one."""
    if isinstance(about, Mapping):
        return {OPTIONS.get(name, name): records(value) for name, value in about.items()}
    return about


def was_not_given(option: str, value: Any) -> bool:
    """Whether an option has the value that meant "not given" in version 0.1."""
    return option in UNSET and value == UNSET[option]


def as_before(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a training as version 0.1 would have written them, for hashes that change neither with names nor with
    options that are new since then and not used.

    >>> as_before({"ood_head": 0.1, "val": None, "compile": False, "exif": None})
    {'risk': 0.1, 'val': ''}
    """
    # Trainings always had a batch_size, and VOS its draws: new names elsewhere.
    before = {new: old for old, new in _OF_METHODS.items()}
    values = {name: {new: old for old, new in table.items()} for name, table in VALUES.items()}
    return {
        before.get(name, name): values[name].get(value, value) if name in values else value
        for name, value in unset_as_before(options).items()
        if (name, value) not in _NEW.items()
    }


def unset_as_before(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with what version 0.1 had for None, for files whose content does not change."""
    return {name: UNSET.get(name) if value is None else value for name, value in options.items()}


def unset_as_now(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a file of any version, with None for those that were not given."""
    return {name: None if was_not_given(name, value) else value for name, value in options.items()}


def weights(state: Mapping[str, T]) -> dict[str, T]:
    """A state dict of any version with the keys of this one."""
    return _replaced(state, _WEIGHTS)


def buffers(state: Mapping[str, T]) -> dict[str, T]:
    """What a file of a detector of any version holds, with the keys of this one.

    >>> buffers({"transform0": 1, "centres0": 2})
    {'transform0': 1, 'centers0': 2}
    """
    return _replaced(state, _BUFFERS)


def _replaced(state: Mapping[str, T], table: Mapping[str, str]) -> dict[str, T]:
    current: dict[str, T] = {}
    for key, value in state.items():
        for old, new in table.items():
            key = key.replace(old, new)
        current[key] = value
    return current
