"""What a guard says of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor

from .. import notebook
from ..texts import counted

__all__ = ["Verdict", "Verdicts"]

#: Verdicts that a notebook shows.
_SHOWN = 20


class Verdict(NamedTuple):
    """What a guard says of one image.

    Arguments:
        file: Name of the image.
        label: Class that the classifier predicts; None where it gives no logits.
        confidence: Softmax probability of that class, from 0 to 1; None where there is none.
        score: Score of the detector; larger means more out-of-distribution.
        p_value: Share of images like the calibration images that score at least as high, above 0 and at most 1.
        accepted: Whether the image is accepted.
        top: The most probable classes and their probabilities, if they were asked for.
    """

    file: str
    label: str | None
    confidence: float | None
    score: float
    p_value: float
    accepted: bool
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Verdicts:
    """What a guard says of N images, in order.

    Arguments:
        files: Names of the images.
        classes: Names of the C classes.
        scores: Scores [N], float64.
        p_values: p-values [N], float64.
        accepted: Whether each image is accepted, bool [N].
        probabilities: Probabilities of the most probable classes, [N, K], in decreasing order; K = 0 without logits.
        predicted: Positions of these classes, int64 [N, K].
        corrupt: Why an image could not be read, by its name; it is not among the N.
    """

    files: Sequence[str]
    classes: Sequence[str]
    scores: Tensor
    p_values: Tensor
    accepted: Tensor
    probabilities: Tensor
    predicted: Tensor
    corrupt: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[Verdicts], corrupt: Mapping[str, str]) -> Verdicts:
        """Verdicts of several batches, of which there is at least one."""
        columns = ("scores", "p_values", "accepted", "probabilities", "predicted")
        return cls(
            [name for part in parts for name in part.files],
            parts[0].classes,
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in columns},
            corrupt=corrupt,
        )

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Verdict]:
        rows = zip(
            self.files,
            self.scores.tolist(),
            self.p_values.tolist(),
            self.accepted.tolist(),
            self.probabilities.tolist(),
            self.predicted.tolist(),
        )
        for file, score, p_value, accepted, probabilities, places in rows:
            top = tuple((self.classes[place], share) for place, share in zip(places, probabilities))
            label, confidence = top[0] if top else (None, None)
            yield Verdict(file, label, confidence, score, p_value, accepted, top)

    @overload
    def __getitem__(self, place: int) -> Verdict: ...
    @overload
    def __getitem__(self, place: slice) -> Verdicts: ...
    def __getitem__(self, place: int | slice) -> Verdict | Verdicts:
        if isinstance(place, slice):
            return self._rows(range(len(self))[place])
        return next(iter(self._rows([range(len(self))[place]])))

    def _rows(self, places: Sequence[int]) -> Verdicts:
        rows = list(places)
        columns = ("scores", "p_values", "accepted", "probabilities", "predicted")
        kept = {name: getattr(self, name)[rows] for name in columns}
        return Verdicts([self.files[row] for row in rows], self.classes, **kept)

    def __repr__(self) -> str:
        return f"Verdicts({self})"

    def __str__(self) -> str:
        rejected = int((~self.accepted).sum())
        unread = f", {len(self.corrupt):,} could not be read" if self.corrupt else ""
        return f"{counted(len(self), 'image')}: {len(self) - rejected:,} accepted, {rejected:,} rejected{unread}"

    def _repr_html_(self) -> str:
        shown = [self[place] for place in range(min(len(self), _SHOWN))]
        return notebook.table(str(self), [(one.file, _words(one)) for one in shown])


def _words(verdict: Verdict) -> Any:
    said = "accepted" if verdict.accepted else "rejected"
    label = "" if verdict.label is None else f"{verdict.label} ({verdict.confidence:.1%}), "
    return f"{label}{said}, p = {verdict.p_value:.3g}"
