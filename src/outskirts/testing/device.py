"""What is asked of a device: the numbers that the host computes, and the same ones at every call.

What is drawn at random is drawn by the host here and sent to the device, so that both compute with the same numbers.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..data.imageset import ImageSet
from ..data.loading.augment import parse_augmentations
from ..data.loading.batches import Batch, training_batches
from ..data.transform import Transform
from ..devices import repeatable
from ..files import load_tensors
from ..methods import Config, registry
from ..seeding import Shared
from ..training.loop import Interrupted
from ..training.train import resume, train
from .expect import expect
from .method import Training
from .waiting import pretending, refused_waits

__all__ = [
    "SMALL_QUEUES",
    "TOLERANCES",
    "Tolerance",
    "check_agreement",
    "check_batches",
    "check_diffusion",
    "check_loop",
    "check_resume",
    "check_waits",
]

_BOUNDARY = {"start": 0.0, "queue": 12, "k": 3, "boundary": 6, "candidates": 12, "keep": 4}
#: Options with which methods that make outliers of what they have seen do so within few steps.
SMALL_QUEUES: Mapping[str, Mapping[str, Any]] = {
    "npos": _BOUNDARY,
    "npos-clip": _BOUNDARY,
    "vos": {"start": 0.0, "queue": 12, "refresh": 1},
    # Which of two pixels counts as the more important hangs on a rounding, and a shuffle of one pixel more is another.
    "oe": {"outliers": "gradient"},
}


class Tolerance(NamedTuple):
    """How far a device may be from the host.

    Arguments:
        loss: Difference of the loss, relative.
        gradient: Difference of all gradients together, relative to their length.
        pixels: Share of the numbers of outliers that are images, off by more than a hundredth of their deviation.
        features: Share of the outliers that are features, so far off.
        logits: Largest difference, relative to the logits' deviation.
        auroc: Difference of the AUROC of every detector, absolute.
        scores: One less the rank correlation, for the scores of every detector.
    """

    loss: float
    gradient: float
    pixels: float
    features: float
    logits: float
    auroc: float
    scores: float


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(loss=1e-4, gradient=0.02, pixels=0.02, features=0.02, logits=1e-3, auroc=0.005, scores=0.01),
    # Features are rounded to a hundredth themselves. On a CPU at most 0.042 of the pixels are off, and ranks by 0.01.
    # Detectors that go by the predicted class jump where a rounding turns it.
    "bf16": Tolerance(loss=0.05, gradient=0.8, pixels=0.2, features=1.0, logits=0.2, auroc=0.15, scores=0.1),
}


class _DrawnByTheHost(TorchFunctionMode):
    """A block in which generators of the host's draw for other devices, too."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is None:
            return function(*args, **kwargs)
        if args and isinstance(args[0], Tensor):
            drawn = function(torch.empty_like(args[0], device="cpu"), *args[1:], **kwargs)
            return args[0].copy_(drawn)
        device = kwargs.pop("device", "cpu")
        return function(*args, **kwargs).to(device)


def check_agreement(
    method: str, device: torch.device, precision: Literal["fp32", "bf16"] = "fp32", config: Config | None = None
) -> dict[str, float]:
    """Check that a step of a method comes out on a device as on the host, on a small problem.

    Arguments:
        method: Name of the method.
        device: Device to compare with the host.
        precision: Precision on the device; the host computes in float32.
        config: The method's options; the default ones, with small queues, unless given.

    Returns:
        What was found: the differences that `Tolerance` speaks of.

    Raises:
        AssertionError: A sentence that says what differs.
    """
    kind = registry[method]
    config = kind.Config(**SMALL_QUEUES.get(method, {})) if config is None else config
    problem, host = Training(kind, config), torch.device("cpu")
    expected, actual = _stepped(problem, host, "fp32"), _stepped(problem, device, precision)
    differences = {
        "loss": abs(actual.loss - expected.loss) / max(abs(expected.loss), 1e-6),
        "gradient": float((actual.gradient - expected.gradient).norm() / expected.gradient.norm().clamp_min(1e-12)),
        _kind(expected.outliers): _share_apart(actual.outliers, expected.outliers),
    }
    allowed = TOLERANCES[precision]
    for name, difference in differences.items():
        expect(
            difference <= getattr(allowed, name),
            f"{method} in {precision} on {device} has a difference of the {name} of {difference:.2g}, and "
            f"{getattr(allowed, name)} is allowed",
            "device",
        )
    return differences


