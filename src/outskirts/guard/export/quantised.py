"""A guard whose network computes in whole numbers of 8 bits, and what that costs.

References:
    | Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (Jacob et al., 2018)
    | https://arxiv.org/abs/1712.05877
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.imageset import ImageSet
from ...data.selection import evenly_spaced
from ...errors import OutskirtsError
from ...evaluation.metrics import auroc
from ...evaluation.tuning import own_outliers
from ...telling import Say
from ..parts import Parts
from ..threshold import promise
from .graph import INPUT, GuardGraph
from .onnx_file import onnx_runner, save_onnx
from .traced import quiet, translating
from .verifying import Answers, Run, answers, numpy_of, pixels_of

__all__ = ["Cost", "quantised"]

#: Images at most that tell the range of each layer, and images that time is taken of.
_RANGED, _TIMED = 512, 16
#: Operations that are quantised.
_OPERATIONS = ("Conv", "Gemm", "MatMul")
#: In the names of the modules that an operation belongs to: the network without its head.
_NETWORK = "classifier.backbone"
#: Bytes from which weights are in a file of their own.
_LARGE = 2**31 - 2**20


#: Correlation of scores, and share of labels that stay, below which a file is another classifier.
_ALIKE = 0.8


@dataclass(frozen=True)
class Cost:
    """What 8 bits cost, on the calibration images.

    Arguments:
        images: Number of images.
        accuracy: Share of right labels before and after; None where labels are not known.
        auroc: AUROC before and after, against outliers made of these images; None where labels are not known.
        same_label: Share of images whose label stays; None without labels.
        correlation: Correlation of the scores before and after.
        time: Time of the quantised file for one image, as a share of the time of the other.
    """

    images: int
    accuracy: tuple[float, float] | None
    auroc: tuple[float, float] | None
    same_label: float | None
    correlation: float
    time: float

    def to_json(self) -> dict[str, Any]:
        """For the metadata."""
        return asdict(self)

    def __str__(self) -> str:
        said = [f"correlation of the scores {self.correlation:.4f}"]
        if self.same_label is not None:
            said.insert(0, f"same label {self.same_label:.1%}")
        if self.auroc is not None:
            one, other = self.auroc
            said.insert(0, f"AUROC {one:.1%} before and {other:.1%} after (against outliers made of these images)")
        if self.accuracy is not None:
            said.insert(0, f"accuracy {self.accuracy[0]:.1%} before and {self.accuracy[1]:.1%} after")
        alike = self.correlation >= _ALIKE and (self.same_label is None or self.same_label >= _ALIKE)
        advice = "" if alike else " Its verdicts have little to do with those of the guard: do not use this file."
        return f"8 bits on {self.images:,} calibration images: {', '.join(said)}, {self.time:.0%} of the time.{advice}"


def quantised(parts: Parts, path: Path, images: ImageSet, say: Say) -> tuple[Parts, Cost]:
    """Write an ONNX file whose network is quantised; returns the parts with its thresholds, and what it costs.

    The thresholds are calibrated anew, on the scores that the quantised network gives. What the network is quantised
    with is fitted, so these are other images: a fifth of them tell the range of each layer, the rest the thresholds.

    Arguments:
        parts: Parts of the guard.
        path: File to write.
        images: Calibration images.
        say: Told in sentences what is done.

    Raises:
        OutskirtsError: If there are too few images, or nothing in the network can be quantised.
    """
    terms = parts.calibration.promises[0]
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[evenly_spaced(len(images), min(_RANGED, -(-len(images) // 5)))] = True
    ranged, rest = images.subset(chosen), images.subset(~chosen)
    try:
        promise(len(rest), terms.acceptance, terms.confidence)  # Refuses too few before minutes of work.
    except OutskirtsError as error:
        raise OutskirtsError(
            f"{len(ranged)} of the {len(images)} calibration images tell the range of each layer, so they set no "
            f"threshold. {error}"
        ) from error
    before, places = answers(parts, rest)
    plain = path.with_name(f"plain-{path.name}")
    say(f"Quantising the network with {len(ranged):,} images.")
    _write(parts, plain, path, ranged)
    say(f"Calibrating the thresholds anew on {len(rest):,} images.")
    run = onnx_runner(path)
    after = _answers(run, parts, rest, places)
    parts = replace(parts, calibration=parts.calibration.again(after.scores, after.predicted, parts.classifier.classes))
    areas = _areas(parts, run, rest.subset(places), before, after)
    ratio = _time_of(run, onnx_runner(plain), parts.classifier.transform.size)
    _write(parts, plain, path, ranged)
    for left in path.parent.glob(f"{plain.name}*"):
        left.unlink()
    return parts, _cost(before, after, areas, ratio)


def _write(parts: Parts, plain: Path, path: Path, images: ImageSet) -> None:
    """Write the graph as it is, and quantised by what it makes of some images."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    save_onnx(GuardGraph(parts), plain)
    nodes = _network(plain)
    reading = parts.classifier.transform.reading
    feed = _Feed({INPUT: numpy_of(pixels_of(images, place, reading)[None])} for place in range(len(images)))
    large = sum(file.stat().st_size for file in plain.parent.glob(f"{plain.name}*")) > _LARGE
    with quiet(), translating("ONNX Runtime cannot quantise it"):
        quantize_static(
            plain,
            path,
            feed,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATIONS),
            nodes_to_quantize=nodes,
            per_channel=True,
            # Processors of the kind x86 multiply unsigned by signed numbers; both signed take twice the time there.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=large,
        )


