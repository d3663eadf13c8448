"""Whether a file gives the verdicts of its guard, on images of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.imageset import ImageSet
from ...data.reading import Reading
from ...data.selection import evenly_spaced
from ...data.transform import Transform
from ...errors import OutskirtsError
from ...extraction.forward import PassOptions
from ...extraction.stream import stream
from ...seeding import generator
from ...texts import counted
from ..calibration import Calibration
from ..parts import Parts

__all__ = [
    "AGREE",
    "Answers",
    "Compared",
    "Run",
    "answers",
    "noise",
    "numpy_of",
    "pixels_of",
    "verified",
    "verified_alone",
]

#: By how much scores and logits may differ, of their own size or of 1.
AGREE = 1e-4
#: Images that are compared at most.
_MOST = 512
#: Images of one size that are shown at once.
_TOGETHER = 8

#: Pixels uint8 [B, H, W, 3] in, the outputs of a graph by name out.
Run = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Compared:
    """How well a file agrees with its guard.

    Arguments:
        images: Number of images.
        sizes: Number of sizes among them.
        score: Largest difference of scores, of their own size or of 1.
        logits: The same of logits; None where there are none.
        unread: Number of images that could not be decoded, and are not among the others.
    """

    images: int
    sizes: int
    score: float
    logits: float | None
    unread: int

    def to_json(self) -> dict[str, Any]:
        """For the metadata."""
        return asdict(self)

    def __str__(self) -> str:
        logits = "" if self.logits is None else f", in the logits {self.logits:.1e}"
        return (
            f"On {counted(self.images, 'image')} of {counted(self.sizes, 'size')}, the largest difference to the guard "
            f"is {self.score:.1e} in the score{logits}."
            + (f" {counted(self.unread, 'image')} could not be decoded." if self.unread else "")
        )


@dataclass(frozen=True)
class Answers:
    """What is said of N images, in order.

    Arguments:
        scores: Scores [N], float64.
        logits: Logits [N, C], or None.
        labels: Labels of the images [N], where they are known.
    """

    scores: Tensor
    logits: Tensor | None
    labels: Tensor | None

    @property
    def predicted(self) -> Tensor | None:
        """Class that is predicted for each, [N]."""
        return None if self.logits is None else self.logits.argmax(1)


def verified(run: Run, parts: Parts, images: ImageSet | None) -> Compared:
    """Raise unless a file gives the verdicts of its guard.

    Arguments:
        run: Runs the file.
        parts: Parts of the guard.
        images: Images to compare on; noise of several sizes unless given.

    Raises:
        OutskirtsError: If a score, a logit or a verdict differs by more than rounding.
    """
    shown = noise(parts.classifier.transform) if images is None else images
    shown = shown.subset(evenly_spaced(len(shown), _MOST)) if len(shown) > _MOST else shown
    known, places = answers(parts, shown)
    given, sizes = _run_all(run, shown, places, parts.classifier.transform.reading)
    score = _apart(given["score"], known.scores)
    logits = None if known.logits is None else _apart(given["logits"], known.logits)
    for what, apart in (("score", score), ("logits", logits)):
        if apart is not None and not apart <= AGREE:
            raise OutskirtsError(
                f"The file is not written: its {what} differs from the guard's by up to {apart:.2g}, more than "
                f"{AGREE:g}. Please report it, with the versions of torch and onnxruntime."
            )
    _require_verdicts(parts.calibration, known, given)
    return Compared(len(places), sizes, score, logits, len(shown) - len(places))


def verified_alone(run: Run, parts: Parts, images: ImageSet) -> None:
    """Raise unless the p-values and verdicts of a file follow from its own scores.

    Arguments are those of `verified`.
    """
    places = evenly_spaced(len(images), _MOST)
    given, _ = _run_all(run, images, places, parts.classifier.transform.reading)
    _require_consequent(parts.calibration, given)


def answers(parts: Parts, images: ImageSet) -> tuple[Answers, Tensor]:
    """What a guard says of images, and the positions [N] of those that could be decoded."""
    probes = parts.detector.probes
    options = PassOptions(skip_corrupt=True)
    found = []
    for places, outputs in stream(parts.classifier, images, probes, parts.features, options):
        with torch.inference_mode():
            found.append((places, parts.detector.score(outputs).double(), outputs.logits))
    if not found:
        raise OutskirtsError("None of the images to compare on can be decoded.")
    places = torch.cat([place for place, _, _ in found])
    scores = torch.cat([score for _, score, _ in found])
    logits = [one for _, _, one in found if one is not None]
    labels = images.labels[places]
    known = None if (labels < 0).any() else labels
    return Answers(scores, torch.cat(logits) if logits else None, known), places


def pixels_of(images: ImageSet, place: int, reading: Reading) -> Tensor:
    """Pixels as a graph takes them, uint8 [H, W, 3]."""
    return images.image(place, reading).expand(3, -1, -1).permute(1, 2, 0)


def noise(transform: Transform) -> ImageSet:
    """Pictures of noise, smaller and larger than a network's input, wide, tall and square, two of each size."""
    side, draws = transform.resident_size, generator(0, "export")
    wide = ((1, 1), (0.5, 0.7), (1.6, 1), (1, 2.3), (3.1, 2.4))
    shapes = [(max(2, round(side * height)), max(2, round(side * width))) for height, width in wide]
    pictures = []
    for height, width in [shape for shape in shapes for _ in range(2)]:
        # Plain areas beneath it: noise alone is grey once it is resized.
        coarse = torch.randint(0, 200, (3, 1 + height // 7, 1 + width // 7), generator=draws)
        plain = coarse.repeat_interleave(7, 1).repeat_interleave(7, 2)[:, :height, :width]
        fine = torch.randint(0, 56, (3, height, width), generator=draws)
        pictures.append((plain + fine).to(torch.uint8).permute(1, 2, 0).numpy())
    return ImageSet(pictures, spec="noise")


def _run_all(run: Run, images: ImageSet, places: Tensor, reading: Reading) -> tuple[dict[str, Tensor], int]:
    """The outputs of a graph in the order of the places, and the number of sizes."""
    rows: dict[str, list[Tensor]] = {}
    order: list[int] = []
    sizes = set()
    for members, pixels in _batches(images, places.tolist(), reading):
        order.extend(members)
        sizes.add(pixels.shape[1:3])
        for name, values in run(pixels).items():
            rows.setdefault(name, []).append(values)
    back = torch.tensor(order).argsort()
    return {name: torch.cat(parts)[back] for name, parts in rows.items()}, len(sizes)


def _batches(images: ImageSet, places: Sequence[int], reading: Reading) -> Iterator[tuple[list[int], Tensor]]:
    """Numbers of images of one size, counted along the places, and their pixels."""
    waiting: dict[torch.Size, list[tuple[int, Tensor]]] = {}
    for number, place in enumerate(places):
        pixels = pixels_of(images, place, reading)
        batch = waiting.setdefault(pixels.shape, [])
        batch.append((number, pixels))
        if len(batch) == _TOGETHER:
            yield _stacked(waiting.pop(pixels.shape))
    yield from map(_stacked, waiting.values())


def _stacked(batch: list[tuple[int, Tensor]]) -> tuple[list[int], Tensor]:
    numbers, pixels = zip(*batch)
    return list(numbers), torch.stack(pixels)


def _apart(given: Tensor, known: Tensor) -> float:
    """The largest difference, of the size of what is known or of 1; infinity where only one is a number."""
    given, known = given.double(), known.double()
    same = (given == known) | (given.isnan() & known.isnan())
    apart = (given - known).abs() / known.abs().clamp_min(1)
    return apart.nan_to_num(torch.inf).where(~same, 0.0).amax().item()


def _require_verdicts(calibration: Calibration, known: Answers, given: Mapping[str, Tensor]) -> None:
    """Raise unless verdicts are the guard's, but for rounding."""
    _require_consequent(calibration, given)
    label, scores = given.get("label"), given["score"]
    predicted = known.predicted
    limits = calibration.thresholds[calibration.groups(predicted, len(scores))]
    close = (known.scores - limits).abs() <= AGREE * limits.abs().clamp_min(1)
    wrong = (given["accepted"] != calibration.accepted(known.scores, predicted)) & ~close
    if known.logits is not None and label is not None:
        top = known.logits.gather(1, label[:, None]).squeeze(1)
        best = known.logits.amax(1)
        tied = best - top <= 2 * AGREE * best.abs().clamp_min(1)
        wrong = (wrong & (label == predicted)) | ~tied
    if wrong.any():
        raise OutskirtsError(
            f"The file is not written: of {counted(len(scores), 'image')} it gives another verdict than the guard to "
            f"{int(wrong.sum())}. Please report it, with the versions of torch and onnxruntime."
        )


def _require_consequent(calibration: Calibration, given: Mapping[str, Tensor]) -> None:
    """Raise unless p-values and verdicts are those that the calibration gives the scores and labels."""
    label, scores = given.get("label"), given["score"]
    own = calibration.accepted(scores, label), calibration.p_values(scores, label)
    if not (torch.equal(given["accepted"], own[0]) and torch.equal(given["p_value"], own[1])):
        raise OutskirtsError(
            "The file is not written: its p-values do not follow from its scores. Please report it, with the "
            "versions of torch and onnxruntime."
        )


def numpy_of(values: Tensor) -> np.ndarray[Any, Any]:
    """The same numbers for another library."""
    return values.contiguous().numpy()
