"""Every registered method keeps the contract."""

from dataclasses import dataclass, replace
from types import MappingProxyType

import pytest
import torch
from torch.nn.functional import cross_entropy

from outskirts.methods import Config, Method, registry
from outskirts.methods.ascood import ASCOODConfig
from outskirts.methods.averages import classification
from outskirts.synthesis import Outliers
from outskirts.synthesis.pixel import KINDS
from outskirts.testing import check_method
from outskirts.training.config import resolve_recipe

PRESETS = [(name, preset) for name in registry.names() for preset in registry[name].presets]


@pytest.mark.parametrize("name", registry.names())
def test_contract(name):
    check_method(name)


@pytest.mark.parametrize("kind", KINDS)
def test_contract_of_every_kind_of_outlier(kind):
    # Noise at the default strength, which is that of gradients, would hide the images from shared statistics.
    strength = {"alpha_max": 1.0, "alpha_min": 0.1} if kind == "gaussian" else {}
    check_method("ascood", ASCOODConfig(outliers=kind, **strength))


@pytest.mark.parametrize(
    "options",
    [
        {"outlier_loss": "energy"},
        {"batchnorm": "separate"},
        {"feature_scaling": "unit"},
        {"feature_scaling": "none"},
        {"reference_quirks": True, "relative_alpha": True, "alpha_max": 1.0, "alpha_min": 0.1, "clamp": True},
    ],
    ids=lambda options: "-".join(str(part) for part in next(iter(options.items()))),
)
def test_contract_of_the_variants(options):
    check_method("ascood", ASCOODConfig(**options))


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_presets_are_recipes(name, preset):
    made = resolve_recipe(name, {}, preset)
    assert made.flat().items() >= dict(registry[name].presets[preset]).items()
    assert resolve_recipe(name, {"epochs": 3}, preset).training.epochs == 3


class Sound(Method):
    name = "sound"

    def step(self, batch):
        return {"loss": classification(self.classifier(batch.images), batch.labels, batch.weights)}


@dataclass
class Thawed:
    pass


@dataclass(frozen=True)
class Colliding(Config):
    epochs: int = 3


@dataclass(frozen=True)
class Unwritable(Config):
    bounds: tuple[int, int] = (0, 1)


class UnknownOption(Sound):
    presets = MappingProxyType({"large": {"margn": 1}})


class GlobalRandom(Sound):
    def step(self, batch):
        noise = torch.randn(batch.images.shape)
        return {"loss": cross_entropy(self.classifier(batch.images + noise), batch.labels)}


class Attached(Sound):
    def step(self, batch):
        loss = super().step(batch)["loss"]
        return {"loss": loss, "half": loss / 2}


class Overwriting(Sound):
    def step(self, batch):
        batch.images.clamp_(0, 1)
        return super().step(batch)


class DeadBackbone(Sound):
    def step(self, batch):
        features = self.classifier.features(batch.images).detach()
        return {"loss": cross_entropy(self.classifier.head(features), batch.labels)}


class Unweighted(Sound):
    def step(self, batch):
        return super().step(replace(batch, weights=None))


class Unlinear(Sound):
    def step(self, batch):
        return super().step(replace(batch, weights=None if batch.weights is None else batch.weights.square() * 24))


class WeighsNothing(Unweighted):
    weighs_images = False


class Forgetful(Sound):
    seen = 0

    def step(self, batch):
        self.seen += 1
        return {"loss": super().step(batch)["loss"] * (1 + 1 / self.seen)}


class Worsening(Sound):
    def __init__(self, config, classifier):
        super().__init__(config, classifier)
        self.register_buffer("steps", torch.zeros(()))

    def step(self, batch):
        self.steps += 1
        return {"loss": super().step(batch)["loss"] + self.steps}


class MadeWithGradients(Sound):
    def outliers(self, batch):
        images = batch.images.clone().requires_grad_()
        self.classifier(images).sum().backward()
        return Outliers(images.grad, batch.labels)


class HalfOutliers(Sound):
    def outliers(self, batch):
        return Outliers(batch.images[::2], batch.labels)


def test_a_minimal_method_passes():
    check_method(Sound)


def test_a_method_may_say_that_it_weighs_no_images():
    check_method(WeighsNothing)


def with_config(config):
    return type("Configured", (Sound,), {"Config": config})


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (with_config(Thawed), "frozen dataclass"),
        (with_config(Colliding), "that the training uses: epochs"),
        (with_config(Unwritable), r"config\.yaml"),
        (UnknownOption, "unknown options: margn"),
        (GlobalRandom, "global random state"),
        (Attached, "'half' is not detached"),
        (Overwriting, "changes the images"),
        (DeadBackbone, "no gradient in the backbone"),
        (Unweighted, "does not depend on the weights"),
        (Unlinear, "with weights of classes, the loss is .*, and their weighted mean"),
        (Forgetful, "resumed run"),
        (Worsening, "do not lower the loss"),
        (MadeWithGradients, "outliers"),
        (HalfOutliers, "one label per outlier"),
    ],
)
def test_breaking_the_contract_is_told(broken, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_method(broken)
