"""Outliers in pixel space: destroy what makes an image its class, keep its surroundings.

The gradient of the true-class logit marks the pixels that decide the class; adding it, or shuffling them,
leaves an image near the data that no longer shows its object.

References:
    | Image-based Outlier Synthesis With Training Data (Regmi, 2026)
    | https://arxiv.org/abs/2411.10794
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from ..arguments import check_arguments
from ..devices import constant
from ..errors import OutskirtsError
from ..seeding import per_image
from .outliers import Outliers

__all__ = ["KINDS", "PixelSynthesizer", "add_gradient", "gaussian_noise", "saliency", "shuffle_pixels"]

Kind = Literal["gradient", "dense", "subtract", "shuffle", "random-shuffle", "gaussian"]
KINDS: tuple[Kind, ...] = ("gradient", "dense", "subtract", "shuffle", "random-shuffle", "gaussian")


def saliency(classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each image's true-class logit with respect to its pixels, [B, C, H, W].

    Taken in evaluation mode, by differentiating the input alone: parameters, their gradients, running
    statistics and the modules' modes are as before afterwards.
    """
    with _evaluating(classifier), torch.enable_grad():
        images = images.detach().requires_grad_()
        chosen = classifier(images).gather(1, labels[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, images)
    return gradient


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def add_gradient(images: Tensor, gradient: Tensor, alpha: float | Tensor, p_inv: float) -> Tensor:
    """Move the most salient channel-values along the gradient: ``x + alpha * G`` on a mask, ``x`` elsewhere.

    Arguments:
        images: [B, C, H, W].
        gradient: [B, C, H, W].
        alpha: Step; negative lowers the true-class logit. A number, or one per image [B, 1, 1, 1].
        p_inv: Share of the C·H·W values of each image to move, those of largest absolute gradient.
    """
    count = int(gradient[0].numel() * p_inv)
    if count == gradient[0].numel():
        return images + alpha * gradient
    flat = gradient.flatten(1)
    index = flat.abs().topk(count, dim=1, sorted=False).indices
    step = torch.zeros_like(flat).scatter_(1, index, flat.gather(1, index))
    return images + alpha * step.view_as(gradient)


def shuffle_pixels(images: Tensor, importance: Tensor, p_inv: float, order: Tensor) -> Tensor:
    """Permute the most important pixels of each image among themselves; the channels of a pixel move together.

    Arguments:
        images: [B, C, H, W].
        importance: [B, H, W].
        p_inv: Share of the H·W pixels of each image to permute.
        order: Permutations [B, n], n = int(H·W·p_inv): place k, counted from the most important, receives the
            pixel of place ``order[k]``.
    """
    count = int(importance[0].numel() * p_inv)
    places = importance.flatten(1).topk(count, dim=1).indices
    every = (-1, images.shape[1], -1)
    flat = images.flatten(2)
    moved = flat.gather(2, places.gather(1, order)[:, None].expand(every))
    return flat.scatter(2, places[:, None].expand(every), moved).view(images.shape)


def permutations(rows: int, length: int, generator: Generator) -> Tensor:
    """Independent uniform permutations, [rows, length]."""
    return per_image(torch.rand, (rows, length), generator).argsort(1)


def gaussian_noise(images: Tensor, alpha: float, generator: Generator) -> Tensor:
    """Noise of standard deviation `alpha` in normalised space, shaped like `images`, which it ignores otherwise."""
    return alpha * per_image(torch.randn, images.shape, generator, dtype=images.dtype)


@check_arguments
@dataclass(frozen=True)
class PixelSynthesizer:
    """Makes one outlier of every image, with the current classifier.

    Arguments:
        kind: ``gradient`` (add), ``dense`` (add everywhere), ``subtract``, ``shuffle`` (the salient pixels),
            ``random-shuffle`` (any pixels) or ``gaussian`` (noise alone).
        p_inv: Share of each image taken to decide its class: of channel-values by absolute gradient for
            ``gradient`` and ``subtract``; of pixels by summed exponentiated gradient for ``shuffle``; of pixels
            at random for ``random-shuffle``.
        signed: Rank pixels for ``shuffle`` by the signed gradient, as published, in which strongly negative
            gradients count as unimportant; False ranks by absolute value.
        relative: Measure alpha in units of the image's root mean square over that of the gradient, so that one
            value suits every data set; False applies it to the raw gradient, as published.
        bounds: Smallest and largest normalised value of each channel, 2 × [C], to clamp to; None leaves
            outliers unbounded, as published.
    """

    kind: Kind = "gradient"
    p_inv: float = 0.1
    signed: bool = True
    relative: bool = False
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.p_inv <= 1:
            raise OutskirtsError(f"p_inv, the share of an image to change, must be from 0 to 1, not {self.p_inv}.")

    def __call__(
        self, classifier: nn.Module, images: Tensor, labels: Tensor, alpha: float, generator: Generator
    ) -> Outliers:
        """Outliers of `images` [B, C, H, W], normalised, and their `labels` [B]; `alpha` is the strength."""
        values = self._values(classifier, images, labels, alpha, generator).detach()
        if self.bounds is not None:
            low, high = (constant(edge, values.device)[:, None, None] for edge in self.bounds)
            values = values.clamp(low, high)
        change = (values - images).square().mean().sqrt()
        return Outliers(values, labels, {"change": change})

    def _values(
        self, classifier: nn.Module, images: Tensor, labels: Tensor, alpha: float, generator: Generator
    ) -> Tensor:
        if self.kind == "gaussian":
            return gaussian_noise(images, alpha, generator)
        if self.kind == "random-shuffle":
            importance = per_image(torch.rand, (len(images), *images.shape[2:]), generator)
            return self._shuffled(images, importance, generator)
        gradient = saliency(classifier, images, labels)
        if self.kind == "shuffle":
            ranked = gradient if self.signed else gradient.abs()
            return self._shuffled(images, ranked.exp().sum(1), generator)
        strength: float | Tensor = -alpha if self.kind == "subtract" else alpha
        if self.relative:
            size, slope = (t.square().mean((1, 2, 3), keepdim=True).sqrt() for t in (images, gradient))
            # The bound keeps a vanishing gradient from becoming 0 times infinity.
            strength = strength * size / slope.clamp_min(1e-12)
        return add_gradient(images, gradient, strength, 1.0 if self.kind == "dense" else self.p_inv)

    def _shuffled(self, images: Tensor, importance: Tensor, generator: Generator) -> Tensor:
        count = int(importance[0].numel() * self.p_inv)
        order = permutations(len(images), count, generator)
        return shuffle_pixels(images, importance, self.p_inv, order)
