"""A class-conditional diffusion model that is trained here, in the parts and folders of diffusers."""

from __future__ import annotations

from .model import SIZES, DiffusionModel

__all__ = ["SIZES", "DiffusionModel"]
