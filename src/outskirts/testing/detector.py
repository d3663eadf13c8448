"""The contract of detectors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..detectors.base import Detector, create, registry
from ..errors import OutskirtsError
from ..evaluation.metrics import auroc
from ..extraction import blocks
from ..extraction.outputs import Outputs
from ..models.heads import Head
from ..seeding import generator
from .expect import close, expect
from .scores import rank_difference

__all__ = ["check_detector"]

_require = partial(expect, part="detector")
#: Images of three channels and 2 x 2 pixels, whose values are the features.
SHAPE = (3, 2, 2)
CLASSES = 3


class _Classifier(nn.Module):
    """As little of a classifier as a probe may expect: a transform, a backbone, `forward`, `eval`; linear in the
    pixels.
    """

    def __init__(self, classes: int, level: float = 0.0) -> None:
        super().__init__()
        self.transform = SimpleNamespace(mean=(0.0, 0.0, 0.0), std=(0.5, 0.25, 0.2))
        # Maps of four resolutions, of which the last is the image.
        pooling = [nn.AvgPool2d(2) for _ in range(3)]
        self.backbone = nn.Sequential(nn.Upsample(scale_factor=8), *pooling, nn.Flatten())
        self.head = nn.utils.skip_init(nn.Linear, SHAPE[0] * SHAPE[1] * SHAPE[2], classes)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(*self.head.weight.shape))
            self.head.bias.copy_(torch.linspace(-0.1, 0.1, classes) + level)
            # As of a network that tells how images are turned, but never knows.
            rotation = nn.Linear(self.head.in_features, 4, device="meta").to_empty(device="cpu")
            rotation.weight.zero_(), rotation.bias.zero_()
            self.head.rotation = rotation

    def features(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@dataclass(frozen=True)
class _Problem:
    """A problem that every detector can solve: classes apart along the head's directions, outliers far off them."""

    make: Callable[[], Detector]
    train: Outputs
    inliers: Outputs
    outliers: Outputs

    def fitted(self) -> Detector:
        return self.make().fit(self.train)

    @property
    def both(self) -> Outputs:
        one, two = self.inliers, self.outliers
        extra = {key: torch.cat([one.extra[key], two.extra[key]]) for key in one.extra}
        logits = torch.cat([part.need("logits", "both") for part in (one, two)])
        return Outputs(torch.cat([one.features, two.features]), logits, None, one.head, extra)


def _outputs(features: Tensor, labels: Tensor, detector: Detector, classes: int, level: float = 0.0) -> Outputs:
    """What extraction would leave of these images for this detector."""
    classifier = _Classifier(classes, level).eval()
    images = features.view(-1, *SHAPE)
    with torch.inference_mode():
        logits = classifier(images)
        extra = {probe.key: probe(classifier, images) for probe in detector.probes}
        extra["cosines"] = normalize(features, dim=1) @ normalize(classifier.head.weight, dim=1).T
        extra["numerators"] = extra["cosines"]
        extra["ood_head"] = logits.logsumexp(1)  # As of a network that tells training images from outliers.
    _require(all(p.grad is None for p in classifier.parameters()), "a probe leaves gradients in the parameters")
    head = Head(classifier.head.weight.detach(), classifier.head.bias.detach())
    return Outputs(features, logits.clone(), labels, head, {key: value.clone() for key, value in extra.items()})


def _problem(
    make: Callable[[], Detector], classes: int = CLASSES, constant: bool = False, level: float = 0.0
) -> _Problem:
    g = generator(0, "check_detector")
    dimension = SHAPE[0] * SHAPE[1] * SHAPE[2]

    def inliers(n: int) -> Outputs:
        labels = torch.arange(n) % classes
        noise = 0.5 * torch.randn(n, dimension, generator=g).abs()
        return _outputs(noise * (not constant) + 5 * torch.eye(dimension)[labels], labels, make(), classes, level)

    train, test = inliers(150), inliers(60)
    far = 4 * torch.rand(40, dimension, generator=g)
    far[:, :classes] = 0.1 * torch.rand(40, classes, generator=g)
    return _Problem(make, train, test, _outputs(far, torch.full((40,), -1), make(), classes, level))


def _check_score(problem: _Problem) -> None:
    detector = problem.make()
    _require(detector.fit(problem.train) is detector, "fit does not return the detector")
    scores = detector.score(problem.both)
    _require(scores.shape == (len(problem.both),), f"scores have shape {list(scores.shape)}, not [N]")
    _require(scores.is_floating_point(), f"scores are {scores.dtype}, not floating-point numbers")
    _require(bool(scores.isfinite().all()), "scores of ordinary images are not finite")
    inside, outside = scores.split([len(problem.inliers), len(problem.outliers)])
    area = auroc(inside, outside)
    _require(area > 0.9, f"far outliers do not score larger than inliers (AUROC {area:.3f})")


def _check_rows_alone(problem: _Problem) -> None:
    detector, outputs = problem.fitted(), problem.both
    scores = detector.score(outputs)
    order = torch.randperm(len(outputs), generator=generator(0, "check_detector", "order"))
    _require(close(detector.score(outputs[order]), scores[order]), "a permutation of the images changes scores")
    for row in range(0, len(outputs), 17):
        alone = detector.score(outputs[row : row + 1])
        _require(close(alone, scores[row : row + 1]), "an image's score depends on the images beside it")
    classifier = _Classifier(CLASSES).eval()
    images = problem.inliers.features.view(-1, *SHAPE)
    for probe in detector.probes:
        together = problem.inliers.extra[probe.key]
        _require(close(probe(classifier, images[3:4]), together[3:4]), "a probe depends on the images beside it")