class _Step(NamedTuple):
    loss: float
    gradient: Tensor
    outliers: Tensor


def _stepped(problem: Training, device: torch.device, precision: str) -> _Step:
    method = problem.method()
    for number in range(3):  # On the host, so that all that is remembered is the same.
        with torch.no_grad():
            method(problem.batch(number, epoch=5, epochs=5))
    method = method.to(device).to(memory_format=torch.channels_last)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    with repeatable(), _DrawnByTheHost():
        with autocast:
            loss = method(_sent(problem.batch(3, epoch=5, epochs=5), device))["loss"]
        loss.backward()
        with autocast, torch.no_grad():
            outliers = method.outliers(_sent(problem.batch(4, epoch=5, epochs=5), device))
    gradients = [p.grad.flatten() for p in method.parameters() if p.grad is not None]
    values = torch.zeros(0) if outliers is None else outliers.values.detach().float().cpu()
    return _Step(loss.item(), torch.cat(gradients).cpu().double(), values)


def _sent(batch: Batch, device: torch.device) -> Batch:
    return replace(
        batch,
        views=tuple(view.to(device) for view in batch.views),
        labels=batch.labels.to(device),
        outliers=None if batch.outliers is None else batch.outliers.to(device),
        generator=pretending(device).manual_seed(batch.generator.initial_seed()),
        whole=batch.labels.cpu(),
    )


def _kind(outliers: Tensor) -> str:
    """What `Tolerance` calls them."""
    return "features" if outliers.ndim == 2 else "pixels"


def _share_apart(actual: Tensor, expected: Tensor) -> float:
    """Rows of features may come in another order, as the farther of two is told by a rounding."""
    if actual.shape != expected.shape:
        return math.inf
    if not len(expected):
        return 0.0
    near = 0.01 * expected.std()
    # Not those that are farther: what is no number is neither.
    if expected.ndim == 2:
        together = torch.cdist(actual, expected).amin(1) <= near * expected.shape[1] ** 0.5
    else:
        together = (actual - expected).abs() <= near
    return 1 - float(together.float().mean())


def check_resume(method: str, images: ImageSet, folder: Path, **options: Any) -> dict[str, float]:
    """Check that a training which is stopped and goes on ends bit for bit as one that is not stopped.

    Arguments:
        method: Name of the method.
        images: Images to train on; opened from a spec, as a run that goes on opens them again.
        folder: A new folder for the runs.
        options: Options of the training and of the method, such as ``device``.

    Returns:
        ``accuracy`` on the validation images.

    Raises:
        AssertionError: If the trainings differ.
    """
    options = {"epochs": 1, **SMALL_QUEUES.get(method, {}), **options}
    whole = train(method, images, out=folder / "whole", **options)

    def stop(step: int, steps: int, latest: Mapping[str, Any]) -> None:
        if step == steps // 2:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        train(method, images, out=folder / "stopped", progress=stop, **options)
        raise AssertionError("The training did not stop when it was asked to.")
    except Interrupted:
        resumed = resume(folder / "stopped")
    expected, actual = (load_tensors(run.model)[0] for run in (whole, resumed))
    for name, value in expected.items():
        expect(torch.equal(actual[name], value), f"{method} resumed ends with other numbers in {name}", "device")
    records, again = list(whole.records()), list(resumed.records())
    expect(records == again, f"{method} resumed has other records", "device")
    return {"accuracy": records[-1]["accuracy"]}


