"""Images as small grids of codes: by principal components of patches, in closed form, or by a trained autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ...devices import full_precision
from ...errors import OutskirtsError, loading
from ...files import is_file, load_json
from ..pipeline_folder import SAFELY, load_whole

__all__ = ["Autoencoder", "Codec", "PatchCodec", "load_codec"]


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
        self.channels, self.patch, self.kept = channels, patch, kept
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.eye(size)[:, :kept])
        self.register_buffer("scale", torch.ones(kept))

    def fit(self, images: Tensor) -> PatchCodec:
        """Find the components of images, floats [N, C, H, W], so that each has the standard deviation 1."""
        patches = pixel_unshuffle(images, self.patch).movedim(1, 3).flatten(0, 2).double()
        self.mean.copy_(patches.mean(0))
        centered = patches - patches.mean(0)
        # Eigenvalues ascend.
        basis = torch.linalg.eigh(centered.T @ centered / len(centered)).eigenvectors.flip(1)[:, : self.basis.shape[1]]
        self.basis.copy_(basis)
        # Of images without any, such as a constant border, components have no deviation.
        self.scale.copy_((centered @ basis).std(0).clamp_min(1e-3))
        return self

    def encode(self, images: Tensor) -> Tensor:
        """Codes [N, d, H / p, W / p] of images [N, C, H, W]."""
        with full_precision(images):
            centered = pixel_unshuffle(images, self.patch) - self.mean[:, None, None]
            return torch.einsum("nchw,cd->ndhw", centered, self.basis / self.scale)

    def decode(self, codes: Tensor) -> Tensor:
        """Images [N, C, H, W] of codes."""
        with full_precision(codes):
            patches = torch.einsum("ndhw,cd->nchw", codes, self.basis * self.scale)
            return pixel_shuffle(patches + self.mean[:, None, None], self.patch)


class Autoencoder(nn.Module):
    """An autoencoder that diffusers can load, its codes divided by the standard deviation they have in training images.

    Arguments:
        vae: An ``AutoencoderKL``; its weights are left as they are.
    """

    scale: Tensor

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae.requires_grad_(False)
        self.channels, self.kept = vae.config.in_channels, vae.config.latent_channels
        self.patch = 2 ** (len(vae.config.block_out_channels) - 1)
        self.register_buffer("scale", torch.tensor(float(vae.config.scaling_factor)))

    def fit(self, images: Tensor) -> Autoencoder:
        """Measure the standard deviation of the codes of images [N, C, H, W], from -1 to 1."""
        # Of all numbers of all codes, so that a thousand images are plenty.
        self.scale.copy_(1 / (self.encode(images[:1000]) / self.scale).std())
        return self

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Codes [N, d, H / p, W / p] of images [N, C, H, W]."""
        blocks = (self.vae.encode(block).latent_dist.mode() for block in images.split(_BLOCK))
        return torch.cat([block.float() for block in blocks]) * self.scale

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Images [N, C, H, W] of codes."""
        return torch.cat([self.vae.decode(block / self.scale).sample.float() for block in codes.split(_BLOCK)])

    def save_pretrained(self, folder: Path) -> None:
        """Write the autoencoder as diffusers does."""
        self.vae.register_to_config(scaling_factor=float(self.scale))
        self.vae.save_pretrained(folder)


Codec = PatchCodec | Autoencoder

#: Images in an autoencoder at once.
_BLOCK = 16


def load_codec(folder: Path) -> Codec:
    """The codec in a folder, which may be an autoencoder's own or the ``vae`` of a pipeline or of a generator."""
    if not is_file(folder / "config.json"):
        raise OutskirtsError(f"{folder} is not a folder of an autoencoder: it has no config.json.")
    kind = load_json(folder / "config.json", {"_class_name": str})["_class_name"]
    if kind not in ("AutoencoderKL", "PatchCodec"):
        raise OutskirtsError(f"{folder} holds a {kind}; only an AutoencoderKL can code images here.")
    with loading(f"The autoencoder in {folder} cannot be loaded"):
        if kind == "PatchCodec":
            return PatchCodec.from_pretrained(folder, **SAFELY)
        return Autoencoder(load_whole(AutoencoderKL, folder))
