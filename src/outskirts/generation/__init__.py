"""Images made beforehand and kept on disk: of the training classes, or outliers that a diffusion model makes."""

from __future__ import annotations

from .manifold.fitting import fit_manifold
from .manifold.model import Manifold, ManifoldOptions
from .manifold.sampling import ManifoldSynthesizer
from .screening import Rules
from .synthesize_features import FeatureBoundary, FeatureGaussian

__all__ = [
    "FeatureBoundary",
    "FeatureGaussian",
    "Manifold",
    "ManifoldOptions",
    "ManifoldSynthesizer",
    "Rules",
    "fit_manifold",
]
