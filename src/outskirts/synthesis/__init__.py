"""Synthesisers: stand-alone makers of outliers, usable, seen and saved without training."""

from __future__ import annotations

from .boundary import BoundarySynthesizer
from .gaussian import GaussianSynthesizer
from .manifold import Manifold, ManifoldOptions
from .manifold_training import fit_manifold
from .off_manifold import ManifoldSynthesizer
from .outliers import FeatureSynthesizer, Outliers
from .pixel import PixelSynthesizer
from .queue import ClassQueue

__all__ = [
    "BoundarySynthesizer",
    "ClassQueue",
    "FeatureSynthesizer",
    "GaussianSynthesizer",
    "Manifold",
    "ManifoldOptions",
    "ManifoldSynthesizer",
    "Outliers",
    "PixelSynthesizer",
    "fit_manifold",
]
