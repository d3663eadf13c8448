"""Diffusion in the codes of images, under a prompt with one place for a token vector.

References:
    | High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022)
    | https://arxiv.org/abs/2112.10752
    |
    | Classifier-Free Diffusion Guidance (Ho & Salimans, 2022)
    | https://arxiv.org/abs/2207.12598
    |
    | Pseudo Numerical Methods for Diffusion Models on Manifolds (Liu et al., 2022): PLMS
    | https://arxiv.org/abs/2202.09778
    |
    | DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models (Lu et al., 2022)
    | https://arxiv.org/abs/2211.01095
    |
    | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022): spacing of the steps
    | https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from diffusers import DPMSolverMultistepScheduler, PNDMScheduler
from torch import Generator, Tensor, nn

from .codec import Codec
from .prompts import Prompts

__all__ = ["LatentDiffusion", "Sampler"]

#: How steps are taken: DPM-Solver++ (dpm), or PLMS, as NCIS and Dream-OOD are published (plms).
Sampler = Literal["dpm", "plms"]

#: Ratios of noise to image between which sampling is spaced.
_MOST, _LEAST = 6.4, 0.02


class LatentDiffusion(nn.Module):
    """Codec, prompts and denoiser, whether trained here or a Stable Diffusion.

    Arguments:
        codec: Makes small grids z of images.
        prompts: What the denoiser is told.
        unet: The denoiser, of diffusers.
        noising: Noise schedule of the denoiser, as a `DDPMScheduler`.
        classes: Names of the classes.
        side: Height and width of the images, in pixels.
    """

    def __init__(
        self, codec: Codec, prompts: Prompts, unet: Any, noising: Any, classes: Sequence[str], side: int
    ) -> None:
        super().__init__()
        self.codec, self.prompts, self.unet, self.noising = codec, prompts, unet, noising
        self.classes, self.side = list(classes), side

    @property
    def channels(self) -> int:
        """Channels of the images, 1 or 3."""
        return self.codec.channels

    def errors(self, latents: Tensor, conditions: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """The mean squared error, for each image, of what the denoiser predicts, be it the noise or v, [B].

        Arguments:
            latents: Codes of images, [B, d, h, w].
            conditions: Prompts of the images, [B, L, D].
            times: Whole numbers below that of the schedule's times, [B].
            noise: Noise to add, like `latents`.
        """
        noised = self.noising.add_noise(latents, noise, times)
        target = noise if self.predicts_noise else self.noising.get_velocity(latents, noise, times)
        predicted = self.unet(noised, times, conditions).sample
        return (predicted.float() - target.float()).square().flatten(1).mean(1)

    @property
    def predicts_noise(self) -> bool:
        """Whether the denoiser predicts the noise; otherwise it predicts v."""
        return self.noising.config.prediction_type == "epsilon"

    @torch.no_grad()
    def sample(
        self,
        vectors: Tensor,
        seeds: Sequence[int],
        *,
        steps: int = 20,
        guidance: float = 1.0,
        sampler: Sampler = "dpm",
    ) -> Tensor:
        """Images [B, C, S, S], floats from -1 to 1, of token vectors [B, D], each from the noise of its own seed.

        Arguments:
            vectors: Token vectors, such as `Prompts.vectors` gives; those of an image, moved from its class's, give
                images more like it.
            seeds: One per image.
            steps: Evaluations of the network per image; with guidance, twice as many. PLMS has one more.
            guidance: Classifier-free guidance scale; 1 disables it.
            sampler: How the steps are taken.
        """
        scheduler = self._scheduler(steps, sampler, vectors.device)
        shape = (self.unet.config.in_channels, *(self.unet.config.sample_size,) * 2)
        noise = [torch.randn(shape, generator=Generator().manual_seed(seed)) for seed in seeds]
        latents = torch.stack(noise).to(vectors)
        conditions = self.prompts(vectors)
        empty = self.prompts.empty(vectors) if guidance != 1 else None
        for time in scheduler.timesteps:
            predicted = self.unet(latents, time, conditions).sample
            if empty is not None:
                without = self.unet(latents, time, empty).sample
                predicted = without + guidance * (predicted - without)
            latents = scheduler.step(predicted, time, latents).prev_sample
        return self.codec.decode(latents.float()).clamp(-1, 1)

    def _scheduler(self, steps: int, sampler: Sampler, device: torch.device) -> Any:
        """A scheduler of diffusers with its steps."""
        scheduler: Any
        if sampler == "plms":
            # As Stable Diffusion's own sampler sets it: evenly spaced times from 1 on, and no Runge-Kutta steps.
            how: dict[str, Any] = {"skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}
            scheduler = PNDMScheduler.from_config(self.noising.config, timestep_spacing="leading", **how)
            scheduler.set_timesteps(steps, device=device)
        else:
            scheduler = DPMSolverMultistepScheduler.from_config(self.noising.config, algorithm_type="dpmsolver++")
            scheduler.set_timesteps(timesteps=self._times(steps), device=device)
        return scheduler

    def _times(self, steps: int) -> list[int]:
        """At which to evaluate the network: pure noise, then as Karras et al. space the ratio of noise to image.

        Even spacing in time leaves all fine detail to one last step, which halves it.
        """
        alphas = self.noising.alphas_cumprod.double()
        ratios = ((1 - alphas) / alphas).sqrt().log()
        spaced = torch.linspace(_MOST ** (1 / 7), _LEAST ** (1 / 7), max(1, steps - 1)).double() ** 7
        times = {len(ratios) - 1, *(int((ratios - ratio).abs().argmin()) for ratio in spaced.log())}
        return sorted(times, reverse=True)[:steps]
