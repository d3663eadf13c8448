"""Detectors over outputs: fit, score, measure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..arguments import check_arguments
from ..detectors.base import Detector, create, registry
from ..errors import OutskirtsError, unknown
from ..extraction.outputs import Outputs
from .class_accuracy import balanced_accuracy
from .intervals import Interval, aupr_interval, auroc_interval, fpr_interval, wilson_interval
from .metrics import Positive, aupr, auroc, fpr_at_tpr
from .results import ID, MEAN, Result, Results, labels
from .set_groups import SHIFTED, full_spectrum, is_ood

__all__ = [
    "asked_for",
    "choose_detectors",
    "evaluate",
    "fit_able",
    "fit_detectors",
    "lacking",
    "measure",
    "params_of",
    "result",
    "score_images",
]

Chosen: TypeAlias = Literal["all"] | Iterable[str | Detector | Mapping[str, Any]]
_ACCURACY = ("id_accuracy", "id_accuracy_lo", "id_accuracy_hi")
_BALANCED = ("id_balanced_accuracy", "id_balanced_accuracy_lo", "id_balanced_accuracy_hi")


def choose_detectors(detectors: Chosen, published: Iterable[Mapping[str, Any]] = ()) -> dict[str, Detector]:
    """The detectors asked for, by a label: the name, with the parameters where a name occurs more than once.

    Arguments:
        detectors: ``"all"``, or names, mappings such as ``{"name": "knn", "k": 10}`` and detectors.
        published: The parameters of detectors that are asked for by their bare name.

    >>> list(choose_detectors(["msp", {"name": "knn", "k": 10}]))
    ['msp', 'knn']
    """
    if isinstance(detectors, str):
        detectors = registry.names() if detectors == "all" else [detectors]
    settings = {spec["name"]: spec for spec in published}
    chosen = [create(settings.get(one, one) if isinstance(one, str) else one) for one in detectors]
    table = dict(zip(labels([(one.name, params_of(one)) for one in chosen]), chosen))
    if len(table) < len(chosen):
        raise OutskirtsError("A detector is asked for twice with the same parameters; ask for each once.")
    return table


def asked_for(texts: Sequence[str]) -> Literal["all"] | Sequence[str]:
    """Detectors as command lines and benchmarks name them: one that is called ``all`` means every one.

    >>> asked_for(("all",)), asked_for(("msp", "knn:k=10"))
    ('all', ('msp', 'knn:k=10'))
    """
    return "all" if tuple(texts) == ("all",) else texts


def fit_detectors(
    detectors: Mapping[str, Detector], *, train: Outputs | None = None, val: Outputs | None = None
) -> None:
    """Fit each detector, in place, on the split it learns from; without it, it must be fitted already."""
    splits = {"train": train, "val": val}
    for label, detector in detectors.items():
        if detector.fit_on is None:
            continue
        outputs = splits[detector.fit_on]
        if outputs is not None:
            detector.fit(outputs, **({"val": val} if detector.calibrates else {}))
        elif any(buffer is None for buffer in detector._buffers.values()):  # `buffers()` omits None.
            raise OutskirtsError(
                f"The detector '{label}' learns from the {detector.fit_on} split: "
                f"pass {detector.fit_on}=, the outputs of that split, or a detector that is fitted."
            )


def fit_able(
    detectors: Mapping[str, Detector], *, train: Outputs | None = None, val: Outputs | None = None
) -> dict[str, str]:
    """Fit those detectors that can be fitted, in place; returns why the others cannot be, by label."""
    unfit = {}
    for label, detector in detectors.items():
        try:
            fit_detectors({label: detector}, train=train, val=val)
        except OutskirtsError as error:
            unfit[label] = f"cannot be fitted: {f'{error}'.removesuffix('.')}"
    return unfit


def require_any(detectors: Mapping[str, Detector], skipped: Mapping[str, str]) -> None:
    """Raise if no detector is left, with the reason why each was left out."""
    if skipped and not detectors:
        reasons = "; ".join(f"{label} {reason}" for label, reason in skipped.items())
        raise OutskirtsError(f"No detector can be computed, and nothing was written: {reasons}.")


def lacking(detector: Detector, outputs: Outputs) -> str | None:
    """Why this detector cannot run on these outputs at all, or None if it can."""
    if detector.lacks:
        return detector.lacks
    if "features" in detector.needs and not outputs.features.shape[1]:
        return "needs features, and nothing tells where this classifier has them; name them: features=NAME"
    if "logits" in detector.needs and outputs.logits is None:
        return "needs logits, which these outputs lack"
    if "head" in detector.needs and outputs.head is None:
        return "needs a linear head, which this classifier lacks"
    if missing := sorted(detector.needs - {"features", "logits", "labels", "head", *outputs.extra}):
        return f"needs {' and '.join(missing)}, which this classifier does not give"
    if any(probe.key not in outputs.extra for probe in detector.probes):
        return "needs more than features and logits; name this detector when you extract the images"
    return None


def score_images(detector: Detector, outputs: Outputs, dataset: str) -> Tensor:
    """The scores of one set's images, [N], float64; NaN is an error that names the detector and the set."""
    with torch.inference_mode():
        given = detector.score(outputs)
    if not isinstance(given, Tensor) or given.shape != (len(outputs),):
        what = f"a tensor of shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise OutskirtsError(
            f"The detector '{detector.name}' gave {what} for '{dataset}'; it must give a tensor with one number for "
            f"each of the {len(outputs)} images."
        )
    scores = given.cpu().double()
    if missing := int(scores.isnan().sum()):
        raise OutskirtsError(
            f"The detector '{detector.name}' gave NaN for {missing} of {len(scores)} images of '{dataset}'; "
            "check the features and logits for NaN and infinite values."
        )
    return scores


