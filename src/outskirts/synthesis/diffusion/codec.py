"""Images as small grids of patch coefficients: an image codec in closed form."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

__all__ = ["PatchCodec"]


class PatchCodec(ModelMixin, ConfigMixin):
    """Principal components of square patches, each over its standard deviation.

    Unscaled, what a diffusion of the codes gets wrong by a little would be noise as strong as the faint detail. With
    all components kept, nothing is lost but rounding. Stands where Stable Diffusion has its VAE.

    Arguments:
        channels: C, of the images.
        patch: Side of a patch, p pixels, that of the image being a multiple.
        kept: Components kept, d of the C·p² there are.
    """

    # Both bases name it, differently.
    config_name: Any = "config.json"
    mean: Tensor
    basis: Tensor
    scale: Tensor

    @register_to_config
    def __init__(self, channels: int = 3, patch: int = 2, kept: int = 12) -> None:
        super().__init__()
        size = channels * patch**2
        self.patch = patch
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.eye(size)[:, :kept])
        self.register_buffer("scale", torch.ones(kept))

    def fit(self, images: Tensor) -> PatchCodec:
        """Find the components of images, floats [N, C, H, W], so that each has the standard deviation 1."""
        patches = pixel_unshuffle(images, self.patch).movedim(1, 3).flatten(0, 2).double()
        self.mean.copy_(patches.mean(0))
        centred = patches - patches.mean(0)
        # Eigenvalues ascend.
        basis = torch.linalg.eigh(centred.T @ centred / len(centred)).eigenvectors.flip(1)[:, : self.basis.shape[1]]
        self.basis.copy_(basis)
        # Of images without any, such as a constant border, components have no deviation.
        self.scale.copy_((centred @ basis).std(0).clamp_min(1e-3))
        return self

    def encode(self, images: Tensor) -> Tensor:
        """Codes [N, d, H / p, W / p] of images [N, C, H, W]."""
        with torch.autocast(images.device.type, enabled=False):
            centred = pixel_unshuffle(images, self.patch) - self.mean[:, None, None]
            return torch.einsum("nchw,cd->ndhw", centred, self.basis / self.scale)

    def decode(self, codes: Tensor) -> Tensor:
        """Images [N, C, H, W] of codes."""
        with torch.autocast(codes.device.type, enabled=False):
            patches = torch.einsum("ndhw,cd->nchw", codes, self.basis * self.scale)
            return pixel_shuffle(patches + self.mean[:, None, None], self.patch)
