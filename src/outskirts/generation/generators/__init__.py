"""Generators of images of the training classes: one file per kind, found by name (``registry["mixup"]``)."""

from __future__ import annotations

from .base import Config, ImageGenerator, register, registry

__all__ = ["Config", "ImageGenerator", "register", "registry"]
