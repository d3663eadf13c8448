"""The model card of a guard, in the form that Hugging Face reads, with a histogram of its calibration scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from ..data.described import described
from ..data.transform import Transform
from ..detectors.base import written
from ..figures.scores import calibrated
from ..figures.style import STYLE
from ..texts import listed
from .calibration import Calibration

__all__ = ["CARD", "HISTOGRAM", "save_card"]

CARD = "README.md"
#: The picture in the card.
HISTOGRAM = "scores.png"

#: What the Hub reads of a card.
_HEADER = {
    "library_name": "outskirts",
    "pipeline_tag": "image-classification",
    "tags": ["out-of-distribution-detection", "conformal-prediction", "image-classification"],
}


def save_card(folder: Path, about: Mapping[str, Any], calibration: Calibration) -> None:
    """Write ``README.md`` and its picture into the folder of a guard.

    Arguments:
        folder: The folder.
        about: What ``guard.json`` says.
        calibration: Calibration of the guard.
    """
    _save_histogram(folder / HISTOGRAM, calibration)
    # What a person named may hold what parts the cells of a table.
    environment = Environment(
        loader=PackageLoader(__package__), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "cell": _cell,
        "few": listed,
        "written": _detector,
    }
    template = environment.get_template("card.md.j2")
    header = yaml.safe_dump(_HEADER, sort_keys=False).strip()
    usual: dict[str, Any] = {"data": {}, "measured": {}, "choice": None, "notes": []}
    more = {"preprocessing": described(Transform.from_json(about["transform"])), "header": header}
    text = template.render(**{**usual, **about}, **more, histogram=HISTOGRAM)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _detector(name: str, params: Mapping[str, Any] | str) -> str:
    """A detector as command lines name it, with its parameters or their JSON."""
    return written({"name": name, **(json.loads(params) if isinstance(params, str) else params)})


def _save_histogram(file: Path, calibration: Calibration) -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 2.2), layout="constrained")
        axes = figure.add_subplot()
        thresholds = calibration.thresholds
        # Several thresholds are no line.
        threshold = float(thresholds[0]) if len(thresholds) == 1 else None
        calibrated(axes, torch.cat(calibration.scores).numpy(), threshold)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
