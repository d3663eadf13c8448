r"""Fitting the manifolds of classes.

With u = f(x, y), whose last m coordinates are the invariants, and u' the same with these set to zero, the loss is

.. math:: L = \mathrm{mean}(u_{d-m+1}^2, \dots, u_d^2) + \mathrm{mean}\,(f^{-1}(u', y) - x)^2

The first term alone could be had by turning anything that varies little into the invariants; the second makes the other
coordinates tell all about the embedding.

Where the published code has defects, ``reference_quirks=True`` behaves as it does:

* It takes a step on each term, with one optimiser, and the target of the second was computed before the first; here
  both come from the same f in one step.
* It does not standardise the embeddings, whose scale the couplings then dwarf.
* It keeps the weights of the epoch with the lowest first term on embeddings it is trained on; here those with the
  lowest loss on held-out ones, and stops when it no longer falls. (Embeddings are held out in both forms, so that they
  can be compared. Others are fresh: they have no part in the fit, so that a claim can be tested on them.)
* It counts one invariant too many (`outskirts.generation.manifold.pca.invariants`).
* Its learning rate falls linearly to a tenth.

References:
    | Non-Linear Outlier Synthesis for Out-of-Distribution Detection (Doorenbos et al., 2024)
    | https://arxiv.org/abs/2411.13619
    | https://github.com/LarsDoorenbos/NCIS
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad
from torch.optim import Adam, Optimizer

from ... import grouped, seeding
from ...devices import resolve_device
from ...errors import OutskirtsError
from ...files import is_file, load_json, require_alike, require_empty, save_json
from ...models.volume_preserving import Pinned, VolumePreserving
from ...renamed import unset_as_before
from ...texts import counted
from ...training.checkpoint import load_checkpoint, save_checkpoint
from ...training.ema import EMA
from .model import Manifold, ManifoldOptions, fingerprint
from .pca import invariants, pca_residual

__all__ = [
    "fit_manifold",
    "linear_factor",
    "manifold_losses",
    "require_enough",
    "stratified",
    "train_step",
    "train_step_published",
]

#: Embeddings to be judged at once, and those by which the published code chooses its weights.
_BLOCK, _JUDGED = 4096, 1000
#: Two to fit, one to hold out.
_LEAST = 3
#: Embeddings to fit, to hold out, and fresh ones. An earlier version, whose fits say nothing of it, had no fresh ones.
_PARTS, _PARTS_BEFORE = 3, 2


def manifold_losses(pinned: Pinned, x: Tensor, labels: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """The two terms of the loss, of standardised embeddings [B, D] with labels [B]."""
    u = pinned(x, labels)
    kept = u.shape[1] - m
    recovered = pinned.inverse(pad(u[:, :kept], (0, m)), labels)
    return u[:, kept:].square().mean(), (recovered - x).square().mean()


def train_step(network: VolumePreserving, optimizer: Optimizer, x: Tensor, labels: Tensor, m: int) -> Tensor:
    """One step on both terms; returns their sum before it."""
    loss = torch.stack(manifold_losses(network.pinned(), x, labels, m)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def train_step_published(network: VolumePreserving, optimizer: Optimizer, x: Tensor, labels: Tensor, m: int) -> Tensor:
    """A step on either term, the second with the network after the first but its target from before it."""
    u = network(x, labels)
    kept = u.shape[1] - m
    first = u[:, kept:].square().mean()
    optimizer.zero_grad()
    first.backward()
    optimizer.step()
    second = (network.inverse(pad(u.detach()[:, :kept], (0, m)), labels) - x).square().mean()
    optimizer.zero_grad()
    second.backward()
    optimizer.step()
    return (first + second).detach()


def linear_factor(step: int, steps: int) -> float:
    """Factor of the learning rate at a step counted from 0: from 1 at the first to 0.1 at the last."""
    return 0.9 * (1 - step / max(1, steps - 1)) + 0.1


def stratified(labels: Tensor, classes: int, share: float, generator: Generator) -> Tensor:
    """Which rows to hold out, bool [N]: of each class a random share, at least one and all but two at most.

    Arguments:
        labels: [N], each class twice or more. A class of two rows keeps both.
        classes: C.
        share: Rounded to the nearest number of rows.
        generator: On the device of the labels.
    """
    shuffled = torch.randperm(len(labels), generator=generator, device=labels.device)
    by_class = grouped.places(labels, classes, shuffled)
    wanted = (by_class.counts * share).round().long().clamp_min(1).minimum(by_class.counts - 2)
    held = torch.zeros_like(labels, dtype=torch.bool)
    held[by_class.order] = by_class.rank < wanted[by_class.labels]
    return held


def fit_manifold(
    embeddings: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    options: ManifoldOptions | None = None,
    folder: Path | str | None = None,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> Manifold:
    """Fit the manifolds of classes to their embeddings.

    Arguments:
        embeddings: [N, D], D at least 2.
        labels: [N], from 0 to C - 1, each three times or more.
        classes: Names of the C.
        options: How the manifold is fitted.
        folder: Where to save the manifold. Its state is saved there after each epoch, from which the same call goes on
            if it was stopped; once finished, it loads what is there.
        progress: Called after each epoch with its number, from 1, and the ``train`` and ``judged`` loss.

    Returns:
        On the CPU. Its report holds the ``epochs`` trained and the ``best_epoch``; the number of ``invariants`` m; how
        many rows it was fitted to, ``fit_rows``, and ``held_out_rows``, ``fresh_rows`` and the fewest of either in a
        class, ``least_held_out``; the terms of the loss on what it was fitted to and on what was held out,
        ``fit_invariant``, ``fit_recovered``, ``held_out_invariant`` and ``held_out_recovered``; ``held_out_pca``, the
        first of these that the principal components of each class would have; ``round_trip``, the largest error of
        the inverse on held-out embeddings, in units of their standard deviation; and the ``history`` of both losses.

    Raises:
        OutskirtsError: If the embeddings do not fit, the folder is another fit's, or the loss is no longer finite.
    """
    options = options or ManifoldOptions()
    device = resolve_device(options.device)
    _check(embeddings, labels, classes)
    folder = None if folder is None else Path(folder)
    if device.type == "mps":
        raise OutskirtsError("Manifolds need double precision, which mps does not have; choose the device cpu.")
    asked: dict[str, Any] = {
        "embeddings": fingerprint(embeddings, labels),
        "classes": list(classes),
        "options": unset_as_before(asdict(options)),
        "parts": _PARTS,
    }
    if folder is not None:
        asked["parts"] = _enter(folder, asked)
        if (folder / "manifold.json").is_file():
            return Manifold.load(folder)
    held, fresh = (rows.to(device) for rows in _parts(labels.cpu(), len(classes), options, asked["parts"]))
    embeddings, labels = embeddings.detach().to(device, torch.float32), labels.to(device, torch.int64)
    manifold = _unfitted(embeddings, labels, held, fresh, classes, options)
    manifold.fingerprint = asked["embeddings"]
    x = manifold.standardized(embeddings)
    fit, unseen = ((x[rows], labels[rows]) for rows in (manifold.fitted_to, held))
    history = _train(manifold, fit, unseen, folder, progress)
    back = manifold.standardized(manifold.inverse(manifold(embeddings[held], labels[held]), labels[held]))
    round_trip = float((back - unseen[0]).abs().max())
    judged = (held, fresh) if fresh.any() else (held,)
    least = min(int(grouped.counts(labels[rows], len(classes)).min()) for rows in judged)
    manifold.report = {
        **_report(manifold, fit, unseen, history),
        "fresh_rows": int(fresh.sum()),
        "least_held_out": least,
        "round_trip": round_trip,
        "history": history,
    }
    manifold.cpu().eval()
    if folder is not None:
        manifold.save(folder)
        (folder / "state.safetensors").unlink(missing_ok=True)
    return manifold


def _parts(labels: Tensor, classes: int, options: ManifoldOptions, parts: int) -> tuple[Tensor, Tensor]:
    """Which rows are held out, and which of the others are fresh; none in a fit that was begun with two parts."""
    held = stratified(labels, classes, options.holdout, seeding.generator(options.seed, "manifold", "split"))
    fresh = torch.zeros_like(held)
    if parts == _PARTS:
        drawn = seeding.generator(options.seed, "manifold", "fresh")
        fresh[~held] = stratified(labels[~held], classes, options.holdout, drawn)
    return held, fresh


def _unfitted(
    embeddings: Tensor, labels: Tensor, held: Tensor, fresh: Tensor, classes: Sequence[str], options: ManifoldOptions
) -> Manifold:
    """A manifold before its fit: the number of invariants and the standardisation are of what it is fitted to."""
    seen, of = embeddings[~held & ~fresh], labels[~held & ~fresh]
    count = invariants(seen, of, len(classes), options.variance, options.reference_quirks)
    with seeding.isolated(options.seed, "manifold", "initialisation"):
        manifold = Manifold(embeddings.shape[1], classes, count, len(embeddings), options).to(embeddings.device)
    manifold.held_out.copy_(held)
    manifold.fresh.copy_(fresh)
    if not options.reference_quirks:
        mean = seen.double().mean(0)
        manifold.mean.copy_(mean)
        manifold.scale.copy_((seen.double() - mean).square().mean().sqrt())
    if not manifold.scale > 0:
        raise OutskirtsError("All embeddings are equal, so no manifold can be fitted; pass embeddings that differ.")
    return manifold


def _report(
    manifold: Manifold, fit: tuple[Tensor, Tensor], unseen: tuple[Tensor, Tensor], history: list[list[float]]
) -> dict[str, Any]:
    """How well a manifold fits what it was fitted to and what was held out: standardised embeddings, and labels."""
    count = manifold.invariants
    of_fit, of_unseen = (_mean_losses(manifold.network, *rows, count) for rows in (fit, unseen))
    return {
        "epochs": len(history),
        "best_epoch": _best(history),
        "invariants": count,
        "fit_rows": len(fit[0]),
        "held_out_rows": len(unseen[0]),
        "fit_invariant": of_fit[0],
        "fit_recovered": of_fit[1],
        "held_out_invariant": of_unseen[0],
        "held_out_recovered": of_unseen[1],
        "held_out_pca": pca_residual(*fit, *unseen, len(manifold.classes), count),
    }


def _check(embeddings: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or embeddings.shape[1] < 2 or not len(labels):
        raise OutskirtsError(
            "A manifold is fitted to embeddings [N, D] of 2 or more dimensions with labels [N], "
            f"not to shapes {list(embeddings.shape)} and {list(labels.shape)}."
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise OutskirtsError(
            f"Labels from {int(labels.min())} to {int(labels.max())} do not fit the {counted(len(classes), 'class')}, "
            "which count from 0."
        )
    broken = int((~embeddings.isfinite()).any(1).sum())
    if broken:
        raise OutskirtsError(f"{broken} of {len(embeddings)} embeddings are not finite; leave them out.")
    require_enough(labels, classes)


def require_enough(labels: Tensor, classes: Sequence[str]) -> None:
    """Raise unless each class has as many embeddings, with labels [N], as a fit takes."""
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    few = [f"'{name}' has {count}" for name, count in zip(classes, counts) if count < _LEAST]
    if few:
        named = ", ".join(few[:5]) + (f", and {len(few) - 5} more have too few" if len(few) > 5 else "")
        raise OutskirtsError(f"Each class needs {_LEAST} embeddings, two to fit and one to hold out: {named}.")


def _enter(folder: Path, asked: dict[str, Any]) -> int:
    """Begin the folder, or make sure that it was begun in the same way; returns the parts that it was begun with."""
    begun = folder / "training.json"
    if not is_file(begun):
        require_empty(folder)
        save_json(begun, asked)
    earlier, where = load_json(begun), f"The manifold in {folder}"
    require_alike(where, earlier, asked, "embeddings", "classes")
    # The device does not matter: what another leaves may round differently, but is no other fit.
    require_alike(where, earlier["options"], asked["options"], *(asked["options"].keys() - {"device"}))
    return int(earlier.get("parts", _PARTS_BEFORE))


def _train(
    manifold: Manifold,
    fit: tuple[Tensor, Tensor],
    unseen: tuple[Tensor, Tensor],
    folder: Path | None,
    progress: Callable[[int, dict[str, float]], None] | None,
) -> list[list[float]]:
    """Leave the best weights in the network; returns the training loss and the one it is judged by, of each epoch."""
    network, options, m = manifold.network, manifold.options, manifold.invariants
    (x, labels), quirks = fit, options.reference_quirks
    optimizer = Adam(network.parameters(), options.lr)
    history: list[list[float]] = []
    best = _copied(network)
    state = folder / "state.safetensors" if folder else None
    if state and state.is_file():
        # Weights are not averaged.
        _, kept = load_checkpoint(state, network, optimizer, EMA(network, 0))
        history = kept.pop("history").tolist()
        best = {key.removeprefix("best/"): value for key, value in kept.items()}
    judged = _evenly_spaced(fit, _JUDGED) if quirks else unseen
    batches = math.ceil(len(x) / options.batch_size)
    step = train_step_published if quirks else train_step
    while len(history) < options.epochs and (quirks or len(history) - _best(history) < options.patience):
        epoch = len(history)
        order = torch.randperm(len(x), generator=seeding.generator(options.seed, "manifold", "order", epoch))
        total = x.new_zeros(())
        for number, rows in enumerate(order.to(x.device).split(options.batch_size)):
            if quirks:
                factor = linear_factor(epoch * batches + number, options.epochs * batches)
                optimizer.param_groups[0]["lr"] = options.lr * factor
            total += step(network, optimizer, x[rows], labels[rows], m) * len(rows)
        terms = _mean_losses(network, *judged, m)
        epoch_losses = [float(total) / len(x), terms[0] if quirks else sum(terms)]
        if not all(map(math.isfinite, epoch_losses)):
            raise OutskirtsError(
                f"The loss of the manifold is not finite after epoch {epoch + 1}; choose a lower lr than {options.lr}."
            )
        history.append(epoch_losses)
        if _best(history) == len(history):
            best = _copied(network)
        if state:
            kept = {f"best/{key}": value for key, value in best.items()}
            kept["history"] = torch.tensor(history, dtype=torch.float64)
            save_checkpoint(state, len(history), network, optimizer, EMA(network, 0), kept)
        if progress:
            progress(len(history), {"train": epoch_losses[0], "judged": epoch_losses[1]})
    network.load_state_dict(best)
    return history


def _best(history: list[list[float]]) -> int:
    """The epoch that was judged best, from 1; 0 before any."""
    return min(range(len(history)), key=lambda epoch: history[epoch][1], default=-1) + 1


def _copied(network: VolumePreserving) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def _evenly_spaced(rows: tuple[Tensor, Tensor], most: int) -> tuple[Tensor, Tensor]:
    x, labels = rows
    at = torch.arange(0, len(x), max(1, len(x) // most), device=x.device)[:most]
    return x[at], labels[at]


@torch.no_grad()
def _mean_losses(network: VolumePreserving, x: Tensor, labels: Tensor, m: int) -> tuple[float, float]:
    """Both terms, over any number of rows."""
    pinned, sums = network.pinned(), x.new_zeros(2, dtype=torch.float64)
    for rows, of in zip(x.split(_BLOCK), labels.split(_BLOCK)):
        sums += torch.stack(manifold_losses(pinned, rows, of, m)).double() * len(rows)
    first, second = (sums / len(x)).tolist()
    return first, second
