"""One forward pass over an image set, kept on disk under a name that says exactly what it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..data.imageset import ImageSet
from ..data.loading.ahead import batches
from ..devices import repeatable, sent
from ..errors import OutskirtsError
from ..files import digest, load_tensors
from ..memory import keep_freed_memory
from ..models.classifier import Classifier
from ..models.heads import Space
from ..models.stages import find_stages
from .blocks import blocks, in_blocks
from .columns import Columns
from .outputs import Outputs
from .probes import FeatureProbe, Probe, StageProbe, gathering
from .transfer import to_host

__all__ = ["extract"]


#: Part of every address; raised when the meaning of what is stored changes.
_STORE = 1

#: The file of features, logits and labels; each probe has one of its own.
_PASS = "pass"


def extract(
    classifier: Classifier,
    image_set: ImageSet,
    *,
    probes: Iterable[Probe] = (),
    features: Space = "head",
    store: Path | str | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    keep: Literal["fp32", "fp16"] = "fp32",
    device: torch.device | str = "cpu",
    batch_size: int = 250,
    skip_corrupt: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Outputs:
    """What a classifier says of every image of a set.

    Arguments:
        classifier: Is put in evaluation mode.
        image_set: Brought to the classifier's input by its transform.
        probes: What else detectors need; gathered in the same pass, but not of tokens, which have no pixels.
        features: What `Outputs.features` are: ``head`` for what the linear layer is applied to, ``raw`` for what
            the backbone gives, ``projection`` for points on the sphere where the head has prototypes. The first two
            differ for heads that standardise their input; published numbers of ASCOOD apply the linear layer to raw
            features in some detectors, which ``raw`` reproduces.
        store: A folder of earlier outputs. They are addressed by weights, transform, images and precision, so
            they can never be those of something else.
        precision: Of the network.
        keep: Of features and of what probes give; half of it is enough for sets of millions. Logits are float32.
        device: Where the network runs.
        batch_size: Images per forward pass.
        skip_corrupt: Leave out images that cannot be decoded; their names are then in `image_set.skipped`.
        progress: Called with the images done and the number of images to forward; never if all is in the store.
            `outskirts.progress` makes a bar of it.

    Raises:
        OutskirtsError: If there is no image, one cannot be decoded, or a file in the store is damaged.
    """
    if not len(image_set):
        raise OutskirtsError(f"There is nothing to extract: {image_set.spec or 'the image set'} holds no images.")
    device = torch.device(device)
    classifier = classifier.to(device).eval()
    folder = None if store is None else Path(store) / _address(classifier, image_set, precision, keep)
    wanted: dict[str, Probe] = {probe.key: probe for probe in probes if image_set.pictures}
    known = _stored(folder, wanted, image_set, skip_corrupt)
    missing = [probe for key, probe in wanted.items() if key not in known]
    names = [name for name in (_PASS, *wanted) if name not in known]
    if names:
        files = {
            name: Columns(
                len(image_set),
                None if folder is None else folder / f"{name}.safetensors",
                {"spec": image_set.spec, "skipped": []},
            )
            for name in names
        }
        try:
            with (
                repeatable(),
                closing(
                    _forward(
                        classifier,
                        image_set,
                        missing,
                        _PASS in files,
                        precision,
                        keep,
                        device,
                        batch_size,
                        skip_corrupt,
                    )
                ) as passes,
            ):
                for done, found in to_host(passes, device):
                    for name, columns in found.items():
                        files[name].put(columns)
                    if progress is not None:
                        progress(done, len(image_set))
            known |= {name: file.finish(skipped=image_set.skipped) for name, file in files.items()}
        finally:
            for file in files.values():
                file.discard()
    values = known.pop(_PASS)
    extra = {key: tensors["values"] for key, tensors in known.items()}
    with torch.no_grad():
        first = values["features"][:1].float().to(device)
        mapped, linear = classifier.space(first, features)

        def seen(column: Tensor) -> Tensor:
            """Features as detectors are to see them; where that is as they are, they stay where they lie."""
            if mapped is first:
                return column
            return in_blocks(lambda rows: classifier.space(rows.float().to(device), features)[0].cpu(), column)

        readings: dict[str, list[Tensor]] = {}
        for rows, of_rows in blocks(values["features"], values["logits"]):
            for name, reading in classifier.readings(rows.float().to(device), of_rows.to(device)).items():
                readings.setdefault(name, []).append(reading.float().cpu())
        extra |= {name: torch.cat(parts) for name, parts in readings.items()}
        extra |= {key: seen(extra[key]) for key, probe in wanted.items() if isinstance(probe, FeatureProbe)}
        inputs = seen(values["features"])
    return Outputs(
        inputs,
        values["logits"],
        values["labels"],
        None if linear is None else type(linear)(*(part.float().cpu() for part in linear)),
        extra,
    )


def _address(classifier: Classifier, image_set: ImageSet, precision: str, keep: str) -> str:
    transform = json.dumps(classifier.transform.to_json(), sort_keys=True)
    weights = classifier.fingerprint()
    return digest(
        str(_STORE),
        classifier.architecture,
        weights,
        transform,
        image_set.fingerprint,
        precision,
        *[keep][: keep != "fp32"],
    )


def _stored(
    folder: Path | None, probes: Iterable[str], image_set: ImageSet, skip_corrupt: bool
) -> dict[str, dict[str, Tensor]]:
    """What the store holds of the pass and of these probes."""
    known: dict[str, dict[str, Tensor]] = {}
    for name, columns in {_PASS: {"features", "logits", "labels"}, **{key: {"values"} for key in probes}}.items():
        file = None if folder is None else folder / f"{name}.safetensors"
        if file is None or not file.is_file():
            continue
        try:
            tensors, about = load_tensors(file)
            if tensors.keys() != columns or "skipped" not in about:
                raise OutskirtsError(f"{file} holds something else than outputs.")
        except OutskirtsError as error:
            raise OutskirtsError(f"{error} Delete it, and it is made again.") from error
        if about["skipped"] and not skip_corrupt:
            return {}  # The pass that follows names the corrupt image.
        image_set.skipped = about["skipped"]
        known[name] = tensors
    return known


def _forward(
    classifier: Classifier,
    image_set: ImageSet,
    probes: Sequence[Probe],
    whole: bool,
    precision: str,
    keep: str,
    device: torch.device,
    batch_size: int,
    skip_corrupt: bool,
) -> Generator[tuple[int, dict[str, dict[str, Tensor]]], None, None]:
    """For each batch, the images done, and what the store keeps of the probes and, if `whole`, of the pass itself:
    columns by file.
    """
    if device.type == "cpu":
        keep_freed_memory()
    classifier = classifier.to(memory_format=torch.channels_last)
    dtype = torch.float32 if keep == "fp32" else torch.float16
    inside = [probe for probe in probes if isinstance(probe, StageProbe)]
    alone = [probe for probe in probes if not isinstance(probe, StageProbe)]
    done, stages = 0, None
    with closing(batches(image_set, classifier.transform, batch_size, skip_corrupt)) as decoded:
        for pixels, labels in decoded:
            images = classifier.transform.device(sent(pixels, device))
            images = images.contiguous(memory_format=torch.channels_last)
            if inside and stages is None:
                stages = find_stages(classifier.backbone, images)
            gathered = {probe.key: probe(classifier, images) for probe in alone}
            found: dict[str, dict[str, Tensor]] = {}
            if whole or inside:
                with (
                    torch.no_grad(),
                    torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
                    gathering(classifier, images, inside, stages) as reduced,
                ):
                    features = classifier.features(images)
                    logits = classifier.head(features)
                gathered |= reduced
            if whole:
                found[_PASS] = {"features": _kept(features, dtype), "logits": logits.float(), "labels": labels}
            found |= {key: {"values": _kept(values, dtype)} for key, values in gathered.items()}
            done += len(pixels)
            yield done, found


def _kept(values: Tensor, dtype: torch.dtype) -> Tensor:
    """As it is kept; what half precision cannot hold becomes the largest that it can."""
    if dtype == torch.float16:
        limit = torch.finfo(dtype).max
        values = values.clamp(-limit, limit)
    return values.to(dtype)
