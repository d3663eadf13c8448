"""The options of a training run that do not belong to its method."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from .. import renamed
from ..arguments import check_arguments
from ..bounds import Between, Count, Natural, NonNegative, Part, Positive, Share, Some
from ..data.imageset import SUBSET
from ..data.loading.mixed_sampler import Mixing
from ..errors import OutskirtsError, unknown
from ..methods import Config, registry
from ..texts import KINDS, CommaSeparated
from .fine_tuning import FINE_TUNING, begins_trained

__all__ = ["Recipe", "TrainConfig", "preset_options", "resolve_recipe"]


@check_arguments
@dataclass(frozen=True)
class TrainConfig:
    """Data, network and optimisation."""

    data: str | None = None
    """Training images, as a spec such as cifar10 or folder:photos/train."""
    val: str | None = None
    """Validation images of the same classes, as a spec. Default: those in the folder val beside train; without such a
    folder, a part of the training images is set aside."""
    val_fraction: Between = 0.05
    """Share of the training images, between 0 and 1, that is set aside for validation where --val is not given."""
    synthetic: str | None = None
    """Synthetic images of the same classes, to train with as well, as a spec such as pool:DIR."""
    real_ratio: Some = 0.8
    """Share of real images in a batch, above 0 and at most 1, where there are synthetic ones."""
    real_weight: Share | None = None
    """Weight of the mean loss of the real images, from 0 to 1; synthetic ones have the rest. Default: every image
    counts alike."""
    mixing: Literal["replace", "add", "legacy"] = "replace"
    """How synthetic images enter a batch: they replace real ones, are added, or are drawn as in SIO's code."""
    epoch_of: Literal["steps", "real"] = "steps"
    """Length of an epoch with synthetic images: as many steps as without them, or until each real one was shown."""
    class_weights: Literal["balanced"] | None = None
    """Weights of the training images by their class, such as --class-weights balanced: of N images of C classes, n of
    them in its own, an image has the weight N / (C n). Default: all images weigh the same."""
    sampler: Literal["shuffled", "balanced"] = "shuffled"
    """How training images are drawn: each at most once in an epoch (shuffled), or every class with the same
    probability (balanced), which shows images of small classes several times in an epoch."""
    outlier_images: str | None = None
    """Images of outliers, as a spec such as pool:DIR, for methods that train with some from disk."""
    outlier_batch: Count | None = None
    """Outlier images per step, at least 1. Default: as many as there are training images in a batch."""
    backbone: str = "fast"
    """Name of the network: fast, resnet18-cifar, clip:DIR, or any model of torchvision or timm."""
    pretrained: str | None = None
    """Weights to start from: true for the library's own, a name of some of torchvision's, or the path of a state
    dict. Their head is kept if it is of as many classes. Default: random weights."""
    init: str | None = None
    """What to start from: the folder of a finished run, or a classifier such as timm:resnet50?weights=my.pt. Its
    backbone, transform and weights are kept; those of its head where they fit."""
    new_head: bool = False
    """Begin with a new head, even if the weights bring one."""
    mean: CommaSeparated | None = None
    """Mean of each channel on the scale of 0 to 1, such as 0.5,0.5,0.5. Default: as for the weights, or that of the
    images."""
    std: CommaSeparated | None = None
    """Standard deviation of each channel on the same scale."""
    interpolation: Literal["bilinear", "bicubic"] | None = None
    """How images are resized. Default: as for the weights, or bilinear."""
    crop: Some | None = None
    """Share of the resized image that is kept, above 0 and at most 1. Default: as for the weights, or 1."""
    fit: Literal["crop", "squash", "pad"] | None = None
    """How images that are not square fit: their centre is kept (crop), they are squashed, or a border is added (pad).
    Default: as for the weights, or crop."""
    exif: Literal["apply", "ignore"] | None = None
    """Whether images are turned upright as their EXIF data says (apply), or not (ignore). Default: as for --init, or
    apply."""
    train_layers: CommaSeparated | None = None
    """Parts of the backbone to train, separated by commas, such as layer4. The head is always trained. Default: all
    parts."""
    frozen_batchnorm: Literal["fixed", "tracking"] = "fixed"
    """Whether the batch normalisation of layers that are not trained stays fixed, or tracks the batches."""
    size: Count | None = None
    """Side of the network's square input in pixels, at least 1. Default: that of the images, at most 64 for networks
    that take any size, or 224."""
    augment: CommaSeparated = "flip,crop:2"
    """Augmentations in order, separated by commas: flip, crop, resized-crop, jitter, grey, pixmix; or none. Trained
    weights have a default of their own."""
    epochs: Natural = 16
    """Passes over the training images, at least 0; 0 leaves the network as it is."""
    batch_size: Count = 256
    """Images per step over all processes, at least 1. Trained weights have a default of their own."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimiser: SGD with Nesterov momentum, or AdamW."""
    lr: Positive = 0.3
    """Peak learning rate, above 0. Trained weights (--pretrained, --init) have a default of their own, which does not
    undo what they know."""
    momentum: Part = 0.9
    """Momentum of SGD, from 0 to below 1."""
    weight_decay: NonNegative = 5e-4
    """Weight decay of all parameters, at least 0."""
    schedule: Literal["cosine", "epoch-cosine"] = "cosine"
    """Cosine schedule of the learning rate: it falls at every step, or once an epoch as in CIDER's code."""
    warmup: Part = 0.15
    """Share of the steps, from 0 to below 1, in which the learning rate rises to its peak."""
    clip_norm: Positive | None = None
    """Largest norm of the gradient, above 0. Default: gradients are not clipped."""
    ema: Part = 0.0
    """Decay of an exponential moving average of the weights, from 0 to below 1; the average is kept. 0 disables it."""
    seed: int = 0
    """Seed of all random numbers."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Precision of the network; auto takes bf16 where it is faster on this device."""
    device: str = "auto"
    """Device of the training: auto, cpu, cuda or mps."""
    compile: bool = False
    """Compile the network by torch.compile: it takes about a minute at the start, and steps are faster on a GPU."""
    val_every: Count = 1
    """Epochs between two validations, at least 1."""
    checkpoint_every: Count = 1
    """Epochs between two checkpoints, at least 1."""
    memory_budget: Natural = 2**31
    """Bytes of decoded images to hold in memory, at least 0; larger sets are read again in every epoch."""
    workers: Natural = 2
    """Worker processes, at least 0, that read sets which are too large for memory."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded, and count them. Default: stop at the first one."""
    tracker: CommaSeparated | None = None
    """Trackers of Accelerate beside metrics.jsonl, separated by commas, such as tensorboard, wandb or mlflow."""

    def __post_init__(self) -> None:
        self.mixed()
        if self.sampler == "balanced" and self.class_weights:
            raise OutskirtsError(
                "Balanced class weights and the balanced sampler both make all classes count the same, and together "
                "would do nothing more; choose one of them (--class-weights balanced or --sampler balanced)."
            )
        if self.sampler == "balanced" and self.mixing == "legacy":
            raise OutskirtsError(
                "With --mixing legacy, images are drawn as in SIO's code, and the sampler cannot be balanced; leave "
                "out --mixing legacy, or use --class-weights balanced."
            )

    @property
    def balanced(self) -> Literal["sampler", "weights"] | None:
        """What makes all classes count the same, whatever their numbers of images; None if nothing does."""
        return "sampler" if self.sampler == "balanced" else "weights" if self.class_weights else None

    def mixed(self) -> Mixing:
        """How synthetic images enter the batches."""
        return Mixing(self.real_ratio, self.mixing, self.epoch_of, self.real_weight)

    def require_data(self) -> str:
        """The spec of the training images, or an error where they have none."""
        if not self.data:
            raise OutskirtsError("The run was trained on images made in Python, which no spec can open again.")
        return self.data

    def preparation(self, channels: int) -> dict[str, Any]:
        """The fields of a `Transform` that the options state.

        Arguments:
            channels: Channels of the network's input.

        Raises:
            OutskirtsError: If a mean or a deviation is not a number for each channel.
        """
        assert self.size is not None
        stated: dict[str, Any] = {
            name: _channel_values(name, text, channels)
            for name, text in (("mean", self.mean), ("std", self.std))
            if text is not None
        }
        stated |= {name: value for name in ("interpolation", "fit") if (value := getattr(self, name)) is not None}
        if self.crop is not None:
            stated["resize"] = round(self.size / self.crop) if self.crop < 1 else None
        return stated


