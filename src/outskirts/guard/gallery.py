"""A page that shows the images with the lowest p-values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.decode import picture
from ..data.imageset import ImageSet
from ..data.sources import open_split
from ..evaluation.shareable import Shareable
from ..extraction.forward import PassOptions
from ..files import make_folder, write_text
from ..reporting.environment import environment
from ..reporting.pictures import thumbnail
from ..telling import Progress, nobody
from .lowest import Lowest
from .nearest import nearest
from .page import require_page
from .parts import Parts
from .records import Record

__all__ = ["save_gallery", "short_names"]

#: Nearest training images that are shown of each image.
_NEAR = 3


@dataclass(frozen=True)
class _Neighbour:
    """A training image beside an image of the page."""

    name: str
    label: str
    distance: float
    picture: str


@dataclass(frozen=True)
class _Shown:
    """An image of the page."""

    name: str
    row: Record
    words: str
    picture: str
    near: Sequence[_Neighbour]


def save_gallery(
    parts: Parts,
    images: ImageSet,
    lowest: Lowest,
    page: Path,
    options: PassOptions,
    *,
    train: ImageSet | str | Path | None = None,
    name: str = "",
    progress: Progress = nobody,
) -> Path:
    """Write one self-contained HTML page; returns it.

    Arguments:
        parts: The guard.
        images: The images that verdicts are on.
        lowest: Those that are shown.
        page: The page, a file ``.html`` that is not there yet.
        options: How images go through the network, to find training images.
        train: Training images, or their spec, of which the three nearest are shown beside each image.
        name: What the page calls the guard.
        progress: Told of the training images forwarded.

    Raises:
        OutskirtsError: If the page is there already, or the training images cannot be read.
    """
    require_page(page)
    rows = lowest.rows()
    near: Sequence[Sequence[_Neighbour]] = [()] * len(rows)
    if rows and train is not None:
        near = _nearest(parts, images.subset([place for place, _ in rows]), train, options, progress)
    names = short_names([row["file"] for _, row in rows])
    reading = parts.classifier.transform.reading
    shown = [
        _Shown(called, row, _words(parts, row), thumbnail(picture(images.image(place, reading))), beside)
        for (place, row), called, beside in zip(rows, names, near)
    ]
    promise = " ".join(parts.calibration.sentences()[: 1 if parts.calibration.group_of is None else 2])
    template = environment(__package__).get_template("gallery.html.j2")
    make_folder(page.parent)
    text = template.render(shown=shown, lowest=lowest, promise=promise, name=name)
    write_text(page, text)
    return page


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the folder that all absolute paths among them have in common.

    >>> short_names(["/data/new/a.jpg", "/data/new/b/c.jpg", "here.jpg"])
    ['a.jpg', 'b/c.jpg', 'here.jpg']
    """
    absolute = [name for name in names if os.path.isabs(name)]
    if not absolute:
        return list(map(Shareable().text, names))
    common = os.path.commonpath([os.path.dirname(name) for name in absolute])
    return [os.path.relpath(name, common) if os.path.isabs(name) else Shareable().text(name) for name in names]


def _nearest(
    parts: Parts, images: ImageSet, train: ImageSet | str | Path, options: PassOptions, progress: Progress
) -> list[list[_Neighbour]]:
    known = open_split(train, "train")
    found = nearest(parts, images, known, _NEAR, options, progress)
    used, inverse = found.places.unique(return_inverse=True)
    names = short_names([known.name(place) for place in used.tolist()])
    reading = parts.classifier.transform.reading
    pictures = [thumbnail(picture(known.image(place, reading))) for place in used.tolist()]
    labels = [known.classes[label] if label >= 0 else "" for label in known.labels[used].tolist()]
    return [
        [_Neighbour(names[at], labels[at], distance, pictures[at]) for at, distance in zip(*pair)]
        for pair in zip(inverse.tolist(), found.distances.tolist())
    ]


def _words(parts: Parts, row: Record) -> str:
    """A p-value in words."""
    p, calibration = row["p_value"], parts.calibration
    group = 0
    if calibration.group_of is not None:
        group = int(calibration.group_of[parts.classifier.classes.index(row["label"])])
    n = calibration.promises[group].n
    as_high = round(p * (n + 1)) - 1
    if not as_high:
        return f"None of {n:,} calibration images scores as high."
    return f"{as_high:,} of {n:,} calibration images {'scores' if as_high == 1 else 'score'} at least as high."
