"""Contracts that every part keeps, for the authors of new parts: call them in a test.

>>> from outskirts.testing import check_detector, check_method
>>> check_detector("msp")
>>> check_method("ce")
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.nn.functional import normalize

from .data.batches import Batch
from .data.transform import Transform
from .detectors.base import Detector, create, registry
from .errors import OutskirtsError
from .evaluation.metrics import auroc
from .evaluation.outputs import Head, Outputs
from .methods import Config, Method
from .methods import registry as methods
from .models.classifier import Backbone, Classifier
from .models.fast import FastNet
from .seeding import generator, isolated
from .synthesis import Outliers
from .training.config import TrainConfig

__all__ = ["check_detector", "check_method"]

#: Images of three channels and 2 x 2 pixels, whose values are the features.
SHAPE = (3, 2, 2)
CLASSES = 3


class _Classifier(nn.Module):
    """As little of a classifier as a probe may expect: a transform, `forward`, `eval`; linear in the pixels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.transform = SimpleNamespace(mean=(0.0, 0.0, 0.0), std=(0.5, 0.25, 0.2))
        self.head = nn.utils.skip_init(nn.Linear, SHAPE[0] * SHAPE[1] * SHAPE[2], classes)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(*self.head.weight.shape))
            self.head.bias.copy_(torch.linspace(-0.1, 0.1, classes))

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

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
        return Outputs(
            torch.cat([one.features, two.features]), torch.cat([one.logits, two.logits]), None, one.head, extra
        )


def _outputs(features: Tensor, labels: Tensor, detector: Detector, classes: int) -> Outputs:
    """What extraction would leave of these images for this detector."""
    classifier = _Classifier(classes).eval()
    images = features.view(-1, *SHAPE)
    with torch.inference_mode():
        logits = classifier(images)
        extra = {probe.key: probe(classifier, images) for probe in detector.probes}
        extra["cosines"] = normalize(features, dim=1) @ normalize(classifier.head.weight, dim=1).T
        extra["risk"] = logits.logsumexp(1)  # As of a network that tells training images from outliers.
    _expect(all(p.grad is None for p in classifier.parameters()), "a probe leaves gradients in the parameters")
    head = Head(classifier.head.weight.detach(), classifier.head.bias.detach())
    return Outputs(features, logits.clone(), labels, head, {key: value.clone() for key, value in extra.items()})


def _problem(make: Callable[[], Detector], classes: int = CLASSES, constant: bool = False) -> _Problem:
    g = generator(0, "check_detector")
    dimension = SHAPE[0] * SHAPE[1] * SHAPE[2]

    def inliers(n: int) -> Outputs:
        labels = torch.arange(n) % classes
        noise = 0.5 * torch.randn(n, dimension, generator=g).abs()
        return _outputs(noise * (not constant) + 5 * torch.eye(dimension)[labels], labels, make(), classes)

    train, test = inliers(150), inliers(60)
    far = 4 * torch.rand(40, dimension, generator=g)
    far[:, :classes] = 0.1 * torch.rand(40, classes, generator=g)
    return _Problem(make, train, test, _outputs(far, torch.full((40,), -1), make(), classes))


def _expect(condition: bool, failing: str, part: str = "detector") -> None:
    if not condition:
        raise AssertionError(f"The {part} breaks its contract: {failing}.")


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-5)


def _check_score(problem: _Problem) -> None:
    detector = problem.make()
    _expect(detector.fit(problem.train) is detector, "fit does not return the detector")
    scores = detector.score(problem.both)
    _expect(scores.shape == (len(problem.both),), f"scores have shape {list(scores.shape)}, not [N]")
    _expect(scores.is_floating_point(), f"scores are {scores.dtype}, not floating-point numbers")
    _expect(bool(scores.isfinite().all()), "scores of ordinary images are not finite")
    inside, outside = scores.split([len(problem.inliers), len(problem.outliers)])
    area = auroc(inside, outside)
    _expect(area > 0.9, f"far outliers do not score larger than inliers (AUROC {area:.3f})")