def _channel_values(name: str, text: str, channels: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != channels:
        raise OutskirtsError(f"The {name} must be {channels} numbers separated by commas, not {text!r}.")
    return values


class Recipe(NamedTuple):
    """Everything that defines a run: what `config.yaml` holds and the command line sets."""

    method: str
    training: TrainConfig
    settings: Config

    def require_data(self) -> str:
        """The spec of the training images, or an error where they have none."""
        return self.training.require_data()

    def data_options(self) -> str:
        """The options of a command line by which another training has the same training and validation images.

        >>> resolve_recipe("ce", {"data": "folder:a b", "seed": 3}).data_options()
        "--data 'folder:a b' --seed 3"
        """
        config = self.training
        options = ["--data", self.require_data(), *(["--val", config.val] if config.val else [])]
        for name in () if config.val else ("val_fraction", "seed"):
            if (value := getattr(config, name)) != getattr(TrainConfig, name):
                options += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(options)

    def command(self) -> list[str]:
        """The words of the command line that trains with these options, but for the folder of the run.

        >>> resolve_recipe("ce", {"data": "folder:a b", "device": "cpu", "seed": 3}).command()
        ['outskirts', 'train', 'ce', '--data', 'folder:a b', '--device', 'cpu', '--seed', '3']

        Raises:
            OutskirtsError: If no command line can name the training's images or its network.
        """
        for name in ("data", "val", "synthetic", "outlier_images"):
            if (getattr(self.training, name) or "").endswith(SUBSET):
                raise OutskirtsError(f"The images of {name} were cut in Python, which no spec can do again.")
        if self.training.backbone.startswith("custom:"):
            raise OutskirtsError("The run was trained on a network made in Python, which no command can name.")
        words = ["outskirts", "train", self.method, "--data", self.require_data()]
        options = self.options()
        usual = resolve_recipe(self.method, FINE_TUNING if begins_trained(options) else {}).options()
        for name, value in options.items():
            if name in ("data", "seed") or value == usual[name]:
                continue
            flag = name.replace("_", "-")
            words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
        return [*words, "--seed", str(self.training.seed)]

    def require_complete(self) -> None:
        """Raise unless the method has all that it needs besides its training images, as far as the options tell."""
        self.settings.require_complete()
        if self.settings.needs_outlier_images and not self.training.outlier_images:
            raise OutskirtsError(
                f"The method '{self.method}' trains with images of outliers; make some with outskirts synthesize ncis, "
                "or pass any (outlier_images)."
            )
        if not self.training.init:
            registry[self.method].require_backbone(self.training.backbone)

    def flat(self) -> dict[str, Any]:
        """One mapping of all options; no method may name an option as the training does."""
        return {"method": self.method, **self.options()}

    def options(self) -> dict[str, Any]:
        """The options alone, which `resolve_recipe` takes."""
        return {**asdict(self.training), **asdict(self.settings)}


def resolve_recipe(
    method: str, options: Mapping[str, Any], preset: str | None = None, usual: Mapping[str, Any] | None = None
) -> Recipe:
    """Sort options into those of the training and those of the method.

    Where a training begins with trained weights, what is not given is as for fine-tuning.

    Arguments:
        method: Name of the method.
        options: Options; they override the preset.
        preset: Name of a preset of the method; it overrides `usual`.
        usual: Options in place of the defaults.

    Raises:
        OutskirtsError: For an unknown method, preset, option or choice, naming the nearest known one; or for a
            value of the wrong kind.
    """
    part = registry[method]
    training = {field.name for field in fields(TrainConfig)}
    own = {field.name for field in fields(part.Config)}
    default, given = (
        renamed.renamed(layer, renamed.OPTIONS, "option", training | own) for layer in (usual or {}, options)
    )
    merged = {**default, **preset_options(method, preset), **given}
    merged = {**(FINE_TUNING if begins_trained(merged) else {}), **merged}
    for name in merged:
        if name not in training | own:
            raise unknown("option", str(name), training | own, f"of the method '{method}'")
    return Recipe(method, _filled(TrainConfig, merged, training), _filled(part.Config, merged, own))


def preset_options(method: str, preset: str | None) -> Mapping[str, Any]:
    """The options that a preset of a method stands for; none without a name."""
    if not preset:
        return {}
    presets = registry[method].presets
    if preset not in presets:
        raise unknown("preset", preset, presets, f"of the method '{method}'")
    return presets[preset]


def _filled(part: type[Any], options: Mapping[str, Any], names: Set[str]) -> Any:
    kinds = get_type_hints(part)
    return part(**{name: _checked(name, value, kinds[name]) for name, value in options.items() if name in names})


def _checked(name: str, value: Any, kind: Any) -> Any:
    """The value of an option, if it is of its kind; kinds other than the usual are left to the method."""
    if get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind):
        if value is None or renamed.was_not_given(name, value):
            return None
        (kind,) = (own for own in get_args(kind) if own is not NoneType)
    if get_origin(kind) is Literal:
        value = renamed.current_value(name, value)
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
        raise OutskirtsError(f"The option {name} must be {_KINDS[kind]}, not {value!r}.")
    return value


_KINDS = {**KINDS, str: "a text (in quotes)"}
