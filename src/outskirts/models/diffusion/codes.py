"""Where in its class an image lies, as a move of the class's token vector.

Without such moves in training, the space about a class's vector has no meaning to the denoiser, and nothing of an image
can be found in it again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...seeding import restored

__all__ = ["ImageCodes"]


class ImageCodes(nn.Module):
    """Where in its class an image lies: its leading within-class principal components, as moves of a token vector.

    Arguments:
        classes: C.
        size: Numbers in an image's code by the codec, flattened.
        dim: Dimension of the token vectors, D.
        components: k.
        spread: Standard deviation of the moves in each dimension.
    """

    means: Tensor
    basis: Tensor
    moves: Tensor

    def __init__(self, classes: int, size: int, dim: int, components: int = 8, spread: float = 0.02) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, size))
        self.register_buffer("basis", torch.zeros(size, components))
        rows = torch.linalg.qr(torch.randn(dim, components)).Q.T
        self.register_buffer("moves", rows * spread * (dim / components) ** 0.5)

    def fit(self, codes: Tensor, labels: Tensor) -> ImageCodes:
        """Find the components of images' codes [N, …] with labels [N]."""
        codes = codes.flatten(1)
        counts = torch.bincount(labels, minlength=len(self.means)).clamp_min(1)
        self.means.copy_(torch.zeros_like(self.means).index_add_(0, labels, codes) / counts[:, None])
        centered = codes - self.means[labels]
        kept = self.basis.shape[1]
        with restored():
            torch.manual_seed(0)
            # Some more than are kept make those that are kept exact.
            several = min(kept + 16, *centered.shape)
            _, singular, basis = torch.pca_lowrank(centered, several, center=False, niter=4)
        self.basis.copy_((basis / (singular / len(codes) ** 0.5))[:, :kept])
        return self

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Codes [B, k] of images' codes by the codec [B, …]: within each class of mean 0 and variance 1."""
        return (codes.flatten(1) - self.means[labels]) @ self.basis

    def move(self, codes: Tensor) -> Tensor:
        """What codes [B, k] add to token vectors, [B, D]."""
        return codes @ self.moves
