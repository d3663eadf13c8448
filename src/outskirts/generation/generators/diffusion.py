"""Images by a class-conditional diffusion model that is trained on the training images: see `DiffusionModel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from torch import Tensor

from ...bounds import Count, NonNegative, Part, Positive
from ...data.imageset import ImageSet
from ...data.transform import Transform
from ...devices import resolve_device
from ...errors import MissingExtra, OutskirtsError
from ...training.config import TrainConfig
from ...training.loop import TrainingProgress
from .base import Config, ImageGenerator, register, weights

if TYPE_CHECKING:
    from ...models.diffusion import DiffusionModel

__all__ = ["Diffusion", "DiffusionConfig"]


@dataclass(frozen=True)
class DiffusionConfig(Config):
    """A diffusion model."""

    network: Literal["auto", "tiny", "small", "base"] = "auto"
    """Size of the network: tiny for grey images of at most 28 pixels, small for other images of at most 32, base for
    larger ones."""
    model: str | None = None
    """Folder of a trained diffusion model to use, such as POOL/generator. Default: a new model is trained."""
    init: str | None = None
    """Folder of a trained diffusion model to train further, on the same images or on these and more. Default: training
    starts anew."""
    codec: str | None = None
    """Folder of a trained diffusers autoencoder (AutoencoderKL); the model then learns to make its codes. Default:
    principal components of patches."""
    epochs: Count = 100
    """Number of training epochs of the diffusion model, at least 1."""
    batch_size: Count = 128
    """Images per training step of the diffusion model, at least 1."""
    lr: Positive = 1e-3
    """Peak learning rate of AdamW, above 0."""
    ema: Part = 0.999
    """Decay of the exponential moving average (EMA) of the weights, from 0 to below 1; this average makes
    the images."""
    augment: str = "none"
    """Augmentations in the training of the diffusion model, such as flip."""
    network_evaluations: Count = 20
    """Network evaluations per image, at least 1: one for each step, or two where guidance is not 1."""
    guidance: NonNegative = 2.0
    """Classifier-free guidance scale, at least 0; 1 disables it. Above 1, images are plainer and less varied."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Precision in training and sampling; auto takes bf16 where it is faster on this device."""
    device: str = "auto"
    """Device of the diffusion model: auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init and (self.model or self.codec):
            raise OutskirtsError(
                "A generator that is continued (--init) has a codec of its own; pass neither a model nor a codec "
                "(leave out --model and --codec)."
            )


@register("diffusion")
class Diffusion(ImageGenerator[DiffusionConfig]):
    """A class-conditional diffusion model, trained here."""

    Config = DiffusionConfig
    model: DiffusionModel
    precision: str

    def fit(self, images: ImageSet, transform: Transform, folder: Path, progress: TrainingProgress) -> Self:
        try:
            from ..diffusion.training import begun, load_trained, require_seen, train_model
        except ImportError as error:
            raise MissingExtra("The generator 'diffusion'", "generate") from error
        config = self.config
        if config.model:
            folder = Path(config.model)
            self.model = load_trained(folder, images, transform)
            require_seen(folder, images)
        else:
            self.model = train_model(
                self._size(transform), images, transform, self._training(images), folder, progress, config.codec
            )
        # Not that which is faster now: the same images are to come of the same model.
        self.training = begun(folder)
        self.precision = self.training["precision"] if config.precision == "auto" else config.precision
        self.weights = weights(folder)
        return self

    def learned(self) -> Mapping[str, Any]:
        return {"training": self.training, "weights": self.weights}

    def _training(self, images: ImageSet) -> TrainConfig:
        config = self.config
        return TrainConfig(
            data=images.spec,
            init=config.init,
            augment=config.augment,
            epochs=config.epochs,
            batch_size=config.batch_size,
            optimizer="adamw",
            lr=config.lr,
            weight_decay=1e-4,
            warmup=0.02,
            clip_norm=1.0,
            ema=config.ema,
            precision=config.precision,
            device=resolve_device(config.device).type,
        )

    def sample(self, labels: Tensor, numbers: Tensor, seed: int) -> Tensor:
        from ..diffusion.decoding import Decoding, decoded

        how = Decoding(self.config.network_evaluations, self.config.guidance, precision=self.precision)
        model = self.model.to(resolve_device(self.config.device))
        # No code of an image: to the model that means any image of the class.
        return decoded(model, model.prompts.starts(labels), self.seeds(labels, numbers, seed), how)

    def _size(self, transform: Transform) -> str:
        if self.config.network != "auto":
            return self.config.network
        if self.config.init:
            from ...models.diffusion import DiffusionModel

            return str(DiffusionModel.about(Path(self.config.init))["size"])
        if transform.size > 32:
            return "base"
        return "tiny" if transform.channels == 1 and transform.size <= 28 else "small"
