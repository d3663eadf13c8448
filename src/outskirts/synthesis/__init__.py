"""Synthesisers: stand-alone makers of outliers, usable, seen and saved without training."""

from __future__ import annotations

from .outliers import Outliers
from .pixel import PixelSynthesizer

__all__ = ["Outliers", "PixelSynthesizer"]
