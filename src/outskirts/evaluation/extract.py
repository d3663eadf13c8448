"""One forward pass over an image set, kept on disk under a name that says exactly what it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..data.imageset import ImageSet
from ..detectors.base import Probe
from ..files import digest, load_tensors, save_tensors
from ..models.classifier import Classifier
from .outputs import Outputs

__all__ = ["extract"]

Features = Literal["head", "raw"]

#: Part of every address; raised when the meaning of what is stored changes.
_STORE = 1


def extract(
    classifier: Classifier,
    image_set: ImageSet,
    *,
    probes: Iterable[Probe] = (),
    features: Features = "head",
    store: Path | str | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: torch.device | str = "cpu",
    batch_size: int = 250,
    skip_corrupt: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Outputs:
    """What a classifier says of every image of a set.

    Arguments:
        classifier: Is put in evaluation mode.
        image_set: Brought to the classifier's input by its transform.
        probes: What else detectors need; gathered in the same pass.
        features: What `Outputs.features` are: ``head`` for what the linear layer is applied to, ``raw`` for what
            the backbone gives. They differ for heads that standardise their input.
        store: A folder of earlier outputs. They are addressed by weights, transform, images and precision, so
            they can never be those of something else.
        precision: Of the network; what is kept is float32.
        device: Where the network runs.
        batch_size: Images per forward pass.
        skip_corrupt: Leave out images that cannot be decoded.
        progress: Called with the images done and the number of images to forward; never if all is in the store.
    """
    folder = None if store is None else Path(store) / _address(classifier, image_set, precision)
    wanted: dict[str, Probe] = {probe.key: probe for probe in probes}
    known = _stored(folder, ["pass", *wanted])
    missing = [probe for key, probe in wanted.items() if key not in known]
    if "pass" not in known or missing:
        columns = _forward(classifier, image_set, missing, precision, device, batch_size, skip_corrupt, progress)
        found = {"pass": {key: columns.pop(key) for key in ("features", "logits", "labels")}}
        found |= {key: {"values": value} for key, value in columns.items()}
        if folder is not None:
            for name, tensors in found.items():
                save_tensors(folder / _file(name), tensors, {"spec": image_set.spec})
        known |= found
    values = known.pop("pass")
    with torch.no_grad():
        inputs = values["features"] if features == "raw" else classifier.head_inputs(values["features"].to(device))
    linear = classifier.linear
    return Outputs(
        inputs.cpu(),
        values["logits"],
        values["labels"],
        None if linear is None else type(linear)(*(part.float().cpu() for part in linear)),
        {key: tensors["values"] for key, tensors in known.items()},
    )


def _address(classifier: Classifier, image_set: ImageSet, precision: str) -> str:
    state = classifier.state_dict()
    weights = (part for key in sorted(state) for part in (key, state[key]))
    transform = json.dumps(classifier.transform.to_json(), sort_keys=True)
    return digest(str(_STORE), classifier.architecture, *weights, transform, image_set.fingerprint, precision)


def _file(name: str) -> str:
    return f"{name}.safetensors"


def _stored(folder: Path | None, names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    if folder is None:
        return {}
    return {name: load_tensors(folder / _file(name))[0] for name in names if (folder / _file(name)).is_file()}


def _forward(
    classifier: Classifier,
    image_set: ImageSet,
    probes: Sequence[Probe],
    precision: str,
    device: torch.device | str,
    batch_size: int,
    skip_corrupt: bool,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Tensor]:
    classifier = classifier.to(device, memory_format=torch.channels_last).eval()
    device = torch.device(device)
    parts: dict[str, list[Tensor]] = {}
    done = 0
    for pixels, labels in _blocks(image_set, classifier, skip_corrupt):
        for block, target in zip(pixels.split(batch_size), labels.split(batch_size)):
            images = classifier.transform.device(block.to(device)).contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                    features = classifier.features(images)
                    logits = classifier.head(features)
                columns = {"features": features.float(), "logits": logits.float(), "labels": target}
                columns |= {probe.key: probe(classifier, images).float() for probe in probes}
            for name, column in columns.items():
                parts.setdefault(name, []).append(column.cpu())
            done += len(block)
            if progress is not None:
                progress(done, len(image_set))
    return {name: torch.cat(columns) for name, columns in parts.items()}


def _blocks(image_set: ImageSet, classifier: Classifier, skip_corrupt: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """The set in parts of about 256 MB of pixels, so that memory does not grow with the set."""
    transform = classifier.transform
    rows = max(1, 2**28 // (transform.channels * transform.size**2))
    skipped: list[str] = []
    for start in range(0, len(image_set), rows):
        part = image_set.subset(torch.arange(start, min(start + rows, len(image_set))))
        yield part.resident(transform, skip_corrupt=skip_corrupt)
        skipped += part.skipped
    image_set.skipped = skipped