def measure(
    id_scores: Tensor, ood_sets: Sequence[Tensor], seed: int = 0, photographs: Tensor | None = None
) -> dict[str, float]:
    """Every metric with its 95 % interval, averaged over the OOD sets; the keys are columns of `Result`."""

    def mean(metric: Callable[..., float], *arguments: Any) -> float:
        return float(np.mean([metric(id_scores, ood, *arguments) for ood in ood_sets]))

    def fpr(positive: Positive) -> tuple[float, Interval]:
        return mean(fpr_at_tpr, 0.95, positive), fpr_interval(
            id_scores, ood_sets, positive=positive, seed=seed, photographs=photographs
        )

    def area(positive: Positive) -> tuple[float, Interval]:
        bounds = [aupr_interval(id_scores, ood, positive, photographs=photographs) for ood in ood_sets]
        return mean(aupr, positive), Interval(*np.mean(bounds, axis=0).tolist())

    table = {
        "auroc": (mean(auroc), auroc_interval(id_scores, ood_sets, photographs=photographs)),
        "aupr_in": area("id"),
        "aupr_out": area("ood"),
        "fpr95": fpr("id"),
        "fpr95_ood_positive": fpr("ood"),
    }
    return {
        key + suffix: number
        for key, (value, interval) in table.items()
        for suffix, number in zip(("", "_lo", "_hi"), (value, *interval))
    }


def result(
    detector: Detector,
    id_scores: Tensor,
    ood_sets: Sequence[Tensor],
    seed: int,
    photographs: Tensor | None = None,
    **about: Any,
) -> Result:
    """One row of the table; `about` has the columns that scores do not tell."""
    measured = measure(id_scores, ood_sets, seed, photographs)
    columns: dict[str, Any] = {**dict.fromkeys(_ACCURACY), **measured, **about}
    return Result(
        detector=detector.name,
        params=params_of(detector),
        seed=seed,
        n_id=len(id_scores),
        n_ood=sum(map(len, ood_sets)),
        **columns,
    )


@check_arguments
def evaluate(
    id_outputs: Outputs,
    ood: Mapping[str, Outputs],
    detectors: Chosen = "all",
    *,
    train: Outputs | None = None,
    val: Outputs | None = None,
    groups: Mapping[str, str] | None = None,
    run: str = "",
    method: str = "",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    photographs: Mapping[str, Tensor] | None = None,
) -> Results:
    """Measure how well detectors tell the in-distribution test images from each out-of-distribution set.

    Arguments:
        id_outputs: Outputs of the ID test images.
        ood: Outputs of each OOD set, by its name.
        detectors: ``"all"``, or names, mappings such as ``{"name": "knn", "k": 10}`` and detectors. Those
            that learn are fitted in place where their split is given; otherwise they must be fitted already.
        train: Outputs of the ID training images.
        val: Outputs of the ID validation images.
        groups: The group of each OOD set, such as ``"near"``; ``"ood"`` for those not named. Sets of the group
            ``"shifted"`` are ID images, labelled; with them among the ID images, the other groups are measured again.
        run: Names the run in the table.
        method: Names the training method in the table.
        seed: The run's seed; also seeds the bootstrap.
        progress: Called with the label of each detector before it runs; see `outskirts.progress`.
        photographs: The number of each image's photograph, [N], for ``"id"`` and the shifted sets: a test image and
            its noisy copy have the same, so that no interval counts them as independent. All differ unless given.

    Returns:
        Results with a row for each set and, as dataset ``"mean"``, for each group's average. Detectors that
        need what the outputs do not hold, or cannot be fitted, are in `Results.skipped` with the reason.

    Raises:
        OutskirtsError: If there is no OOD set, a part is unknown, sets differ in width, or no detector is left.

    >>> near, far = torch.eye(3).repeat(4, 1), torch.zeros(5, 3)
    >>> results = evaluate(Outputs(near, near), {"zeros": Outputs(far, far)}, ["msp"])
    >>> [(row.dataset, row.auroc) for row in results.rows]
    [('zeros', 1.0), ('mean', 1.0)]
    """
    groups = _grouped(groups or {}, ood)
    _check_sets(id_outputs, ood, train, val)
    chosen = choose_detectors(detectors)
    skipped = {}
    for label, detector in chosen.items():
        reasons = [lacking(detector, outputs) for outputs in (id_outputs, *ood.values())]
        if reason := next(filter(None, reasons), None):
            skipped[label] = reason
    chosen = {label: detector for label, detector in chosen.items() if label not in skipped}
    skipped |= fit_able(chosen, train=train, val=val)
    chosen = {label: detector for label, detector in chosen.items() if label not in skipped}
    require_any(chosen, skipped)
    shifted = [name for name in ood if groups[name] == SHIFTED]
    measured = [
        (group, [name for name in ood if groups[name] == group], [ID]) for group in dict.fromkeys(groups.values())
    ]
    if shifted:
        measured += [(full_spectrum(group), names, [ID, *shifted]) for group, names, _ in measured if is_ood(group)]
    everything = {ID: id_outputs, **ood}
    rows, scores = [], {}
    for label, detector in chosen.items():
        if progress:
            progress(label)
        sets = {name: score_images(detector, outputs, name) for name, outputs in everything.items()}
        scores[label] = sets
        for group, members, of_id in measured:
            known = torch.cat([sets[name] for name in of_id])
            own = None if photographs is None or len(of_id) == 1 else torch.cat([photographs[name] for name in of_id])
            accuracy = _accuracy([everything[name] for name in of_id], own)
            for dataset, names in [*((name, [name]) for name in members), (MEAN, members)]:
                tensors = [sets[name] for name in names]
                about = {"run": run, "method": method, "group": group, "dataset": dataset, **accuracy}
                rows.append(result(detector, known, tensors, seed, own, **about))
    kept = {name: photographs[name] for name in [ID, *shifted]} if photographs and shifted else {}
    return Results(tuple(rows), scores, skipped, photographs=kept)


