"""Write a guard to one file, once it is known to give the guard's verdicts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ...data.decode import CorruptImage
from ...data.imageset import ImageSet
from ...errors import OutskirtsError
from ...files import temporary_folder, writing
from ...telling import Say
from ...temporary import require_new
from ...texts import joined
from ..own_images import held_out
from ..parts import Parts
from .graph import GuardGraph
from .metadata import metadata
from .onnx_file import annotate_onnx, onnx_runner, require_onnx, save_onnx
from .quantised import Cost, quantised
from .torch_file import annotate_torch, save_torch, torch_runner
from .verifying import Compared, verified, verified_alone

__all__ = ["Exported", "Format", "exported"]

Format = Literal["onnx", "torch"]

_ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Arguments:
        path: The file.
        compared: How well it agrees with its guard; None of a quantised one.
        cost: What 8 bits cost; None of one that is not quantised.
    """

    path: Path
    compared: Compared | None
    cost: Cost | None

    def __str__(self) -> str:
        return joined(str(self.compared or ""), str(self.cost or ""))


def exported(
    parts: Parts, path: Path, form: Format, images: ImageSet | None, calibration: ImageSet | None, say: Say
) -> Exported:
    """Write a guard to one file.

    Arguments:
        parts: Parts of the guard.
        path: File to write.
        form: Kind of file.
        images: Images to compare the file with the guard on; noise unless given.
        calibration: Calibration images, for a network that is quantised.
        say: Told in sentences what is done.

    Raises:
        OutskirtsError: If the guard cannot be exported, or the file gives other verdicts.
    """
    if path.suffix != _ENDINGS[form]:
        raise OutskirtsError(f"The name of a file of {form} ends in {_ENDINGS[form]}, not in '{path.suffix}': {path}.")
    if calibration is not None and form != "onnx":
        raise OutskirtsError("Only an ONNX file can be quantised; leave out int8, or export to ONNX.")
    if calibration is not None and images is not None:
        raise OutskirtsError(
            "A file of 8 bits has scores of its own, so it is not compared with the guard; leave out the images to "
            "compare them on (images=, or --verify)."
        )
    for one in (path, path.with_name(f"{path.name}.data")):
        require_new(one)
    if form == "onnx":
        require_onnx()
    parts.classifier.cpu().eval()
    graph = GuardGraph(parts)
    with temporary_folder(path) as folder:
        temporary = folder / path.name
        if calibration is not None:
            made = _quantised(parts, temporary, calibration, say)
        else:
            say("Making the graph, and comparing it with the guard.")
            made = _plain(parts, graph, temporary, form, images)
        with writing(path):
            # Weights in a file of their own are there before what names them.
            for file in sorted(folder.iterdir(), key=lambda file: file == temporary):
                os.replace(file, path.with_name(file.name))
    return Exported(path, made.compared, made.cost)


def _plain(parts: Parts, graph: GuardGraph, path: Path, form: Format, images: ImageSet | None) -> Exported:
    save, run, annotate = _FORMS[form]
    save(graph, path)
    compared = verified(run(path, graph.outputs), parts, images)
    annotate(path, metadata(parts, {"compared": compared.to_json()}))
    return Exported(path, compared, None)


def _quantised(parts: Parts, path: Path, calibration: ImageSet, say: Say) -> Exported:
    learnt = {name: keys for name, keys in parts.seen.items() if name != "calibration"}
    calibration = _readable(held_out(calibration, {}, learnt, say), parts, say)
    parts, cost = quantised(parts, path, calibration, say)
    verified_alone(onnx_runner(path), parts, calibration)
    annotate_onnx(path, metadata(parts, {"int8": cost.to_json()}))
    return Exported(path, None, cost)


def _readable(images: ImageSet, parts: Parts, say: Say) -> ImageSet:
    """The images that can be decoded; others are told, as a guard may have been made without them."""
    lost = []
    for place in range(len(images)):
        try:
            images.image(place, parts.classifier.transform.reading)
        except CorruptImage as error:
            lost.append(place)
            say(f"Left out: {error}")
    kept = torch.ones(len(images), dtype=torch.bool)
    kept[lost] = False
    return images.subset(kept) if lost else images


_FORMS: dict[Format, Any] = {
    "onnx": (save_onnx, lambda path, _: onnx_runner(path), annotate_onnx),
    "torch": (save_torch, torch_runner, annotate_torch),
}
