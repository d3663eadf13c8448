"""The contract of methods."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
import yaml
from torch import Tensor

from ..data.loading.batches import Batch
from ..data.transform import Transform
from ..methods import Config, Method, registry
from ..models.classifier import Backbone, Classifier
from ..models.fast import FastNet
from ..seeding import generator, isolated
from ..synthesis import Outliers
from ..training.config import TrainConfig
from .expect import close, expect, random_states
from .waiting import META, WithoutWaiting, pretending

__all__ = ["Training", "check_method"]

_require = partial(expect, part="method")
#: Images, their side in pixels, the network's features, and classes.
_IMAGES, _SIDE, _WIDTH, CLASSES = 24, 16, 8, 3


@dataclass(frozen=True)
class Training:
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
        method = self.method()
        views = (torch.randn(_IMAGES, 3, _SIDE, _SIDE, generator=g) * 0.3 for _ in range(method.views))
        colors = torch.eye(3)[labels][:, :, None, None]
        outliers = torch.randn(_IMAGES, 3, _SIDE, _SIDE, generator=g) if method.needs_outlier_images else None
        return Batch(tuple(view + colors for view in views), labels, epoch, epochs, g, outliers=outliers)

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


def _check_config(problem: Training) -> None:
    config = problem.config
    frozen = is_dataclass(config) and config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    _require(frozen and type(config) is problem.kind.Config, "Config is not a frozen dataclass of its own")
    own, training = ({field.name for field in fields(c)} for c in (type(config), TrainConfig))
    _require(not own & training, f"its options have names that the training uses: {', '.join(sorted(own & training))}")
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


def _check_step(problem: Training) -> None:
    for epoch in (1, 5):
        method, batch = problem.method(), problem.batch(epoch=epoch, epochs=5)
        copies = [view.clone() for view in batch.views]
        before = random_states()
        scalars = method(batch)
        _require(random_states() == before, "a step draws from a global random state, not from batch.generator")
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
            own = {name: p.grad for name, p in part.named_parameters() if not name.startswith("ood_head.")}
            gradients = [grad for grad in own.values() if grad is not None]
            _require(not own or any(bool(g.any()) for g in gradients), f"the loss has no gradient in the {what}")
            _require(all(bool(g.isfinite().all()) for g in gradients), f"the {what}'s gradient is not finite")
        factors = [method.lr_factor(name) for name, _ in method.named_parameters()]
        _require(all(factor >= 0 for factor in factors), "a learning-rate factor is negative")


def _check_weights(problem: Training) -> None:
    if not problem.kind.weighs_images:
        return

    def loss(weights: Tensor | None) -> Tensor:
        return problem.method()(replace(problem.batch(epoch=5, epochs=5), weights=weights))["loss"]

    plain = loss(None)
    equal = loss(torch.full((_IMAGES,), 1 / _IMAGES))
    _require(close(equal, plain), f"equal weights of the images change the loss from {plain:.6f} to {equal:.6f}")
    uneven = torch.arange(1.0, _IMAGES + 1).square()
    # Bit-equal, and no rounding, where weights are not read.
    _require(
        not torch.equal(loss(uneven / uneven.sum()), equal), "the loss does not depend on the weights of the images"
    )
    # What each class costs alone, by hand averaged.
    labels, shares = problem.batch().labels, torch.arange(1.0, CLASSES + 1) / sum(range(1, CLASSES + 1))
    each = 1 / torch.bincount(labels, minlength=CLASSES)
    alone = torch.stack([loss((labels == c) * each[c]) for c in range(CLASSES)])
    found, wanted = loss((shares * each)[labels]), (shares * alone).sum()
    _require(
        close(found, wanted), f"with weights of classes, the loss is {found:.6f}, and their weighted mean {wanted:.6f}"
    )


def _check_logits(problem: Training) -> None:
    classifier, images = problem.method().classifier.eval(), problem.batch().images
    with torch.no_grad():
        logits = classifier(images)
        _require(logits.shape == (_IMAGES, CLASSES), f"the head returns shape {list(logits.shape)}, not [B, C]")
        _require(close(classifier(images[:1]), logits[:1]), "an image's logits depend on the images beside it")


def _check_repeatable(problem: Training) -> None:
    def next_loss(method: Method) -> Tensor:
        return method.train()(problem.batch(99))["loss"].detach()

    method, twin = problem.method(), problem.method()
    losses = problem.trained(method, 3)
    _require(problem.trained(twin, 3) == losses, "the same seed gives different losses")
    stranger = problem.method(seed=1)
    stranger.load_state_dict(method.state_dict())
    _require(
        torch.equal(next_loss(stranger), next_loss(method)),
        "its state dict lacks something that it remembers between steps, so a resumed run differs",
    )


def _check_waits_for_nothing(problem: Training) -> None:
    method = problem.method()
    for number in range(4):  # Until it makes outliers, if of what it has seen.
        method(problem.batch(number, epoch=5, epochs=5))
    batch = problem.batch(4, epoch=5, epochs=5)
    far = replace(
        batch,
        views=tuple(view.to(META) for view in batch.views),
        labels=batch.labels.to(META),
        outliers=None if batch.outliers is None else batch.outliers.to(META),
        generator=pretending(META).manual_seed(0),
        whole=batch.labels,
    )
    try:
        method = method.to(META)
        with WithoutWaiting():
            method(far)["loss"].backward()
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise AssertionError(
            f"The method breaks its contract: a step makes the host wait for the device ({error})."
        ) from error


def _check_outliers(problem: Training) -> None:
    method, batch = problem.method(), problem.batch()
    # Some methods make outliers only of what they have seen before.
    problem.trained(method, 3)
    method.zero_grad()
    state = {name: value.clone() for name, value in method.classifier.state_dict().items()}
    before = random_states()
    outliers = method.outliers(batch)
    _require(random_states() == before, "outliers draws from a global random state, not from batch.generator")
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


def _check_learns(problem: Training) -> None:
    losses = problem.trained(problem.method(), 20)
    start, end = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    _require(end < start, f"20 steps on an easy problem do not lower the loss ({start:.3f} to {end:.3f})")


def check_method(method: type[Method] | str, config: Config | None = None) -> None:
    """Check that a training method keeps the contract of `outskirts.methods.Method`, on a small synthetic problem.

    Checked are its configuration and presets, the loss and its gradients, that the loss is an average with the weights
    of the images, that steps are repeatable, do not make the host wait for a GPU and leave global random states alone,
    that its state dict holds all it remembers, its outliers, and that it learns.

    Arguments:
        method: A method's class, or its registered name.
        config: The hyper-parameters to check it with; the default ones unless given.

    Raises:
        AssertionError: A sentence that says what is broken.
    """
    kind = registry[method] if isinstance(method, str) else method
    problem = Training(kind, kind.Config() if config is None else config)
    for check in (
        _check_config,
        _check_step,
        _check_weights,
        _check_logits,
        _check_repeatable,
        _check_waits_for_nothing,
        _check_outliers,
        _check_learns,
    ):
        check(problem)