def _check_rows_alone(problem: _Problem) -> None:
    detector, outputs = problem.fitted(), problem.both
    scores = detector.score(outputs)
    order = torch.randperm(len(outputs), generator=generator(0, "check_detector", "order"))
    _expect(_close(detector.score(outputs[order]), scores[order]), "a permutation of the images changes scores")
    for row in range(0, len(outputs), 17):
        alone = detector.score(outputs[row : row + 1])
        _expect(_close(alone, scores[row : row + 1]), "an image's score depends on the images beside it")
    classifier = _Classifier(CLASSES).eval()
    images = problem.inliers.features.view(-1, *SHAPE)
    for probe in detector.probes:
        together = problem.inliers.extra[probe.key]
        _expect(_close(probe(classifier, images[3:4]), together[3:4]), "a probe depends on the images beside it")


def _check_state(problem: _Problem) -> None:
    fresh, detector = problem.make(), problem.fitted()
    if detector.fit_on is not None:
        try:
            fresh.score(problem.both)
        except OutskirtsError:
            pass
        else:
            _expect(False, "score before fit is not an OutskirtsError")
    _expect(create({"name": fresh.name, **fresh.params}).params == fresh.params, "params do not make it again")
    with tempfile.TemporaryDirectory() as folder:
        detector.save(Path(folder) / "detector.safetensors")
        loaded = Detector.load(Path(folder) / "detector.safetensors")
    before, after = detector.state_dict(), loaded.state_dict()
    same = before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    _expect(same, "saving and loading changes the state")
    _expect(torch.equal(loaded.score(problem.both), detector.score(problem.both)), "saving changes the scores")


def _check_half_precision(problem: _Problem) -> None:
    detector, outputs = problem.fitted(), problem.both
    full = detector.score(outputs).argsort().argsort().double()
    for dtype in (torch.float16, torch.bfloat16):

        def stored(outputs: Outputs, dtype: torch.dtype = dtype) -> Outputs:
            return replace(outputs, features=outputs.features.to(dtype), logits=outputs.logits.to(dtype))

        ranks = problem.make().fit(stored(problem.train)).score(stored(outputs)).argsort().argsort().double()
        correlation = torch.corrcoef(torch.stack([full, ranks]))[0, 1].item()
        _expect(correlation > 0.9, f"outputs stored as {dtype} rank the images differently ({correlation:.3f})")


def _check_inputs_kept(problem: _Problem) -> None:
    def tensors(outputs: Outputs) -> list[Tensor]:
        return [outputs.features, outputs.logits, *(outputs.head or ()), *outputs.extra.values()]

    test = problem.both
    watched = tensors(problem.train) + tensors(test)
    copies = [tensor.clone() for tensor in watched]
    problem.fitted().score(test)
    _expect(all(map(torch.equal, watched, copies)), "fit or score changes its inputs")


def _check_degenerate(problem: _Problem) -> None:
    """One class, features without variance, no images: finite scores or a clear error."""
    one_class, constant = _problem(problem.make, classes=1), _problem(problem.make, constant=True)
    cases = {
        "one class": (one_class.train, one_class.both),
        "features without variance": (constant.train, constant.both),
        "no images to score": (problem.train, problem.both[:0]),
        "no images to fit on": (problem.train[:0], problem.both),
    }
    for what, (train, test) in cases.items():
        try:
            scores = problem.make().fit(train).score(test)
        except OutskirtsError:
            continue
        _expect(scores.shape == (len(test),) and bool(scores.isfinite().all()), f"{what}: scores are not finite")


