"""The folder of a guard: what is in it, and whether it is as it was written."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..__about__ import __version__
from ..contents import misfit
from ..data.keyset import KeySet
from ..data.transform import Transform
from ..detectors import Detector
from ..errors import OutskirtsError
from ..evaluation.shareable import Shareable
from ..files import load_json, load_tensors, quick_digest, require_empty, save_json, save_tensors, whole_folder
from ..models.classifier import Classifier
from ..models.seams import UNKNOWN, Seam
from ..seeding import generator
from ..telling import Say
from ..training.rebuilding import portable, rebuild, restore, weights_of
from .calibration import Calibration
from .card import save_card
from .parts import Parts

__all__ = ["ABOUT", "load_about", "load_calibration", "load_parts", "save_parts"]

#: Raised when a guard of an earlier version can no longer be read.
FORMAT = 2

ABOUT = "guard.json"
_CLASSIFIER, _DETECTOR, _CALIBRATION = (f"{name}.safetensors" for name in ("classifier", "detector", "calibration"))
_SEEN = "seen.safetensors"
_FILES = (_CLASSIFIER, _DETECTOR, _CALIBRATION, _SEEN)
#: Side of images that most networks can be looked at with.
_GLANCE = 64
#: Packages that compute scores, with the kinds of networks that alone need them.
_PACKAGES: Mapping[str, set[str]] = {
    "torch": set(),
    "torchvision": set(),
    "timm": set(),
    "Pillow": set(),
    "transformers": {"hf", "clip"},
    "onnxruntime": {"onnx"},
}
#: By how much the score of the check may differ with other versions, of its own size or of 1.
_AGREE = 1e-3

_KIND = {
    "format": int,
    "packages": {str: (str, None)},
    "architecture": str,
    "network": (dict, None),
    "seam": {"side": (int, None), "head": (str, None)},
    "classes": [str],
    "transform": dict,
    "features": str,
    "precision": str,
    "calibration": {
        "acceptance": float,
        "confidence": (float, None),
        "groups": [{"n": int, "rank": int}],
        "pooled": [str],
    },
    "files": {str: str},
    "check": float,
    "digest": str,
}


def save_parts(parts: Parts, folder: Path) -> Path:
    """Write a new folder; see `outskirts.guard.guard.Guard.save`."""
    require_empty(folder)
    # It may be where verdicts were computed last.
    classifier = parts.classifier.cpu()
    tensors, network = weights_of(classifier), portable(classifier)
    with whole_folder(folder) as made:
        save_tensors(made / _CLASSIFIER, tensors)
        parts.detector.save(made / _DETECTOR)
        save_tensors(made / _CALIBRATION, parts.calibration.tensors())
        save_tensors(made / _SEEN, {name: torch.from_numpy(one.rows().copy()) for name, one in parts.seen.items()})
        expected = _of_noise(classifier)
        seam = _seam(classifier, network, made, expected)
        about = {
            "format": FORMAT,
            "packages": _versions(_packages(network)),
            "architecture": Shareable().text(classifier.architecture),
            "network": network,
            "seam": seam._asdict(),
            "classes": classifier.classes,
            "transform": classifier.transform.to_json(),
            "detector": {"name": parts.detector.name, "params": parts.detector.params},
            "features": parts.features,
            "precision": parts.precision,
            "calibration": parts.calibration.to_json(classifier.classes),
            **parts.about,
            "check": _check(expected),
            "files": {name: quick_digest(made / name) for name in _FILES},
        }
        about = json.loads(json.dumps(about))  # As it is read again: names are texts there.
        save_json(made / ABOUT, {**about, "digest": _digest(about)})
        save_card(made, about, parts.calibration)
    return folder


def load_parts(folder: Path, strict: bool, classifier: Classifier | None, say: Say) -> Parts:
    """Read a folder; see `outskirts.guard.guard.Guard.load`."""
    about = load_about(folder)
    others = _other_versions(about["packages"])
    if others and strict:
        raise OutskirtsError(
            f"{folder} was saved with {'; '.join(others)}. Scores may differ: install those versions, or load it with "
            "strict=False (--any-version), which compares what the network gives."
        )
    with _unchanged(folder, about):
        parts = _parts(folder, about, classifier)
    if others:
        _require_agreement(folder, parts, about["check"], others, say)
    return parts


def load_calibration(folder: Path) -> tuple[Calibration, list[str]]:
    """The calibration of a guard and the names of its classes, without its network."""
    about = load_about(folder)
    with _unchanged(folder, about):
        return _calibration(folder, about), about["classes"]


def load_about(folder: Path) -> dict[str, Any]:
    """What ``guard.json`` says, if it has not changed."""
    if not (folder / ABOUT).is_file():
        raise OutskirtsError(f"{folder} is not the folder of a guard: it has no {ABOUT}.")
    about = load_json(folder / ABOUT, {"format": int})
    if about["format"] != FORMAT:
        raise OutskirtsError(
            f"{folder} was written in format {about['format']} of guards; this version of outskirts reads {FORMAT}. "
            "Make the guard again, or use the version that wrote it."
        )
    if clause := misfit(about, _KIND):
        raise OutskirtsError(f"{folder / ABOUT} is damaged: {clause}.")
    known = dict(about)
    if known.pop("digest") != _digest(known):
        raise _changed(folder / ABOUT)
    return about


def _parts(folder: Path, about: Mapping[str, Any], classifier: Classifier | None) -> Parts:
    transform, classes = Transform.from_json(about["transform"]), about["classes"]
    tensors, _ = load_tensors(folder / _CLASSIFIER)
    if classifier is not None:
        restore(classifier, tensors, folder / _CLASSIFIER)
        classifier = classifier.with_transform(transform).eval()
    else:
        source = folder / _CLASSIFIER
        classifier = rebuild(about["network"], transform, classes, tensors, source, Seam(**about["seam"]))
        classifier.architecture = about["architecture"]
    own = ("data", "choice", "measured", "notes")
    return Parts(
        classifier,
        Detector.load(folder / _DETECTOR),
        _calibration(folder, about),
        about["features"],
        about["precision"],
        {name: about[name] for name in own if name in about},
        {name: KeySet.of_rows(rows.numpy(), folder / _SEEN) for name, rows in load_tensors(folder / _SEEN)[0].items()},
    )


def _calibration(folder: Path, about: Mapping[str, Any]) -> Calibration:
    return Calibration.from_tensors(load_tensors(folder / _CALIBRATION)[0], about["calibration"])


def _seam(known: Classifier, network: Mapping[str, Any], folder: Path, expected: torch.Tensor) -> Seam:
    """What makes the network again most quickly, with the features of noise that it gives.

    Raises:
        OutskirtsError: If it gives other bits then, so that nobody finds out when it is needed.
    """
    tensors, _ = load_tensors(folder / _CLASSIFIER)
    for seam in (*([Seam(head=known.cut)] if known.cut is not None else []), Seam(side=_GLANCE), UNKNOWN):
        try:
            again = rebuild(network, known.transform, known.classes, tensors, folder / _CLASSIFIER, seam, tried=True)
            if torch.equal(expected, _of_noise(again)):
                return seam
        except Exception:  # Networks that take one size alone fail in any way.
            if seam == UNKNOWN:
                raise
    raise OutskirtsError(
        f"The network {known.architecture} gives other features when it is built again, so a guard of it cannot be "
        "kept. Export the network as an ONNX file (onnx:FILE), or report it."
    )


def _of_noise(classifier: Classifier) -> torch.Tensor:
    """Features of two images of noise."""
    transform = classifier.transform
    shape = (2, transform.channels, transform.size, transform.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "guard"))
    # In the layout of a pass over images, of which the last bits depend.
    images = transform.device(pixels).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        return classifier.eval().to(memory_format=torch.channels_last).features(images)


def _check(features: torch.Tensor) -> float:
    """The mean of the features of images of noise, which tells whether another version computes the same."""
    return features.double().mean().item()


def _require_agreement(folder: Path, parts: Parts, known: float, others: list[str], say: Say) -> None:
    now = _check(_of_noise(parts.classifier))
    if abs(now - known) > _AGREE * max(1.0, abs(known)):
        raise OutskirtsError(
            f"{folder} was saved with {'; '.join(others)}, and its network gives other features here. Install those "
            "versions, or make the guard again."
        )
    say(f"{folder} was saved with {'; '.join(others)}; its network gives the same features here but for rounding.")


@contextmanager
def _unchanged(folder: Path, about: Mapping[str, Any]) -> Iterator[None]:
    """A block that reads the files of a guard while another thread hashes them; that one has changed is its error."""
    with ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(_require_unchanged, folder, about)
        try:
            yield
        finally:
            hashed.result()


def _require_unchanged(folder: Path, about: Mapping[str, Any]) -> None:
    for name in _FILES:
        if quick_digest(folder / name) != about["files"].get(name):
            raise _changed(folder / name)


def _changed(file: Path) -> OutskirtsError:
    return OutskirtsError(f"{file} was changed after it was written. Make the guard again.")


def _digest(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _packages(network: Mapping[str, Any]) -> list[str]:
    """The packages that compute scores with a network."""
    kinds = {str(network.get(name, "")).partition(":")[0] for name in ("model", "backbone")}
    return [name for name, needed in _PACKAGES.items() if not needed or kinds & needed]


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {"outskirts": __version__}
    for name in packages:
        # To ask a module that is there is quicker than to read what was installed.
        module = sys.modules.get({"Pillow": "PIL"}.get(name, name))
        with suppress(PackageNotFoundError):
            found[name] = str(getattr(module, "__version__", None) or version(name))
    return found


def _other_versions(saved: Mapping[str, str]) -> list[str]:
    """How the versions differ, of the packages that are installed both there and here."""
    here = _versions(saved)
    return [
        f"{name} {there}, and this is {here.get(name, 'not installed')}"
        for name, there in saved.items()
        # Builds for one processor or another are one version.
        if here.get(name, there).partition("+")[0] != there.partition("+")[0]
    ]
