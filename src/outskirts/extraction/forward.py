"""Images through the network, batch by batch, and what is kept of each."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..arguments import check_arguments
from ..data.imageset import ImageSet
from ..data.likeness import thumbnails
from ..data.loading.ahead import batches
from ..devices import sent
from ..memory import keep_freed_memory
from ..models.classifier import Classifier
from ..models.stages import find_stages
from .probes import Probe, StageProbe, gathering

__all__ = ["LIKENESS", "PASS", "PassOptions", "forward"]

#: The file of features, logits and labels; each probe has one of its own.
PASS = "pass"

#: The file of what tells an image from others.
LIKENESS = "likeness"


@check_arguments
@dataclass(frozen=True)
class PassOptions:
    """How images go through a network; see `outskirts.extraction.extract.extract`.

    Arguments:
        precision: Precision of the network.
        keep: Precision of the features and of what probes give.
        device: Where the network runs.
        batch_size: Images per forward pass.
        skip_corrupt: Leave out images that cannot be decoded.
    """

    precision: Literal["fp32", "bf16"] = "fp32"
    keep: Literal["fp32", "fp16"] = "fp32"
    device: torch.device | str = "cpu"
    batch_size: int = 250
    skip_corrupt: bool = False


def forward(
    classifier: Classifier, image_set: ImageSet, probes: Sequence[Probe], names: Collection[str], options: PassOptions
) -> Generator[tuple[int, dict[str, dict[str, Tensor]]], None, None]:
    """For each batch, the images done, and what the store keeps of the probes and, if they are named, of the pass
    itself and of the thumbnails: columns by file.
    """
    device, bf16 = torch.device(options.device), options.precision == "bf16"
    if device.type == "cpu":
        keep_freed_memory()
    classifier = classifier.to(memory_format=torch.channels_last)
    dtype = torch.float32 if options.keep == "fp32" else torch.float16
    inside = [probe for probe in probes if isinstance(probe, StageProbe)]
    alone = [probe for probe in probes if not isinstance(probe, StageProbe)]
    whole, done, stages = PASS in names, 0, None
    with closing(batches(image_set, classifier.transform, options.batch_size, options.skip_corrupt)) as decoded:
        for pixels, labels in decoded:
            if not len(labels):
                continue
            pixels = sent(pixels, device)
            images = classifier.transform.device(pixels)
            images = images.contiguous(memory_format=torch.channels_last)
            if inside and stages is None:
                stages = find_stages(classifier.backbone, images)
            gathered = {probe.key: probe(classifier, images) for probe in alone}
            tables: dict[str, dict[str, Tensor]] = {}
            if whole or inside:
                with (
                    torch.no_grad(),
                    torch.autocast(device.type, torch.bfloat16, enabled=bf16),
                    gathering(classifier, images, inside, stages) as reduced,
                ):
                    features = classifier.features(images)
                    logits = features[:, :0] if classifier.headless else classifier.head(features)
                gathered |= reduced
            if whole:
                tables[PASS] = {"features": _kept(features, dtype), "logits": logits.float(), "labels": labels}
            if LIKENESS in names:
                tables[LIKENESS] = {"thumbnails": thumbnails(pixels)}
            tables |= {key: {"values": _kept(values, dtype)} for key, values in gathered.items()}
            done += len(pixels)
            yield done, tables


def _kept(values: Tensor, dtype: torch.dtype) -> Tensor:
    """As it is kept; what half precision cannot hold becomes the largest that it can."""
    if dtype == torch.float16:
        limit = torch.finfo(dtype).max
        values = values.clamp(-limit, limit)
    return values.to(dtype)
