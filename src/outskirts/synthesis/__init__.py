"""Synthesizers: outliers that a training step makes, of its images or of features; usable without a training."""

from __future__ import annotations

from .boundary import BoundarySynthesizer
from .gaussian import GaussianSynthesizer
from .outliers import FeatureSynthesizer, Outliers
from .pixel import PixelSynthesizer
from .queue import ClassQueue

__all__ = [
    "BoundarySynthesizer",
    "ClassQueue",
    "FeatureSynthesizer",
    "GaussianSynthesizer",
    "Outliers",
    "PixelSynthesizer",
]
