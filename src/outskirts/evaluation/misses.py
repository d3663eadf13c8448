"""The hardest misses: OOD images that look most familiar to a detector, ID images that look least so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data.imageset import ImageSet
from ..errors import OutskirtsError
from ..extraction.outputs import Outputs
from ..figures.contact_sheet import save_png
from ..files import load_json, save_json

__all__ = ["save_misses"]


def save_misses(
    folder: Path,
    detector: str,
    scores: Mapping[str, Tensor],
    sets: Mapping[str, ImageSet],
    outputs: Mapping[str, Outputs],
    classes: Sequence[str],
    count: int = 6,
) -> None:
    """Write pictures of the misses and ``misses.json``.

    Arguments:
        folder: The gallery.
        detector: Name of the detector whose misses to save.
        scores: By dataset, [N]; ``"id"`` for the ID test images.
        sets: The images, by dataset.
        outputs: Outputs of the classifier for them, by dataset.
        classes: The classifier's class names.
        count: Images per dataset.
    """
    _remove_earlier(folder)
    entries: list[dict[str, Any]] = []
    for dataset, values in scores.items():
        image_set, logits = sets[dataset], outputs[dataset].logits
        if not image_set.pictures:
            continue
        assert logits is not None
        order = values.argsort(descending=dataset == "id")
        confidence, predicted = logits.float().softmax(1).max(1)
        for rank, index in enumerate(order[:count].tolist()):
            image = f"misses/{dataset}-{rank}.png"
            save_png(folder / image, image_set[index][0])
            label = int(image_set.labels[index])
            entries.append(
                {
                    "dataset": dataset,
                    "detector": detector,
                    "kind": "id rejected" if dataset == "id" else "ood accepted",
                    "image": image,
                    "score": values[index].item(),
                    "predicted": classes[int(predicted[index])],
                    "confidence": confidence[index].item(),
                    "label": image_set.classes[label] if 0 <= label < len(image_set.classes) else None,
                }
            )
    save_json(folder / "misses.json", entries)


def _remove_earlier(folder: Path) -> None:
    """Remove the pictures of an earlier evaluation, and no other file."""
    record = folder / "misses.json"
    try:
        earlier = [Path(entry["image"]).name for entry in load_json(record)] if record.is_file() else []
    except (OutskirtsError, KeyError, TypeError):  # Which they are is not known.
        return
    for name in earlier:
        (folder / "misses" / name).unlink(missing_ok=True)
