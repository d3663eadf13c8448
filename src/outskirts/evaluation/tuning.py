"""Choosing the parameters of detectors, without a look at the test sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from ..data.imageset import ImageSet
from ..detectors.base import Detector
from ..errors import OutskirtsError
from ..extraction.outputs import Outputs
from ..figures.contact_sheet import denormalized
from ..models.classifier import Classifier
from ..seeding import generator
from ..synthesis.jigsaw import far_outliers
from ..synthesis.pixel import PixelSynthesizer
from .evaluate import fit_detectors, result, score_images
from .results import TUNING, Result

__all__ = ["Tuned", "grid_of", "own_outliers", "tune"]

#: Images to make outliers of.
_MADE_OF = 1000


def own_outliers(classifier: Classifier, images: ImageSet, seed: int = 0, skip_corrupt: bool = False) -> ImageSet:
    """Outliers made of in-distribution images, to choose parameters by where no others are at hand.

    A quarter has the pixels that decide the class moved along the gradient of the logit of their class, as ASCOOD does;
    a quarter has them shuffled; a quarter is cut into squares that change places; a quarter is noise.

    Arguments:
        classifier: A classifier in evaluation mode.
        images: Labelled; not those of the test.
        seed: Seed of the choice of images and of all other random numbers.
        skip_corrupt: Leave out images that cannot be decoded.
    """
    some = images.limit(_MADE_OF, seed)
    shown, labels = some.resident(classifier.transform, skip_corrupt=skip_corrupt)
    draws = generator(seed, "own outliers")
    made = []
    for block, of in zip(shown.split(250), labels.split(250)):
        normal = classifier.transform.device(block)
        quarters = torch.arange(len(normal)) % 4
        for kind, quarter in (("gradient", 0), ("shuffle", 1)):
            synthesizer = PixelSynthesizer(kind, relative=True)  # type: ignore[arg-type]
            rows = quarters == quarter
            made.append(synthesizer(classifier, normal[rows], of[rows], 1.0, draws).values)
        rest = normal[quarters >= 2]
        made.append(far_outliers(rest, len(rest), draws))
    # As bytes, which no range of wide pixels changes.
    pictures = (denormalized(torch.cat(made), classifier.transform) * 255).round().to(torch.uint8)
    return ImageSet(
        pictures.movedim(1, 3).numpy() if pictures.shape[1] > 1 else pictures[:, 0].numpy(),
        torch.full((len(pictures),), -1),
        [],
        spec="own outliers",
    )


@dataclass(frozen=True)
class Tuned:
    """What was chosen.

    Arguments:
        detectors: With the best parameters of their grids, fitted, by the labels of those that were asked for.
        rows: The whole grid, a row for each point, in the group `TUNING`.
    """

    detectors: Mapping[str, Detector]
    rows: tuple[Result, ...]


def grid_of(detector: Detector, passes: bool = False) -> list[Detector]:
    """The detector at every point of its grid, in the order published; just itself if it has none.

    Parameters that are not at their defaults were asked for, and stay. Points at which parameters do not go together
    are left out.

    Arguments:
        detector: Any detector.
        passes: Whether parameters are free of which each takes a pass over the images.
    """
    defaults = type(detector)().params
    grid = {**detector.grid, **(detector.pass_grid if passes else {})}
    free = {name: values for name, values in grid.items() if detector.params[name] == defaults[name]}
    points = []
    for values in product(*free.values()):
        parameters: dict[str, Any] = {**detector.params, **dict(zip(free, values))}
        try:
            points.append(type(detector)(**parameters))
        except OutskirtsError:
            continue
    return points or [detector]


def tune(
    detectors: Mapping[str, Detector],
    *,
    train: Outputs | None,
    val: Outputs,
    outliers: Outputs,
    name: str,
    run: str = "",
    method: str = "",
    seed: int = 0,
    passes: bool = False,
    progress: Callable[[str], None] = lambda label: None,
) -> Tuned:
    """Take the point of each detector's grid with the largest AUROC between validation images and outliers.

    Every point is computed from outputs that are there, those of the probes of all points among them. Detectors
    without a grid have one point, by which they can be compared with the others.

    Arguments:
        detectors: Detectors, by label.
        train: Outputs of the training images.
        val: Outputs of ID validation images.
        outliers: Outputs of OOD validation images, none of them in a test set.
        name: What they are called in the table.
        run: Names the run in the table.
        method: Names the training method there.
        seed: Seed of the run.
        passes: Whether parameters are chosen of which each takes a pass over the images.
        progress: Told of each detector.
    """
    best: dict[str, Detector] = {}
    rows: list[Result] = []
    for label, detector in detectors.items():
        best[label] = detector
        points = grid_of(detector, passes)
        progress(label)
        results: dict[int, Result] = {}
        # The last point first: of neighbours and dimensions, the most, of which the others are a part.
        for place in reversed(range(len(points))):
            point = points[place]
            try:
                fit_detectors({label: point}, train=train, val=val)
                sets = [score_images(point, outputs, name) for outputs in (val, outliers)]
            except OutskirtsError:
                continue  # More neighbours than images, or dimensions than features.
            about: dict[str, Any] = {"run": run, "method": method, "group": TUNING, "dataset": name}
            results[place] = result(point, sets[0], sets[1:], seed, **about)
        if results:
            best[label] = points[max(sorted(results), key=lambda place: results[place].auroc)]
            rows += [results[place] for place in sorted(results)]
    return Tuned(best, tuple(rows))
