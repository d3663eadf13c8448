"""Measure a guard on images that it was not made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..data.imageset import ImageSet
from ..data.notes import left_out, notes_of
from ..data.sources import open_split
from ..errors import OutskirtsError
from ..evaluation.intervals import auroc_interval
from ..evaluation.metrics import auroc
from ..evaluation.reliability import reliability
from ..evaluation.results import ID
from ..evaluation.selective import aurc, risk_coverage
from ..evaluation.separation import shared_with_test
from ..evaluation.shareable import Shareable
from ..extraction.forward import PassOptions
from ..telling import Progress
from .judging import judged
from .measured import Accepted, Correct, Rejected, Share
from .measurement import Measurement
from .parts import Parts
from .recorded import unseen_by

__all__ = ["Groups", "measure"]

#: OOD sets, or their specs, by group and name.
Groups: TypeAlias = Mapping[str, Mapping[str, ImageSet | str | Path]]


def measure(
    parts: Parts, test: ImageSet | str | Path, ood: Groups, options: PassOptions, progress: Progress
) -> Measurement:
    """What `outskirts.guard.guard.Guard.measure` returns.

    Arguments:
        parts: The guard.
        test: In-distribution test images, or their spec.
        ood: Other sets, or their specs, by group and name.
        options: How images go through the network.
        progress: Told of the images forwarded.
    """
    classes = parts.classifier.classes
    images = parts.classifier.labelled(open_split(test, "test"))
    for group, members in ood.items():
        if not isinstance(members, Mapping):
            raise OutskirtsError(
                f"The group '{group}' holds sets by their names, such as {{'{group}': {{'new': 'folder:new'}}}}, not "
                f"{type(members).__name__}."
            )
    groups = {group: {name: open_split(one, "test") for name, one in sets.items()} for group, sets in ood.items()}
    notes: list[str] = []
    sets = unseen_by(parts.seen, _by_name(images, groups), notes)
    notes += [*shared_with_test(sets, options.skip_corrupt), *notes_of(sets)]
    found = {name: _Judged.of(parts, name, one, options, progress) for name, one in sets.items()}
    notes += [note for one in sets.values() for note in left_out(one.skipped)]
    inside = found.pop(ID)
    correct = None
    if inside.predicted is None:
        notes.append("The classifier gives no logits, so its accuracy is not known.")
    elif (inside.labels < 0).any():
        notes.append("Some ID test images have no label, so the accuracy is not known.")
    else:
        correct = _correct(inside, inside.predicted)
    notes += [_no_numbers(name, one) for name, one in {ID: inside, **found}.items() if one.unscored]
    return Measurement(
        {
            "classifier": parts.classifier.architecture,
            "classes": len(classes),
            "detector": parts.detector.name,
            "params": parts.detector.params,
            "acceptance": parts.calibration.promises[0].acceptance,
            "confidence": parts.calibration.promises[0].confidence,
            "sets": {
                name: {"images": len(one), "spec": Shareable().value(one.spec), "fingerprint": one.fingerprint}
                for name, one in sets.items()
            },
        },
        Share.exact(inside.accepted),
        _of_thresholds(parts, inside),
        _of_classes(classes, inside),
        tuple(
            Rejected(
                group,
                name,
                Share.wilson(~found[name].accepted),
                auroc(inside.scores, found[name].scores),
                *auroc_interval(inside.scores, found[name].scores),
            )
            for group, members in groups.items()
            for name in members
        ),
        correct,
        tuple(map(Shareable().text, notes)),
        inside.scores,
        {name: one.scores for name, one in found.items()},
        parts.calibration.thresholds,
    )


@dataclass(frozen=True)
class _Judged:
    """Verdicts on the N images of a set; K is 1, or 0 without logits.

    Arguments:
        labels: Classes, [N]; -1 where there is none.
        predicted: Predicted classes, [N], if the classifier gives them.
        confidence: Probabilities of these classes, [N].
        scores: Scores, [N]; infinite where the detector gave no number.
        accepted: Whether each is accepted, bool [N].
        unscored: Number of images of which the score is no number.
    """

    labels: Tensor
    predicted: Tensor | None
    confidence: Tensor | None
    scores: Tensor
    accepted: Tensor
    unscored: int

    @classmethod
    def of(cls, parts: Parts, name: str, images: ImageSet, options: PassOptions, progress: Progress) -> _Judged:
        columns: dict[str, list[Tensor]] = {}
        done = 0
        for places, verdicts in judged(parts, images, options):
            columns.setdefault("labels", []).append(images.labels[places])
            for column in ("predicted", "probabilities", "scores", "accepted"):
                columns.setdefault(column, []).append(getattr(verdicts, column))
            done += len(places)
            progress(name, done, len(images))
        if not columns:
            raise OutskirtsError(f"No image of '{name}' ({images.spec}) can be decoded.")
        whole = {column: torch.cat(values) for column, values in columns.items()}
        known = whole["predicted"].shape[1] > 0
        scores = whole["scores"]
        return cls(
            whole["labels"],
            whole["predicted"][:, 0] if known else None,
            whole["probabilities"][:, 0].double() if known else None,
            scores.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf),
            whole["accepted"],
            int(scores.isnan().sum()),
        )


def _by_name(test: ImageSet, groups: Mapping[str, Mapping[str, ImageSet]]) -> dict[str, ImageSet]:
    sets = {ID: test}
    for members in groups.values():
        for name, images in members.items():
            if name in sets:
                raise OutskirtsError(f"Two sets are called '{name}'. Give each set a name of its own.")
            sets[name] = images
    return sets


def _of_thresholds(parts: Parts, inside: _Judged) -> tuple[Accepted, ...]:
    """The acceptance of each threshold that any test image meets."""
    calibration, classes = parts.calibration, parts.classifier.classes
    groups = calibration.groups(inside.predicted, len(inside.accepted))
    rows = []
    for group, kept in enumerate(calibration.promises):
        if len(of := inside.accepted[groups == group]):
            known = calibration.group_of
            names = () if known is None else tuple(classes[place] for place in (known == group).nonzero().flatten())
            rows.append(Accepted(Share.exact(of), kept, names))
    return tuple(rows)


def _of_classes(classes: list[str], inside: _Judged) -> dict[str, Share]:
    if inside.predicted is None:
        return {}
    counts = torch.bincount(inside.predicted, minlength=len(classes)).tolist()
    return {
        name: Share.exact(inside.accepted[inside.predicted == place])
        for place, (name, count) in enumerate(zip(classes, counts))
        if count
    }


def _correct(inside: _Judged, predicted: Tensor) -> Correct:
    assert inside.confidence is not None
    right = predicted == inside.labels
    wrong, orders = (~right).numpy(), {"score": inside.scores, "confidence": -inside.confidence}
    bins: dict[str, Any] = {"all": reliability(inside.confidence.numpy(), right.numpy())}
    if inside.accepted.any():
        bins["accepted"] = reliability(inside.confidence[inside.accepted].numpy(), right[inside.accepted].numpy())
    shares = {
        name: Share.wilson(right[rows]) if rows.any() else None
        for name, rows in (("accepted", inside.accepted), ("rejected", ~inside.accepted))
    }
    return Correct(
        Share.wilson(right),
        **shares,
        curves={name: risk_coverage(wrong, scores) for name, scores in orders.items()},
        aurc={**{name: aurc(wrong, scores) for name, scores in orders.items()}, "best": aurc(wrong, ~right)},
        reliability=bins,
    )


def _no_numbers(name: str, one: _Judged) -> str:
    return (
        f"The detector gives no number for {one.unscored:,} of the {len(one.scores):,} images of {name}; they are "
        "rejected, and count as the largest scores."
    )