def check_detector(detector: Detector | type[Detector] | str) -> None:
    """Check that a detector keeps the contract of `outskirts.detectors.Detector`, on a small synthetic problem.

    Checked are the shape and the direction of the scores, that an image's score is its own, fitting, saving and
    loading, half-precision outputs, that inputs stay as they are, and degenerate inputs.

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
        _check_state,
        _check_half_precision,
        _check_degenerate,
    ):
        check(problem)


# Methods

_require = partial(_expect, part="method")
_IMAGES, _SIDE, _WIDTH = 24, 16, 8


@dataclass(frozen=True)
class _Training:
    """A problem that every method can learn: the class is the brightest colour, in front of noise."""

    kind: type[Method]
    config: Config

    def method(self, seed: int = 0) -> Method:
        """The method, untrained, on a small network in training mode."""
        with isolated(seed, "check_method"):
            backbone = Backbone(FastNet(3, _SIDE, (_WIDTH,) * 3), _WIDTH, "fast")
            head = self.kind.head(self.config, _WIDTH, CLASSES)
            classifier = Classifier(backbone, head, Transform(_SIDE), [f"class {i}" for i in range(CLASSES)])
            return self.kind(self.config, classifier).train()

    def batch(self, number: int = 0, epoch: int = 1, epochs: int = 1) -> Batch:
        g = generator(number, "check_method", "batch")
        labels = torch.arange(_IMAGES) % CLASSES
        views = (torch.randn(_IMAGES, 3, _SIDE, _SIDE, generator=g) * 0.3 for _ in range(self.method().views))
        colours = torch.eye(3)[labels][:, :, None, None]
        return Batch(tuple(view + colours for view in views), labels, epoch, epochs, g)

    def trained(self, method: Method, steps: int) -> list[float]:
        """The losses of some steps."""
        optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=0.01)
        losses = []
        for number in range(steps):
            loss = method(self.batch(number))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses


def _random_states() -> tuple[object, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def _check_config(problem: _Training) -> None:
    config = problem.config
    frozen = is_dataclass(config) and config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    _require(frozen and type(config) is problem.kind.Config, "Config is not a frozen dataclass of its own")
    own, training = ({field.name for field in fields(c)} for c in (type(config), TrainConfig))
    _require(not own & training, f"it names options as the training does: {', '.join(sorted(own & training))}")
    try:
        read_back = yaml.safe_load(yaml.safe_dump(asdict(config)))
    except yaml.YAMLError:
        read_back = {}
    same = read_back.keys() == own and type(config)(**read_back) == config
    _require(same, "its options do not survive being written to config.yaml")
    for name, preset in problem.kind.presets.items():
        strangers = preset.keys() - own - training
        _require(not strangers, f"the preset '{name}' sets unknown options: {', '.join(sorted(strangers))}")

        def given(names: set[str], preset: Any = preset) -> dict[str, Any]:
            return {key: value for key, value in preset.items() if key in names}

        type(config)(**given(own))
        TrainConfig(**given(training))


def _check_step(problem: _Training) -> None:
    for epoch in (1, 5):
        method, batch = problem.method(), problem.batch(epoch=epoch, epochs=5)
        copies = [view.clone() for view in batch.views]
        before = _random_states()
        scalars = method(batch)
        _require(_random_states() == before, "a step draws from a global random state, not from batch.generator")
        _require(all(map(torch.equal, batch.views, copies)), "a step changes the images of its batch")
        _require("loss" in scalars, "a step returns no 'loss'")
        for name, value in scalars.items():
            _require(isinstance(value, Tensor) and value.ndim == 0, f"'{name}' is not a tensor without axes")
            _require(bool(value.isfinite()), f"'{name}' is not finite")
            _require(name == "loss" or not value.requires_grad, f"'{name}' is not detached")
        _require(scalars["loss"].requires_grad, "the loss has no gradient")
        scalars["loss"].backward()
        for what, part in (("backbone", method.classifier.backbone), ("head", method.classifier.head)):
            # A network beside the head has nothing to learn before there are outliers.
            own = {name: p.grad for name, p in part.named_parameters() if not name.startswith("risk.")}
            gradients = [grad for grad in own.values() if grad is not None]
            _require(not own or any(bool(g.any()) for g in gradients), f"the loss has no gradient in the {what}")
            _require(all(bool(g.isfinite().all()) for g in gradients), f"the {what}'s gradient is not finite")
        factors = [method.lr_factor(name) for name, _ in method.named_parameters()]
        _require(all(factor >= 0 for factor in factors), "a learning-rate factor is negative")


def _check_weights(problem: _Training) -> None:
    def loss(weights: Tensor | None) -> Tensor:
        return problem.method()(replace(problem.batch(epoch=5, epochs=5), weights=weights))["loss"]

    plain = loss(None)
    equal = loss(torch.full((_IMAGES,), 1 / _IMAGES))
    _require(_close(equal, plain), f"equal weights of the images change the loss from {plain:.6f} to {equal:.6f}")
    uneven = torch.arange(1.0, _IMAGES + 1).square()
    # Bit-equal, and no rounding, where weights are not read.
    _require(not torch.equal(loss(uneven / uneven.sum()), equal), "the loss does not heed the weights of the images")


def _check_logits(problem: _Training) -> None:
    classifier, images = problem.method().classifier.eval(), problem.batch().images
    with torch.no_grad():
        logits = classifier(images)
        _require(logits.shape == (_IMAGES, CLASSES), f"the head returns shape {list(logits.shape)}, not [B, C]")
        _require(_close(classifier(images[:1]), logits[:1]), "an image's logits depend on the images beside it")


def _check_repeatable(problem: _Training) -> None:
    def next_loss(method: Method) -> Tensor:
        return method.train()(problem.batch(99))["loss"].detach()

    method, twin = problem.method(), problem.method()
    losses = problem.trained(method, 3)
    _require(problem.trained(twin, 3) == losses, "the same seed gives different losses")
    stranger = problem.method(seed=1)
    stranger.load_state_dict(method.state_dict())
    _require(
        torch.equal(next_loss(stranger), next_loss(method)),
        "what it remembers between steps is not all in its state dict, so a resumed run differs",
    )


def _check_outliers(problem: _Training) -> None:
    method, batch = problem.method(), problem.batch()
    # Some methods make outliers only of what they have seen before.
    problem.trained(method, 3)
    method.zero_grad()
    state = {name: value.clone() for name, value in method.classifier.state_dict().items()}
    before = _random_states()
    outliers = method.outliers(batch)
    _require(_random_states() == before, "outliers draws from a global random state, not from batch.generator")
    same = all(torch.equal(value, state[name]) for name, value in method.classifier.state_dict().items())
    _require(same and all(part.training for part in method.classifier.modules()), "outliers changes the classifier")
    _require(not any(p.grad is not None for p in method.parameters()), "outliers leaves gradients in the parameters")
    if outliers is None:
        return
    _require(isinstance(outliers, Outliers), f"outliers returns {type(outliers).__name__}, not Outliers")
    shape = tuple(outliers.values.shape[1:])
    _require(shape in ((3, _SIDE, _SIDE), (_WIDTH,)), f"outliers of shape {list(shape)}: neither images nor features")
    _require(outliers.labels.shape == (len(outliers),), "there is not one label per outlier")
    _require(not outliers.values.requires_grad, "the outliers are not detached")
    for name, value in outliers.info.items():
        fits = value.ndim == 0 or len(value) == len(outliers)
        _require(fits and not value.requires_grad, f"'{name}' of info is neither one number nor one row per outlier")


def _check_learns(problem: _Training) -> None:
    losses = problem.trained(problem.method(), 20)
    start, end = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    _require(end < start, f"20 steps on an easy problem do not lower the loss ({start:.3f} to {end:.3f})")


def check_method(method: type[Method] | str, config: Config | None = None) -> None:
    """Check that a training method keeps the contract of `outskirts.methods.Method`, on a small synthetic problem.

    Checked are its configuration and presets, the loss and its gradients, that steps are repeatable and leave
    global random states alone, that its state dict holds all it remembers, its outliers, and that it learns.

    Arguments:
        method: A method's class, or its registered name.
        config: The hyper-parameters to check it with; the default ones unless given.

    Raises:
        AssertionError: A sentence that says what is broken.
    """
    kind = methods[method] if isinstance(method, str) else method
    problem = _Training(kind, kind.Config() if config is None else config)
    for check in (
        _check_config,
        _check_step,
        _check_weights,
        _check_logits,
        _check_repeatable,
        _check_outliers,
        _check_learns,
    ):
        check(problem)
