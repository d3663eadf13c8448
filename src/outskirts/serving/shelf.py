"""The guards that are served: what each says of itself, and a watch over its verdicts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..errors import OutskirtsError
from ..files import is_file, load_json, save_json
from ..guard.calibration import Calibration
from ..guard.folder import ABOUT, load_about, load_calibration
from ..guard.monitoring import Watch
from ..guard.records import Record
from ..telling import Say

__all__ = ["Served", "stamp_of"]

#: Bars of the histogram of calibration scores.
_BARS = 30


@dataclass(frozen=True)
class Served:
    """A guard that is served.

    Arguments:
        name: Name of its folder.
        about: What ``guard.json`` says.
        calibration: Calibration scores and thresholds.
        watch: A watch over its verdicts.
        stamp: What tells its folder from one that was written later.
    """

    name: str
    about: Mapping[str, Any]
    calibration: Calibration
    watch: Watch
    stamp: tuple[int, ...]

    @classmethod
    def opened(cls, name: str, folder: Path, alpha: float, state: Path | None, say: Say) -> Self:
        """The guard in a folder, without its network.

        Arguments:
            name: Name of the guard.
            folder: The folder.
            alpha: Probability of a false alarm of the watch.
            state: File of what an earlier watch knew; the watch goes on there if it was of this guard.
            say: Told if it goes on, or begins anew.

        Raises:
            OutskirtsError: If there is no guard, or a file of it was changed.
        """
        stamp = stamp_of(folder)
        about = load_about(folder)
        calibration, classes = load_calibration(folder)
        watch = Watch.of(calibration, classes, alpha)
        if state is not None and is_file(state):
            earlier = Watch.from_json(load_json(state, dict))
            try:
                watch.require_same(earlier)
            except OutskirtsError as error:
                os.replace(state, before := state.with_name(f"{state.name}.before"))
                say(f"The watch over {name} begins anew; what it knew is in {before}. {error}")
            else:
                say(f"The watch over {name} goes on after {earlier.images:,} images.")
                watch = earlier
        return cls(name, about, calibration, watch, stamp)

    @property
    def version(self) -> str:
        """What tells this guard from another of its name."""
        return str(self.about["digest"])

    def take(self, rows: Sequence[Record]) -> None:
        """Let the watch see the verdicts of rows, in the order in which they came."""
        self.watch.update_rows((row["label"], row["accepted"]) for row in rows if "accepted" in row)

    def keep(self, state: Path) -> None:
        """Write what the watch knows to a file."""
        save_json(state, self.watch.to_json())

    def to_json(self) -> dict[str, Any]:
        """What the guard says of itself: ``guard.json``, its promises, and a histogram of its calibration scores."""
        scores = np.concatenate([one.numpy() for one in self.calibration.scores])
        counts, edges = np.histogram(scores, _BARS)
        return {
            "name": self.name,
            "version": self.version,
            "promise": self.calibration.sentences(),
            "thresholds": self._thresholds(),
            "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
            "about": dict(self.about),
        }

    def _thresholds(self) -> list[dict[str, Any]]:
        limits, classes = self.calibration.thresholds.tolist(), self.about["classes"]
        groups = self.calibration.group_of
        if groups is None:
            return [{"threshold": limits[0], "n": self.calibration.promises[0].n, "classes": None}]
        return [
            {
                "threshold": limit,
                "n": self.calibration.promises[group].n,
                "classes": [name for name, of in zip(classes, groups.tolist()) if of == group],
            }
            for group, limit in enumerate(limits)
        ]

    def drift(self) -> dict[str, Any]:
        """What the watch says."""
        drifts = self.watch.drifts
        return {
            "name": self.name,
            "images": self.watch.images,
            "rejected": sum(one.rejected for one in drifts),
            "e_value": max(one.e_value for one in drifts),
            "alarm_at": 1 / drifts[0].alpha,
            "alarm": self.watch.alarm,
            "sentence": str(self.watch),
        }


def stamp_of(folder: Path) -> tuple[int, ...]:
    """What tells a folder from one that was written later; empty if there is no guard."""
    try:
        known = (folder / ABOUT).stat()
    except OSError:
        return ()
    return known.st_ino, known.st_mtime_ns, known.st_size
