"""A watch over the verdicts of a guard: one drift for each of its thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ..contents import misfit
from ..errors import OutskirtsError
from ..files import digest
from ..texts import counted, listed
from .calibration import Calibration
from .drift import Drift
from .threshold import require_share
from .verdicts import Verdicts

__all__ = ["Watch"]


@dataclass(frozen=True)
class Watch:
    """Whether a guard still rejects as few images as it promised.

    Where each predicted class has a threshold of its own, each has an alarm, at α divided by their number. While images
    are like the calibration images, the probability of any alarm is at most α.

    Arguments:
        drifts: Drift of each threshold.
        group_of: Place of the threshold of each class, by the name of the class; empty where there is one threshold.
        alpha: Probability that an alarm is ever raised while nothing has changed.
        calibration: Hash of the calibration scores.
    """

    drifts: tuple[Drift, ...]
    group_of: Mapping[str, int]
    alpha: float
    calibration: str = ""

    @classmethod
    def of(cls, calibration: Calibration, classes: Sequence[str], alpha: float = 0.01) -> Self:
        """A watch that begins.

        Arguments:
            calibration: Calibration of the guard.
            classes: Names of its classes.
            alpha: Probability of a false alarm, above 0 and below 1.
        """
        require_share("The probability α of a false alarm", alpha)
        share = alpha / len(calibration.promises)
        drifts = tuple(Drift(kept.n, kept.rank, share) for kept in calibration.promises)
        groups = {} if calibration.group_of is None else dict(zip(classes, calibration.group_of.tolist()))
        return cls(drifts, groups, alpha, digest(*calibration.scores))

    def update(self, verdicts: Verdicts) -> bool:
        """Take verdicts, in the order in which the images came, and return whether there is an alarm."""
        return self.update_rows((one.label, one.accepted) for one in verdicts)

    def update_rows(self, rows: Iterable[tuple[str | None, bool]]) -> bool:
        """Take the predicted class of each image, and whether it was accepted.

        Raises:
            OutskirtsError: If a class is none of the guard's, where each class has a threshold.
        """
        taken: list[list[bool]] = [[] for _ in self.drifts]
        for label, accepted in rows:
            taken[self._group(label)].append(not accepted)
        for drift, rejected in zip(self.drifts, taken):
            if rejected:
                drift.update(rejected)
        return self.alarm

    def _group(self, label: str | None) -> int:
        if not self.group_of:
            return 0
        if label is None or label not in self.group_of:
            raise OutskirtsError(
                f"The guard has a threshold for each class, and no class '{label}'; its classes are "
                f"{listed(list(self.group_of))}."
            )
        return self.group_of[label]

    @property
    def alarm(self) -> bool:
        """Whether any threshold has raised an alarm."""
        return any(drift.alarm for drift in self.drifts)

    @property
    def images(self) -> int:
        """How many images there were."""
        return sum(drift.images for drift in self.drifts)

    def __str__(self) -> str:
        if len(self.drifts) == 1:
            return str(self.drifts[0])
        alarmed = [place for place, drift in enumerate(self.drifts) if drift.alarm]
        said = [f"{counted(self.images, 'image')} so far, with {len(self.drifts)} thresholds."]
        if not alarmed:
            most = max(self.drifts, key=lambda drift: drift.e_value)
            return f"{said[0]} No threshold has raised an alarm. That with the most evidence: {most}"
        for place in alarmed:
            names = [name for name, group in self.group_of.items() if group == place]
            said.append(f"Images taken for {listed(names)}: {self.drifts[place]}")
        return " ".join(said)

    def to_json(self) -> dict[str, Any]:
        """All that the watch knows, for a JSON file."""
        return {
            "alpha": self.alpha,
            "calibration": self.calibration,
            "group_of": dict(self.group_of),
            "drifts": [drift.state() for drift in self.drifts],
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """A watch that goes on where another stood.

        Raises:
            OutskirtsError: If the state is not one of `to_json`.
        """
        if clause := misfit(
            dict(state), {"alpha": float, "calibration": str, "group_of": {str: int}, "drifts": [dict]}, "its state"
        ):
            raise OutskirtsError(f"A watch cannot go on from this: {clause}.")
        return cls(
            tuple(map(Drift.from_state, state["drifts"])), state["group_of"], state["alpha"], state["calibration"]
        )

    def require_same(self, other: Watch) -> None:
        """Raise unless another watch is of the same thresholds and α."""
        mine, others = ([(one.n, one.rank, one.alpha) for one in watch.drifts] for watch in (self, other))
        if (self.group_of, self.calibration) != (other.group_of, other.calibration):
            raise OutskirtsError("The watch was begun with another guard; begin a new one (another --state).")
        if mine != others:
            raise OutskirtsError(
                f"The watch was begun with another probability of a false alarm, {other.alpha:g} and not "
                f"{self.alpha:g}; give that one (--alpha), or begin a new watch (another --state)."
            )