def _grouped(groups: Mapping[str, str], ood: Mapping[str, Outputs]) -> dict[str, str]:
    """The group of each OOD set."""
    for name in groups:
        if name not in ood:
            raise unknown("OOD set", name, ood, "in groups")
    return {name: groups.get(name, "ood") for name in ood}


def params_of(detector: Detector) -> str:
    """The parameters as JSON, as `Result` has them."""
    return json.dumps(detector.params, sort_keys=True)


def _accuracy(sets: Sequence[Outputs], photographs: Tensor | None = None) -> dict[str, Any]:
    """The columns of the ID accuracies, where there are labels; the intervals count photographs."""
    labels = [outputs.labels for outputs in sets if outputs.labels is not None]
    logits = [outputs.logits for outputs in sets if outputs.logits is not None]
    if len(labels) < len(sets) or len(logits) < len(sets):
        return {}
    n = sum(map(len, sets))
    right = sum(round(outputs.accuracy * len(outputs)) for outputs in sets)
    trials = n if photographs is None else len(photographs.unique())
    every = torch.cat(labels).cpu()
    if bool((every < 0).all()):
        return {}
    hits = torch.cat([one.argmax(1) for one in logits]).cpu() == every
    columns = dict(zip(_ACCURACY, (right / n, *wilson_interval(round(right * trials / n), trials))))
    # An image without a class is in no class's accuracy.
    if bool((every < 0).any()):
        return columns
    balanced, interval = balanced_accuracy(every, hits, photographs)
    return {**columns, **dict(zip(_BALANCED, (balanced, *interval)))}


def _check_sets(id_outputs: Outputs, ood: Mapping[str, Outputs], train: Outputs | None, val: Outputs | None) -> None:
    if not ood:
        raise OutskirtsError("There is no OOD set to evaluate on: pass at least one, such as {'svhn': outputs}.")
    for name, outputs in ood.items():
        if name in (ID, MEAN) or "/" in name:
            raise OutskirtsError(
                f"An OOD set may not be called '{name}': the names '{ID}' and '{MEAN}' are taken, and '/' is not "
                "allowed."
            )
        if not isinstance(outputs, Outputs):
            raise OutskirtsError(
                f"'{name}' must be outputs, as osk.extract gives them, not of the type {type(outputs).__name__}. "
                "Groups of OOD sets are named beside them: groups={'textures': 'far'}."
            )
    _check_widths({ID: id_outputs, **ood, "train": train, "val": val})


def _check_widths(sets: Mapping[str, Outputs | None]) -> None:
    """Raise unless features, and logits where there are any, are as wide in every set as in the first."""
    for column in ("features", "logits"):
        found = {name: getattr(outputs, column) for name, outputs in sets.items() if outputs is not None}
        widths = {name: rows.shape[1] for name, rows in found.items() if rows is not None}
        first = next(iter(widths), "")
        for name, width in widths.items():
            if width != widths[first]:
                raise OutskirtsError(
                    f"The {column} of '{name}' have {width} columns, but those of '{first}' have {widths[first]}; all "
                    "outputs must come from one classifier."
                )
