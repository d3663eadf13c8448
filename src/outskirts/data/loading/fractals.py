"""Pictures of random fractals: structured, of no class, and made rather than downloaded.

Each is the attractor of an iterated function system: a point that is moved again and again by one of a few affine maps,
chosen at random, fills a shape that consists of distorted copies of itself.

References:
    | Pre-training without Natural Images (Kataoka et al., 2020)
    | https://arxiv.org/abs/2101.08515
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Generator, Tensor

from ...devices import sent

__all__ = ["fractals"]

_HOST = torch.device("cpu")

_WALKERS, _STEPS, _SETTLING = 512, 60, 12


@lru_cache(maxsize=4)
def fractals(count: int, size: int, seed: int = 0, device: torch.device = _HOST) -> Tensor:
    """Colour pictures, uint8 [count, 3, size, size], the same for the same seed.

    >>> fractals(2, 16).shape
    torch.Size([2, 3, 16, 16])
    """
    if device.type != "cpu":
        return sent(fractals(count, size, seed), device)
    draws = Generator().manual_seed(seed)
    return torch.stack([_fractal(size, draws) for _ in range(count)])


def _fractal(size: int, draws: Generator) -> Tensor:
    maps = int(torch.randint(2, 7, (), generator=draws))
    # Rotations around two scalings, which must contract for the points to stay together.
    turns = torch.rand(2, maps, generator=draws) * 2 * torch.pi
    scales = 0.3 + 0.6 * torch.rand(maps, 2, generator=draws)
    matrices = _rotation(turns[0]) @ torch.diag_embed(scales) @ _rotation(turns[1])
    shifts = 2 * torch.rand(maps, 2, generator=draws) - 1
    # Points go to a map as often as its image is large.
    odds = scales.prod(1)
    chosen = torch.multinomial(odds, _WALKERS * _STEPS, True, generator=draws).view(_STEPS, _WALKERS)
    points, path = torch.zeros(_WALKERS, 2), []
    for step in chosen:
        points = torch.einsum("nij,nj->ni", matrices[step], points) + shifts[step]
        path.append(points)
    visited, last = torch.stack(path[_SETTLING:]).flatten(0, 1), chosen[_SETTLING:].flatten()
    low, high = visited.quantile(0.01, dim=0), visited.quantile(0.99, dim=0)
    places = ((visited - low) / (high - low).clamp_min(1e-6) * (size - 1)).round().long()
    inside = ((places >= 0) & (places < size)).all(1)
    cells = places[inside, 1] * size + places[inside, 0]
    # Each map has a colour; where many points were, it is brighter.
    colors = torch.rand(maps, 3, generator=draws)
    sums = torch.zeros(size * size, 3).index_add_(0, cells, colors[last[inside]])
    hits = torch.bincount(cells, minlength=size * size)[:, None]
    brightness = (1 + hits).log() / (1 + hits.max()).log()
    ground = torch.rand(3, generator=draws)
    picture = torch.lerp(ground.expand_as(sums), sums / hits.clamp_min(1), brightness.sqrt())
    return (picture * 255).round().to(torch.uint8).T.view(3, size, size)


def _rotation(angles: Tensor) -> Tensor:
    """[n, 2, 2]."""
    return torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1).view(-1, 2, 2)
