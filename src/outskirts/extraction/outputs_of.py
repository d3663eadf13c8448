"""What detectors see of a pass over images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..models.classifier import Classifier
from ..models.heads import Space
from .blocks import blocks, in_blocks
from .outputs import Outputs

__all__ = ["outputs_of"]


@torch.no_grad()
def outputs_of(
    classifier: Classifier,
    values: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    through_head: Iterable[str],
    features: Space,
    device: torch.device,
) -> Outputs:
    """Outputs as detectors are to see them.

    Arguments:
        classifier: Classifier that the images went through.
        values: Features, logits and labels of the images; labels may be missing.
        given: What the probes gave, by key.
        through_head: Keys of those that gave features.
        features: Features that detectors see: ``head``, ``raw`` or ``projection``; see `extract`.
        device: Where the classifier is.
    """
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
    return Outputs(
        seen(values["features"]),
        # A network without a head gives none.
        values["logits"] if values["logits"].shape[1] else None,
        values.get("labels"),
        None if linear is None else type(linear)(*(part.float().cpu() for part in linear)),
        {
            **given,
            **{name: torch.cat(parts) for name, parts in readings.items()},
            **{key: seen(given[key]) for key in through_head},
        },
    )
