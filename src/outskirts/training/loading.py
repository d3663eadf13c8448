"""The classifier of a run folder, or one that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..contents import misfit
from ..data.imageset import ImageSet
from ..data.reading import Reading
from ..data.transform import Transform
from ..errors import OutskirtsError
from ..files import is_file, load_tensors
from ..models.adapter import adapt, without_logits
from ..models.classifier import Classifier
from ..models.given import FILES, KINDS, given_classifier, parse_model
from ..telling import Say, silence
from ..texts import listed
from .rebuilding import assemble, described, rebuild, restore
from .run import Run

__all__ = ["load", "load_for", "load_to_train", "run_of"]


def run_of(path: Run | Path | str) -> Run | None:
    """The run that a text names; None where it names a classifier that was trained elsewhere.

    Raises:
        OutskirtsError: If there is no such run, or the text is no name of a classifier.
    """
    if not isinstance(path, str) or Path(path).exists() or not (":" in path or "?" in path):
        return Run.open(path)
    spec = parse_model(path)
    if spec.kind != "run":
        return None
    if spec.options:
        raise OutskirtsError(f"'{path}' is a run, which knows its own options; leave out {next(iter(spec.options))}=.")
    return Run.open(spec.where)


def load(
    path: Run | Path | str,
    model: nn.Module | None = None,
    head: str | None = None,
    *,
    classes: Sequence[str] = (),
    say: Say = silence,
) -> Classifier:
    """The trained classifier of a run folder, or one that was trained elsewhere, in evaluation mode.

    Arguments:
        path: The run folder, or a text such as ``timm:resnet50?weights=my.pt``; see `outskirts.models.given`.
        model: The network, if the run was trained on a user's own; it is changed in place.
        head: Dotted name of `model`'s last linear layer, where it cannot be found.
        classes: Names of the classes of a classifier that was trained elsewhere, in the order of the labels of the
            images that it is for.
        say: Told where names do not tell the order of the classes.

    Raises:
        OutskirtsError: If the folder is missing, unfinished, damaged or of another version, or the classifier cannot be
            opened.
    """
    run = run_of(path)
    if run is None:
        return given_classifier(parse_model(str(path)), classes, say)
    if (given := run.given) is not None:
        classifier = given_classifier(parse_model(given.model), given.classes, say)
        classifier.transform = replace(classifier.transform, reading=Reading.from_json(given.reading))
        return classifier
    if not is_file(run.model):
        raise OutskirtsError(f"The run {run.path} is not finished; continue with: {run.continuation}")
    tensors, metadata = load_tensors(run.model)
    if clause := misfit(metadata, {"transform": dict, "classes": [str], "backbone": str}):
        raise OutskirtsError(f"{run.model} is not a classifier written by outskirts: {clause}.")
    transform = Transform.from_json(metadata["transform"])
    names, architecture = metadata["classes"], metadata["backbone"]
    example = torch.zeros(2, transform.channels, transform.size, transform.size)
    recipe = run.recipe()
    if model is not None:
        backbone = without_logits(*adapt(model, example, head, name=architecture))
        classifier = assemble(recipe, backbone, transform, names)
        restore(classifier, tensors, run.model)
        return classifier.eval()
    built_from = described(recipe, architecture)
    if built_from is None:
        raise OutskirtsError(
            f"The run {run.path} was trained on your own network {architecture.removeprefix('custom:')}; "
            "pass an instance of it: load(path, model=...)."
        )
    return rebuild(built_from, transform, names, tensors, run.model)


def load_for(path: Run | Path | str, images: ImageSet, say: Say = silence) -> Classifier:
    """The classifier of `load` for any images, whose classes may be others than its own.

    Where it does not know the names of its classes, and the images are of as many, it gets theirs.

    Arguments:
        path: As of `load`.
        images: The images.
        say: Told where names do not tell the order of the classes.

    Raises:
        OutskirtsError: As of `load`.
    """
    classifier = load(path, say=say)
    names = images.classes
    if not classifier.named and len(classifier.classes) == len(names):
        classifier.classes, classifier.named = list(names), True
        say(
            f"'{path}' does not name its classes; its logits are taken to be in the order of the classes of the "
            f"images: {listed(names)}."
        )
    return classifier


def load_to_train(
    path: str, model: nn.Module | None, head: str | None, classes: Sequence[str], say: Say = silence
) -> Classifier:
    """The classifier of `load` for a training that begins from it. Its arguments are those of `load`.

    Raises:
        OutskirtsError: As of `load`, or if its network is in a compiled file.
    """
    run = run_of(path)
    given = path if run is None else run.given.model if run.given is not None else None
    kind = None if given is None else parse_model(given).kind
    if kind in FILES:
        able = ", ".join(one for one in KINDS if one not in FILES)
        raise OutskirtsError(
            f"'{path}' cannot be trained: a file of the kind {kind} runs a network, but does not tell how it is built "
            f"again. Begin from the network that the file was made of, by one of the other kinds: {able}."
        )
    return load(path, model, head, classes=classes, say=say)
