"""The linear layer that a module is, whatever its class: found by what it computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..seeding import generator
from .heads import LinearHead, ModuleHead

__all__ = ["Normalize", "close", "head_of"]

#: Rows that a module is shown at once.
_ROWS = 512


class Normalize(nn.Module):
    """Features [B, D] on the unit sphere."""

    def forward(self, features: Tensor) -> Tensor:
        return normalize(features, dim=1)


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two ways to compute the same agree, in single precision."""
    scale = float(b.abs().max().clamp_min(1e-3)) if b.numel() else 1.0
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4 * scale)


@torch.no_grad()
def head_of(module: nn.Module, features: Tensor) -> LinearHead | ModuleHead:
    """A classification head that computes what a module does, as a linear layer if it is one.

    A 1×1 convolution is linear, and so is a normalisation of batches before a linear layer, once it is trained. A
    layer of cosines is linear on the unit sphere. Of any other, the module itself is the head.

    Arguments:
        module: In evaluation mode.
        features: Real input of it, [B, D] or [B, D, 1, …].
    """
    # What is derived of a linear layer may compute something else, such as cosines.
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
        return LinearHead(module)
    shape = features.shape[1:]
    rows = features.flatten(1)
    dim = rows.shape[1]
    probe = torch.randn(4, dim, generator=generator(0, "affine")).to(rows) * rows.std().clamp_min(1e-3)

    def through(rows: Tensor) -> Tensor:
        return torch.cat([module(block.reshape(-1, *shape)).flatten(1) for block in rows.split(_ROWS)])

    # One row of zeros and each unit vector; in modules with a normalisation, zeros may have no direction.
    units = through(torch.eye(dim, dtype=rows.dtype, device=rows.device))
    for inputs, bias in ((None, through(rows.new_zeros(1, dim))[0]), (Normalize(), None)):
        linear = nn.Linear(dim, units.shape[1], bias=bias is not None).to(rows)
        linear.weight.copy_((units if bias is None else units - bias).T)
        if bias is not None:
            linear.bias.copy_(bias)
        head = LinearHead(linear, inputs)
        if all(close(head(x), through(x)) for x in (rows, probe, 3 * probe)):
            return head.eval()
    return ModuleHead(module, shape)