def check_loop(method: str, images: ImageSet, folder: Path, device: torch.device, **options: Any) -> None:
    """Check that a whole training, data path and optimiser included, does not make the host wait for CUDA between two
    lines of its record.

    Arguments:
        method: Name of the method.
        images: Images to train on.
        folder: A new folder for the run.
        device: Where to train.
        options: Options of the training and of the method.

    Raises:
        AssertionError: If it does, with what it waited for.
    """
    with refused_waits(device, watching=False) as watch:

        def between(step: int, steps: int, latest: Mapping[str, Any]) -> None:
            every = max(1, steps // 10)
            # The first steps send what is sent once; a step that writes a line asks for its numbers.
            watch(step >= every and (step + 1) % every != 0 and step + 1 < steps)

        train(method, images, out=folder, progress=between, epochs=1, device=device.type, **options)


def check_batches(device: torch.device) -> None:
    """Check that images in memory lie on the device, where they are augmented without a wait, channels last.

    Raises:
        AssertionError: If they don't, or the host waits.
    """
    pixels = torch.randint(256, (256, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = ImageSet(pixels.numpy(), torch.arange(256) % 2, ["a", "b"])
    augment = parse_augmentations("crop:4,flip,pixmix,jitter,grey,resized-crop", 32)
    batches = training_batches(images, Transform(32), augment, batch_size=32, epochs=2, seed=0, device=device)
    stream = batches.start(0)
    next(stream)  # What is sent once has been sent.
    with refused_waits(device):
        batch = next(stream).images
    expect(batch.device == device, f"a batch lies on {batch.device} instead of {device}", "device")
    expect(batch.is_contiguous(memory_format=torch.channels_last), "a batch is not channels-last", "device")


def check_diffusion(model: Any, device: torch.device, images: ImageSet) -> dict[str, float]:
    """Check that a diffusion model makes the same images on a device as on the host, and embeds images as there.

    Arguments:
        model: A trained `outskirts.models.diffusion.DiffusionModel`.
        device: Device to compare with the host.
        images: Labelled images of its classes.

    Returns:
        The share of ``pixels`` that differ by more than 2 of 255, and the largest difference of the ``vectors``,
        relative to the deviation of their moves.

    Raises:
        AssertionError: If either is too large, or a second call makes other images.
    """
    from ..generation.diffusion.decoding import Decoding, decoded
    from ..generation.diffusion.embeddings import Embedder
    from ..generation.diffusion.inversion import Inversion

    model = model.eval().requires_grad_(False)
    seeds, how = list(range(len(images))), Decoding(network_evaluations=8)
    made, moves = [], []
    for where in (torch.device("cpu"), device, device):
        model = model.to(where)
        with repeatable():
            made.append(decoded(model, model.prompts.starts(images.labels.to(where)), seeds, how).int())
            embedder = Embedder(model, Inversion())
            vectors, _ = embedder(images.resident(embedder.transform)[0], images.labels, seeds)
        moves.append(vectors - model.prompts.starts(images.labels.to(where)).cpu())
    expected, actual, again = made
    differences = {
        "pixels": float(((actual - expected).abs() > 2).float().mean()),
        "vectors": float((moves[1] - moves[0]).abs().max() / moves[0].std()),
    }
    expect(torch.equal(actual, again), f"a second call on {device} makes other images", "device")
    expect(differences["pixels"] <= 0.01, f"{differences['pixels']:.1%} of the pixels differ", "device")
    expect(differences["vectors"] <= 0.1, f"vectors differ by {differences['vectors']:.2g}", "device")
    return differences


def check_waits(method: str, device: torch.device, config: Config | None = None) -> None:
    """Check that a step of a method, its gradient included, never makes the host wait for CUDA.

    Raises:
        AssertionError: If it does, with what it waited for.
    """
    kind = registry[method]
    config = kind.Config(**SMALL_QUEUES.get(method, {})) if config is None else config
    problem = Training(kind, config)
    model = problem.method().to(device).to(memory_format=torch.channels_last)
    batches = [_sent(problem.batch(number, epoch=5, epochs=5), device) for number in range(5)]
    batches = [replace(b, generator=Shared(device).manual_seed(n)) for n, b in enumerate(batches)]
    for batch in batches[:4]:  # Until it makes outliers, and what is sent once has been sent.
        model(batch)["loss"].backward()
    with refused_waits(device):
        model(batches[4])["loss"].backward()
