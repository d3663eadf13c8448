r"""A class-conditional diffusion model of small images.

It learns to predict :math:`v = \sqrt{\bar\alpha_t} \, \epsilon - \sqrt{1 - \bar\alpha_t} \, z` of the codes z of
images, noised to :math:`z_t = \sqrt{\bar\alpha_t} \, z + \sqrt{1 - \bar\alpha_t} \, \epsilon`, given their class and
their place in it.

References:
    | Denoising Diffusion Probabilistic Models (Ho et al., 2020)
    | https://arxiv.org/abs/2006.11239
    |
    | Progressive Distillation for Fast Sampling of Diffusion Models (Salimans & Ho, 2022): prediction of v
    | https://arxiv.org/abs/2202.00512
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Generator, Tensor
from transformers import CLIPTextModel

from ...errors import OutskirtsError
from ...files import is_file, like_other_files, load_json, load_tensors, save_json, save_tensors
from ...seeding import isolated, per_image
from ..pipeline_folder import SAFELY
from .codec import Codec, PatchCodec, load_codec
from .codes import ImageCodes
from .latent import LatentDiffusion
from .prompts import ClassPrompts, text_encoder
from .quiet import quietly

__all__ = ["SIZES", "DiffusionModel", "Size"]


@dataclass(frozen=True)
class Size:
    """The shape of a network.

    Arguments:
        widths: Channels at each resolution, the last of which attend to the prompt.
        layers: Residual blocks at each.
        dim: Dimension of the prompts.
        patch: Side of the patches that are coded, in pixels.
        kept: Share of their components that are kept.
    """

    widths: tuple[int, ...]
    layers: int
    dim: int
    patch: int
    kept: float = 1.0


SIZES = {
    "tiny": Size((32, 64), 1, 64, 2),
    "small": Size((128, 192), 1, 128, 4, 0.5),
    "base": Size((128, 256, 256), 2, 256, 4, 0.5),
}


class DiffusionModel(LatentDiffusion):
    """A `LatentDiffusion` to be trained, whose prompts are of the classes and of the places of images in them.

    Arguments:
        size: A name in `SIZES`.
        classes: Names of the classes.
        channels: Channels of the images, 1 or 3.
        side: Height and width of the images, in pixels.
        codec: Makes small grids of them; principal components of patches unless given.
    """

    def __init__(self, size: str, classes: Sequence[str], channels: int, side: int, codec: Codec | None = None) -> None:
        shape = SIZES[size]
        codec = codec or PatchCodec(channels, shape.patch, round(shape.kept * channels * shape.patch**2))
        if side % codec.patch:
            raise OutskirtsError(
                f"Images of {side} pixels do not divide into patches of {codec.patch}, which the codec of size "
                f"'{size}' needs; pass --size {side // codec.patch * codec.patch or codec.patch}."
            )
        if codec.channels != channels:
            raise OutskirtsError(f"The codec takes images with {codec.channels} channels, but these have {channels}.")
        kept, latent = codec.kept, side // codec.patch
        levels = len(shape.widths)
        prompts = ClassPrompts(text_encoder(len(classes), shape.dim))
        codes = ImageCodes(len(classes), kept * latent**2, shape.dim)
        unet = UNet2DConditionModel(
            sample_size=latent,
            in_channels=kept,
            out_channels=kept,
            # Attention at the finest resolution costs more than it brings.
            down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * (levels - 1),
            up_block_types=("CrossAttnUpBlock2D",) * (levels - 1) + ("UpBlock2D",),
            block_out_channels=shape.widths,
            layers_per_block=shape.layers,
            cross_attention_dim=shape.dim,
            # Their number, whatever its name.
            attention_head_dim=4,
            norm_num_groups=16,
        )
        noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
        super().__init__(codec, prompts, _fast(unet), noising, classes, side)
        self.size, self.codes = size, codes

    def fit_codec(self, images: Tensor, labels: Tensor) -> Self:
        """Fit what has a closed form: the codec and the image codes.

        Arguments:
            images: Floats from -1 to 1, [N, C, S, S].
            labels: [N].
        """
        self.codec.fit(images)
        self.codes.fit(self.codec.encode(images), labels)
        return self

    def loss(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """The mean squared error of v at random times.

        A tenth of the images comes without a prompt, as guidance needs; two fifths without their code.

        Arguments:
            images: Floats from -1 to 1, [B, C, S, S].
            labels: [B].
            generator: On their device.
        """

        def random(*shape: int) -> Tensor:
            return per_image(torch.rand, shape, generator)

        def normal(like: Tensor) -> Tensor:
            return per_image(torch.randn, like.shape, generator)

        count = len(images)
        latents = self.codec.encode(images)
        times = (per_image(_spread, (count,), generator) * self.noising.config.num_train_timesteps).long()
        noise = normal(latents)
        codes = self.codes(latents, labels)
        codes = (codes + 0.2 * normal(codes)) * (random(count, 1) < 0.6)
        conditions = self.prompts(self.prompts.vectors(labels) + self.codes.move(codes))
        without = random(count)[:, None, None] < 0.1
        conditions = torch.where(without, self.prompts.empty(codes), conditions)
        return self.errors(latents, conditions, times, noise).mean()

    # On disk

    def save(self, folder: Path) -> None:
        """Write the folder: ``unet``, ``text_encoder``, ``vae`` (the codec) and ``scheduler``, as diffusers names
        them, and beside them ``codes.safetensors`` and ``generator.json``, written last.
        """
        self.unet.save_pretrained(folder / "unet")
        with quietly():
            self.prompts.encoder.save_pretrained(folder / "text_encoder")
        self.codec.save_pretrained(folder / "vae")
        self.noising.save_pretrained(folder / "scheduler")
        save_tensors(folder / "codes.safetensors", self.codes.state_dict())
        about = {name: getattr(self, name) for name in ("size", "classes", "channels", "side")}
        like_other_files(folder, folder / "codes.safetensors")
        save_json(folder / "generator.json", about)

    @staticmethod
    def about(folder: Path) -> dict[str, Any]:
        """The size, classes, channels and side of a saved model."""
        if not is_file(folder / "generator.json"):
            raise OutskirtsError(f"{folder} holds no trained generator: it has no generator.json.")
        about: dict[str, Any] = load_json(folder / "generator.json")
        return about

    @classmethod
    def load(cls, folder: Path) -> DiffusionModel:
        """A saved model, in evaluation mode."""
        about = cls.about(folder)
        with isolated(0, "loading"):
            model = cls(**about, codec=load_codec(folder / "vae"))
        model.unet = _fast(UNet2DConditionModel.from_pretrained(folder / "unet", **SAFELY))
        with quietly():
            model.prompts = ClassPrompts(CLIPTextModel.from_pretrained(folder / "text_encoder", **SAFELY))
        model.codes.load_state_dict(load_tensors(folder / "codes.safetensors")[0])
        return model.eval()


def _spread(shape: Sequence[int], generator: Generator, device: torch.device) -> Tensor:
    """Numbers from 0 to 1, one in each of as many equal spans, which lowers the variance of a mean."""
    (count,) = shape
    places = torch.randperm(count, generator=generator, device=device)
    return (places + torch.rand(count, generator=generator, device=device)) / count


def _fast(unet: Any) -> Any:
    """The same network, arranged for sequences as short as here."""
    # The gradient of the fused attention takes longer than all convolutions together on processors.
    unet.set_attn_processor(AttnProcessor())
    return unet.to(memory_format=torch.channels_last)
