"""The options of a training run that do not belong to its method."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from .. import renamed
from ..data.loading.mixed_sampler import Mixing
from ..errors import OutskirtsError, unknown
from ..methods import Config, registry

__all__ = ["Recipe", "TrainConfig", "preset_options", "resolve_recipe"]


@dataclass(frozen=True)
class TrainConfig:
    """Data, network and optimisation."""

    data: str = ""
    """Training images, as a spec such as cifar10 or folder:photos/train."""
    val: str = ""
    """Validation images of the same classes; by default a part of the training images is set aside."""
    val_fraction: float = 0.05
    """Share of the training images set aside for validation where no --val is given."""
    synthetic: str = ""
    """Synthetic images of the same classes to train with as well, such as pool:DIR."""
    real_ratio: float = 0.8
    """Share of real images in a batch, where there are synthetic ones."""
    real_weight: float = -1.0
    """Weight of the mean loss of the real images, the synthetic ones having the rest; by their numbers if below 0."""
    mixing: Literal["replace", "add", "legacy"] = "replace"
    """Synthetic images replace real ones in a batch, are added to it, or are drawn as SIO's code does."""
    epoch_of: Literal["steps", "real"] = "steps"
    """An epoch has the steps that it has without synthetic images, or shows each real one once."""
    outlier_images: str = ""
    """Images of outliers, such as pool:DIR, for methods that train with some from disk."""
    outlier_batch: int = 0
    """How many of them go with each step; as many as there are images unless given."""
    backbone: str = "fast"
    """fast, resnet18-cifar, clip:DIR, or any torchvision or timm model."""
    pretrained: str = ""
    """'true' for the library's own weights, the name of some of torchvision's, or the path of a state dict."""
    init: str = ""
    """A finished run to begin from: its backbone, transform and weights, those of its head where they fit."""
    train_layers: str = ""
    """Parts of the backbone to train, comma-separated, such as layer4; all unless given. The head always is."""
    frozen_batchnorm: Literal["fixed", "tracking"] = "fixed"
    """Whether the normalisation of layers that are not trained stays as it is, or follows the batches."""
    size: int = 0
    """Side of the network's square input in pixels; 0 takes the images' own, at most 64 or 224."""
    augment: str = "flip,crop:2"
    """Augmentations in order, of: flip, crop, resized-crop, jitter, grey, pixmix, none."""
    epochs: int = 16
    """Passes over the training images; 0 leaves the network as it comes."""
    batch_size: int = 256
    """Images per step, over all processes."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov momentum, or AdamW."""
    lr: float = 0.3
    """Peak learning rate."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 5e-4
    """On all parameters."""
    schedule: Literal["cosine", "epoch-cosine"] = "cosine"
    """Learning rate falling with every step, or once an epoch to a thousandth, as CIDER's code does."""
    warmup: float = 0.15
    """Share of the steps over which the learning rate rises."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 does not clip."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, which is then what is kept; 0 keeps the last."""
    seed: int = 0
    """Of everything random."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 where it is faster on this processor."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    compile: bool = False
    """Compile the network by torch.compile: about a minute at the start, then faster steps on a GPU."""
    val_every: int = 1
    """Epochs between validations."""
    checkpoint_every: int = 1
    """Epochs between checkpoints."""
    memory_budget: int = 2**31
    """Bytes of decoded images to hold in memory; larger sets stream through workers."""
    workers: int = 2
    """Worker processes for sets that stream."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded, and count them, instead of stopping."""
    tracker: str = ""
    """Accelerate trackers beside metrics.jsonl, comma-separated: tensorboard, wandb, mlflow, …"""

    def __post_init__(self) -> None:
        self.mixed()
        if not 0 < self.val_fraction < 1:
            raise OutskirtsError(f"val_fraction is a share between 0 and 1, not {self.val_fraction}.")
        for name in ("batch_size", "val_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise OutskirtsError(f"{name} is at least 1, not {getattr(self, name)}.")
        for name in ("epochs", "size", "weight_decay", "clip_norm", "memory_budget", "workers", "outlier_batch"):
            if not getattr(self, name) >= 0:
                raise OutskirtsError(f"{name} is not negative, but {getattr(self, name)} is.")
        if not 0 < self.lr < float("inf"):
            raise OutskirtsError(f"lr is positive, not {self.lr}.")
        if not 0 <= self.momentum < 1:
            raise OutskirtsError(f"momentum is a share from 0 to below 1, not {self.momentum}.")
        if not 0 <= self.warmup < 1:
            raise OutskirtsError(f"warmup is a share of the steps from 0 to below 1, not {self.warmup}.")
        if not 0 <= self.ema < 1:
            raise OutskirtsError(f"ema is a decay from 0 to below 1, not {self.ema}.")

    def mixed(self) -> Mixing:
        """How synthetic images enter the batches."""
        return Mixing(self.real_ratio, self.mixing, self.epoch_of, None if self.real_weight < 0 else self.real_weight)


class Recipe(NamedTuple):
    """Everything that defines a run: what `config.yaml` holds and the command line sets."""

    method: str
    training: TrainConfig
    settings: Config

    def flat(self) -> dict[str, Any]:
        """One mapping of all options; no method may name an option as the training does."""
        return {"method": self.method, **asdict(self.training), **asdict(self.settings)}


def resolve_recipe(method: str, options: Mapping[str, Any], preset: str = "") -> Recipe:
    """Sort options into those of the training and those of the method, over a preset.

    Raises:
        OutskirtsError: For an unknown method, preset, option or choice, naming the nearest known one; or for a
            value of the wrong kind.
    """
    part = registry[method]
    training = {field.name for field in fields(TrainConfig)}
    own = {field.name for field in fields(part.Config)}
    given = renamed.renamed(options, renamed.OPTIONS, "option", training | own)
    merged = {**preset_options(method, preset), **given}
    for name in merged:
        if name not in training | own:
            raise unknown(f"option of the method '{method}'", str(name), training | own)
    return Recipe(method, _filled(TrainConfig, merged, training), _filled(part.Config, merged, own))


def preset_options(method: str, preset: str) -> Mapping[str, Any]:
    """The options that a preset of a method stands for; none for an empty name."""
    presets = registry[method].presets
    if preset and preset not in presets:
        raise unknown(f"preset of the method '{method}'", preset, presets)
    return presets.get(preset, {})


def _filled(part: type[Any], options: Mapping[str, Any], names: Set[str]) -> Any:
    kinds = get_type_hints(part)
    return part(**{name: _checked(name, value, kinds[name]) for name, value in options.items() if name in names})


def _checked(name: str, value: Any, kind: Any) -> Any:
    """The value of an option, if it is of its kind; kinds other than the usual are left to the method."""
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise unknown(name, str(value), get_args(kind))
        return value
    if kind is str and isinstance(value, Path):
        return str(value)
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        # YAML takes 1e-3, without a point, for a text.
        try:
            return float(value)
        except ValueError:
            pass
    if kind in _KINDS and type(value) is not kind:
        raise OutskirtsError(f"The option {name} is {_KINDS[kind]}, not {value!r}.")
    return value


_KINDS = {str: "a text (in quotes)", int: "a whole number", float: "a number", bool: "true or false"}
