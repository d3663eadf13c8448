"""Images by any diffusers pipeline that lies in a folder: by texts, or by class labels.

References:
    | High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022): by texts
    | https://arxiv.org/abs/2112.10752
    |
    | Scalable Diffusion Models with Transformers (Peebles & Xie, 2022): by class labels
    | https://arxiv.org/abs/2212.09748
    |
    | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022): a denoiser alone
    | https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Generator, Tensor

from ...bounds import Count, NonNegative
from ...data.imageset import ImageSet
from ...data.transform import Transform
from ...devices import resolve_device
from ...errors import MissingExtra, OutskirtsError, loading
from ...models.pipeline_folder import SAFELY, require_no_code, sample_side
from ...texts import CommaSeparated
from ...training.loop import TrainingProgress
from .base import Config, ImageGenerator, register, weights

__all__ = ["Pipeline", "PipelineConfig"]


@dataclass(frozen=True)
class PipelineConfig(Config):
    """A diffusers pipeline."""

    model: str | None = None
    """Folder of the diffusers pipeline, as save_pretrained writes it. Required."""
    prompt: str = "a photo of a {}"
    """Text of an image, with {} in the place of the class name."""
    class_ids: CommaSeparated | None = None
    """Class numbers in a model with numbered classes, separated by commas, in the order of the training classes.
    Default: 0, 1, 2 and so on."""
    steps: Count = 20
    """Denoising steps per image, at least 1; with guidance, each step evaluates the network twice."""
    guidance: NonNegative = 1.0
    """Classifier-free guidance scale, at least 0; 1 disables it."""
    device: str = "auto"
    """Device of the pipeline: auto, cpu, cuda or mps."""

    def require_complete(self) -> None:
        if not self.model:
            raise OutskirtsError("Say where the pipeline is: --model DIR, a folder as save_pretrained writes it.")


@register("pipeline")
class Pipeline(ImageGenerator[PipelineConfig]):
    """Any local diffusers pipeline."""

    Config = PipelineConfig

    @property
    def _model(self) -> str:
        assert self.config.model is not None
        return self.config.model

    def fit(self, images: ImageSet, transform: Transform, folder: Path, progress: TrainingProgress) -> Self:
        self.classes, self.transform = images.classes, transform
        self.device = resolve_device(self.config.device)
        self.pipeline = _loaded(self._model, self.device)
        self.takes = inspect.signature(type(self.pipeline).__call__).parameters
        unet = getattr(self.pipeline, "unet", None)
        self.numbered = getattr(getattr(unet, "config", None), "num_class_embeds", None)
        if not {"prompt", "class_labels"} & set(self.takes) and self.numbered is None:
            raise OutskirtsError(
                f"The {type(self.pipeline).__name__} in {self.config.model} takes neither texts nor classes, "
                "so it cannot make images of a given class; choose another pipeline."
            )
        if not {"prompt", "class_labels"} & set(self.takes):
            sample_side(unet, self._model)  # Found out before anything is made.
        if "prompt" in self.takes and "{}" not in self.config.prompt:
            raise OutskirtsError(f"The prompt '{self.config.prompt}' has no {{}} for the name of a class.")
        self.ids = self._ids()
        return self

    def learned(self) -> Mapping[str, Any]:
        # What it was trained on, its folder does not say.
        return {"weights": weights(Path(self._model))}

    def sample(self, labels: Tensor, numbers: Tensor, seed: int) -> Tensor:
        draws = [Generator().manual_seed(own) for own in self.seeds(labels, numbers, seed)]
        named = [self.classes[label] for label in labels.tolist()]
        with torch.no_grad():
            pictures = self._pictures(named, [self.ids[label] for label in labels.tolist()], draws)
        uint8 = torch.from_numpy((pictures * 255).round().clip(0, 255).astype(np.uint8)).movedim(3, 1)
        return torch.stack([self.transform.host(picture) for picture in uint8])

    def _pictures(self, names: Sequence[str], ids: Sequence[int], draws: list[Generator]) -> Any:
        """Floats from 0 to 1, [n, H, W, C]."""
        options: dict[str, Any] = {"num_inference_steps": self.config.steps, "generator": draws, "output_type": "np"}
        if "guidance_scale" in self.takes:
            options["guidance_scale"] = self.config.guidance
        if "prompt" in self.takes:
            return self.pipeline([self.config.prompt.format(name) for name in names], **options).images
        if "class_labels" in self.takes:
            return self.pipeline(list(ids), **options).images
        return self._denoised(ids, draws)

    def _denoised(self, ids: Sequence[int], draws: list[Generator]) -> Any:
        """What a denoiser of numbered classes makes, for pipelines that do not pass a class on."""
        unet, scheduler = self.pipeline.unet, self.pipeline.scheduler
        scheduler.set_timesteps(self.config.steps)
        side = sample_side(unet, self._model)
        shape = (unet.config.in_channels, side, side)
        images = torch.stack([torch.randn(shape, generator=draw) for draw in draws]).to(self.device)
        images = images * getattr(scheduler, "init_noise_sigma", 1.0)
        labels = torch.tensor(ids, device=self.device)
        # Schedulers that add noise at every step draw it for each image, too.
        noise = {"generator": draws} if "generator" in inspect.signature(scheduler.step).parameters else {}
        for time in scheduler.timesteps:
            prediction = unet(scheduler.scale_model_input(images, time), time, class_labels=labels).sample
            images = scheduler.step(prediction, time, images, **noise).prev_sample
        return ((images + 1) / 2).clamp(0, 1).movedim(1, 3).cpu().numpy()

    def _ids(self) -> list[int]:
        if not self.config.class_ids:
            return list(range(len(self.classes)))
        try:
            ids = [int(number) for number in self.config.class_ids.split(",")]
        except ValueError as error:
            raise OutskirtsError(
                f"class_ids must be whole numbers, separated by commas, not '{self.config.class_ids}'."
            ) from error
        if len(ids) != len(self.classes):
            raise OutskirtsError(
                f"There are {len(self.classes)} classes and {len(ids)} class_ids; give one for each class."
            )
        return ids


def _loaded(folder: str, device: torch.device) -> Any:
    require_no_code(Path(folder))
    try:
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise MissingExtra("The generator 'pipeline'", "generate") from error
    with loading(f"The pipeline in {folder} cannot be loaded"):
        pipeline = DiffusionPipeline.from_pretrained(folder, **SAFELY)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