class _Feed:
    """Images one after the other, as ONNX Runtime asks for them."""

    def __init__(self, images: Iterator[Mapping[str, np.ndarray[Any, Any]]]) -> None:
        self._images = images

    def get_next(self) -> Mapping[str, np.ndarray[Any, Any]] | None:
        return next(self._images, None)


def _network(path: Path) -> list[str]:
    """Names of the operations of the network that can be quantised."""
    import onnx

    nodes = onnx.load(path, load_external_data=False).graph.node
    found = [
        node.name
        for node in nodes
        if node.op_type in _OPERATIONS and any(_NETWORK in entry.value for entry in node.metadata_props)
    ]
    if not found:
        raise OutskirtsError("This network has no layer that can be quantised; export it without int8.")
    return found


def _answers(run: Run, parts: Parts, images: ImageSet, places: Tensor) -> Answers:
    """What a file says of the images."""
    reading = parts.classifier.transform.reading
    rows = [run(pixels_of(images, place, reading)[None]) for place in places.tolist()]
    scores = torch.cat([row["score"] for row in rows])
    logits = None if parts.classifier.headless else torch.cat([row["logits"] for row in rows])
    return Answers(scores, logits, None)


def _areas(parts: Parts, run: Run, images: ImageSet, before: Answers, after: Answers) -> tuple[float, float] | None:
    """AUROC before and after, against outliers made of the images."""
    if before.labels is None or before.logits is None:
        return None
    outliers = own_outliers(parts.classifier, images)
    known, places = answers(parts, outliers)
    found = _answers(run, parts, outliers, places)
    return auroc(before.scores, known.scores), auroc(after.scores, found.scores)


def _time_of(run: Run, other: Run, side: int) -> float:
    """The time of one file as a share of that of another, one image at a time, which has the size of the input.

    They take turns, as a busy machine makes both slower; the median of the ratios says little of one moment.
    """
    pixels = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    ratios = []
    for turn in range(_TIMED + 1):
        times = []
        for one in (run, other):
            start = time.perf_counter()
            one(pixels)
            times.append(time.perf_counter() - start)
        if turn:  # The first is slower, as it takes memory.
            ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def _cost(before: Answers, after: Answers, areas: tuple[float, float] | None, ratio: float) -> Cost:
    scores = torch.stack([before.scores, after.scores])
    correlation = torch.corrcoef(scores)[0, 1].item()
    same, accuracy = None, None
    if before.predicted is not None and after.predicted is not None:
        same = (before.predicted == after.predicted).double().mean().item()
        if before.labels is not None:
            accuracy = tuple(
                (one == before.labels).double().mean().item() for one in (before.predicted, after.predicted)
            )
    return Cost(len(before.scores), accuracy, areas, same, correlation, ratio)  # type: ignore[arg-type]