def _check_state(problem: _Problem) -> None:
    fresh, detector = problem.make(), problem.fitted()
    if detector.fit_on is not None:
        try:
            fresh.score(problem.both)
        except OutskirtsError:
            pass
        else:
            _require(False, "score before fit is not an OutskirtsError")
    _require(
        create({"name": fresh.name, **fresh.params}).params == fresh.params,
        "its params do not make the same detector again",
    )
    with tempfile.TemporaryDirectory() as folder:
        detector.save(Path(folder) / "detector.safetensors")
        loaded = Detector.load(Path(folder) / "detector.safetensors")
    before, after = detector.state_dict(), loaded.state_dict()
    same = before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    _require(same, "saving and loading changes the state")
    _require(torch.equal(loaded.score(problem.both), detector.score(problem.both)), "saving changes the scores")


def _check_half_precision(problem: _Problem) -> None:
    detector, outputs = problem.fitted(), problem.both
    full = detector.score(outputs).argsort().argsort().double()
    for dtype in (torch.float16, torch.bfloat16):

        def stored(outputs: Outputs, dtype: torch.dtype = dtype) -> Outputs:
            logits = outputs.need("logits", "stored").to(dtype)
            return replace(outputs, features=outputs.features.to(dtype), logits=logits)

        ranks = problem.make().fit(stored(problem.train)).score(stored(outputs)).argsort().argsort().double()
        correlation = torch.corrcoef(torch.stack([full, ranks]))[0, 1].item()
        _require(correlation > 0.9, f"outputs stored as {dtype} rank the images differently ({correlation:.3f})")


def _check_level(problem: _Problem) -> None:
    """No softmax changes where a constant is added to all logits, so that training leaves it open."""
    if problem.make().level_matters:
        return
    scores = problem.fitted().score(problem.both)
    for constant in (-20.0, 20.0):
        moved = _problem(problem.make, level=constant)
        changed = rank_difference(scores, moved.fitted().score(moved.both))
        _require(
            changed < 1e-3,
            f"{constant:+g} on all logits and biases changes which images score the most; take their mean from the "
            "logits, or say in level_matters why that is right",
        )


def _check_without_logits(problem: _Problem) -> None:
    """Detectors of features alone need no logits; the others say that they do."""
    needed = "logits" in problem.make().needs
    train, test = replace(problem.train, logits=None), replace(problem.both, logits=None)
    try:
        scores = problem.make().fit(train).score(test)
    except OutskirtsError as error:
        _require(needed and "logits" in str(error), f"without logits, it says: {error}")
    except Exception as error:
        kind = type(error).__name__
        _require(False, f"without logits, it gives a {kind} and no sentence; use outputs.need('logits', self.name)")
    else:
        _require(not needed, "needs declares logits, but the scores are made without")
        _require(
            close(scores, problem.fitted().score(problem.both)), "scores depend on logits that needs does not name"
        )


def _check_inputs_kept(problem: _Problem) -> None:
    def tensors(outputs: Outputs) -> list[Tensor]:
        return [outputs.features, outputs.need("logits", "watched"), *(outputs.head or ()), *outputs.extra.values()]

    test = problem.both
    watched = tensors(problem.train) + tensors(test)
    copies = [tensor.clone() for tensor in watched]
    problem.fitted().score(test)
    _require(all(map(torch.equal, watched, copies)), "fit or score changes its inputs")


def _check_blocks(problem: _Problem) -> None:
    """A block after the other, as from the disk, or all at once."""
    whole, rows = problem.fitted().score(problem.both), blocks.BLOCK
    blocks.BLOCK = 7
    try:
        # Copies know nothing that was derived before.
        parts = problem.make().fit(replace(problem.train)).score(replace(problem.both))
    finally:
        blocks.BLOCK = rows
    _require(close(parts, whole), "scores depend on how many images are computed with at once")


def _check_degenerate(problem: _Problem) -> None:
    """One class, features without variance, hardly any image: finite scores or a clear error."""
    one_class, constant = _problem(problem.make, classes=1), _problem(problem.make, constant=True)
    cases = {
        "one class": (one_class.train, one_class.both),
        "features without variance": (constant.train, constant.both),
        "no images to score": (problem.train, problem.both[:0]),
        "no images to fit on": (problem.train[:0], problem.both),
        "two images to fit on": (problem.train[:2], problem.both),
        "features that are zero": (problem.train, replace(problem.both, features=0 * problem.both.features)),
    }
    for what, (train, test) in cases.items():
        try:
            scores = problem.make().fit(train).score(test)
        except OutskirtsError:
            continue
        _require(scores.shape == (len(test),) and bool(scores.isfinite().all()), f"{what}: scores are not finite")


def check_detector(detector: Detector | type[Detector] | str) -> None:
    """Check that a detector keeps the contract of `outskirts.detectors.Detector`, on a small synthetic problem.

    Checked are the shape and the direction of the scores, that an image's score is its own, fitting, saving and
    loading, a constant on all logits, outputs without logits, half-precision outputs, that inputs stay as they are,
    fitting and scoring in blocks, and degenerate inputs.

    Arguments:
        detector: A detector, whose parameters are used, a registered class, or its name.

    Raises:
        AssertionError: A sentence that says what is broken.
    """
    model = registry[detector]() if isinstance(detector, str) else detector
    model = model() if isinstance(model, type) else model
    problem = _problem(lambda: type(model)(**model.params))
    for check in (
        _check_inputs_kept,
        _check_score,
        _check_rows_alone,
        _check_level,
        _check_without_logits,
        _check_state,
        _check_half_precision,
        _check_blocks,
        _check_degenerate,
    ):
        check(problem)
