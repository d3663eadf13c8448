r"""Diffusion embeddings: for an image, the token vector under which the denoiser predicts it best.

From the vector v of the image's class on, a few steps of Adam lower

.. math:: L(v) = \mathrm{E}_{t, \epsilon} \, \| \hat\epsilon(z_t, t, c(v)) - \epsilon \|^2,
    \quad z_t = \sqrt{\bar\alpha_t} \, z + \sqrt{1 - \bar\alpha_t} \, \epsilon

for the codes z of the image, where c is the prompt about v. Nothing but v is changed. Images are independent of each
other: as Adam scales every number by itself, a batch of them takes the steps that each would take alone.

The published code draws times and noise independently. Here each draw of a step has a time of its own part of the
range, and noise goes in pairs of either sign at one time: the mean of as many draws varies less.

References:
    | Non-Linear Outlier Synthesis for Out-of-Distribution Detection (Doorenbos et al., 2024)
    | https://arxiv.org/abs/2411.13619
    | An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion (Gal et al., 2022)
    | https://arxiv.org/abs/2208.01618
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...arguments import require_positive
from ...errors import OutskirtsError
from ...models.diffusion.latent import LatentDiffusion

__all__ = ["Inversion", "denoising_losses", "invert"]


@dataclass(frozen=True)
class Inversion:
    """How images are embedded.

    Arguments:
        steps: Number of steps of Adam.
        lr: Learning rate of Adam: the first step moves every number by just so much.
        draws: Times and noises per step and image, R.
        paired: Draws go in pairs of one time and opposite noise, their times spread over the range; otherwise all are
            independent, as published.
        grid: Times to draw from, evenly spaced from 1 on, as the published sampler's are.
        chunk: Draws that go through the network at once.
    """

    steps: int = 3
    lr: float = 1e-2
    draws: int = 8
    paired: bool = True
    grid: int = 50
    chunk: int = 256

    def __post_init__(self) -> None:
        require_positive(**{name: getattr(self, name) for name in ("steps", "draws", "grid", "chunk")})
        if not 0 < self.lr < float("inf"):
            raise OutskirtsError(f"lr must be positive, not {self.lr}.")
        if self.paired and self.draws % 2:
            raise OutskirtsError(f"With draws in pairs, their number must be even, not {self.draws}.")


def invert(
    model: LatentDiffusion, latents: Tensor, labels: Tensor, seeds: Sequence[int], how: Inversion
) -> tuple[Tensor, Tensor]:
    """Embeddings of images, and the loss at each step.

    Arguments:
        model: A model in evaluation mode; its parameters are left without gradients.
        latents: Codes of the images, [B, d, h, w].
        labels: [B].
        seeds: One for each image; its embedding depends on nothing else of the batch.
        how: How images are embedded.

    Returns:
        Vectors [B, D] in float32, and losses [steps, B], each before its step.

    Raises:
        OutskirtsError: If a loss is not finite.
    """
    vectors = model.prompts.starts(labels).clone().requires_grad_()
    optimizer = torch.optim.Adam([vectors], lr=how.lr)
    generators = [Generator().manual_seed(seed) for seed in seeds]
    course = []
    for _ in range(how.steps):
        times, noise = _drawn(model, latents, generators, how)
        loss, vectors.grad = _loss(model, latents, vectors, times, noise, how.chunk)
        optimizer.step()
        course.append(loss)
    losses = torch.stack(course)
    if not losses.isfinite().all():
        row = int((~losses.isfinite()).any(0).nonzero()[0, 0])
        raise OutskirtsError(
            f"The loss of image {row} of a batch of {len(latents)} is {float(losses[:, row].max())} and its "
            f"codes reach {float(latents[row].abs().max()):.3g}; check the image, or lower the "
            "learning rate (--inversion-lr)."
        )
    return vectors.detach(), losses


def denoising_losses(
    model: LatentDiffusion, latents: Tensor, vectors: Tensor, seeds: Sequence[int], how: Inversion
) -> Tensor:
    """The loss of images [B, d, h, w] under token vectors [B, D], on draws of their seeds, [B]."""
    times, noise = _drawn(model, latents, [Generator().manual_seed(seed) for seed in seeds], how)
    return _loss(model, latents, vectors.detach(), times, noise, how.chunk)[0]


def _drawn(
    model: LatentDiffusion, latents: Tensor, generators: Sequence[Generator], how: Inversion
) -> tuple[Tensor, Tensor]:
    """Times [B, R] and noise [B, R, d, h, w]."""
    every = model.noising.config.num_train_timesteps // how.grid
    shape, device = latents.shape[1:], latents.device

    def of_one(generator: Generator) -> tuple[Tensor, Tensor]:
        if not how.paired:
            times = torch.randint(how.grid, (how.draws,), generator=generator)
            return times, torch.randn(how.draws, *shape, generator=generator)
        half = how.draws // 2
        spans = (torch.arange(half) + torch.rand(half, generator=generator)) / half
        noise = torch.randn(half, *shape, generator=generator)
        return (spans * how.grid).long().repeat(2), torch.cat([noise, -noise])

    times, noise = zip(*map(of_one, generators))
    return torch.stack(times).to(device) * every + 1, torch.stack(noise).to(device)


def _loss(
    model: LatentDiffusion, latents: Tensor, vectors: Tensor, times: Tensor, noise: Tensor, chunk: int
) -> tuple[Tensor, Tensor | None]:
    """The loss of each image [B], and its gradient [B, D] if the vectors ask for it."""
    count, draws = times.shape
    total, asked = latents.new_zeros(count), vectors.requires_grad
    with torch.set_grad_enabled(asked):
        conditions = model.prompts(vectors).float()
        # The text encoder is passed once in either direction, whatever the number of draws.
        held = conditions.detach().requires_grad_(asked)
        slope = torch.zeros_like(held)
        for rows in torch.arange(count * draws, device=latents.device).split(chunk):
            image, draw = rows // draws, rows % draws
            at = times[image, draw]
            errors = model.errors(latents[image], held[image], at, noise[image, draw])
            if not model.predicts_noise:
                # The error of v is larger than that of the noise, by this factor.
                errors = errors * model.noising.alphas_cumprod.to(errors)[at]
            total.index_add_(0, image, errors.detach() / draws)
            if asked:
                slope += torch.autograd.grad(errors.sum() / draws, held)[0]
        return total, torch.autograd.grad(conditions, vectors, slope)[0] if asked else None
