"""Post-hoc detectors: one file each, found by name (``registry["knn"]``) or by class (``detectors.KNN``)."""

from __future__ import annotations

from ..extraction.probes import FeatureProbe, Probe
from .base import Detector, choices, create, register, registry

__all__ = ["Detector", "FeatureProbe", "Probe", "choices", "create", "register", "registry"]


def __getattr__(name: str) -> type[Detector]:
    if not name.startswith("_"):
        for known in registry.names():
            if registry[known].__name__ == name:
                return registry[known]
    raise AttributeError(f"module 'outskirts.detectors' has no detector class '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, *(registry[name].__name__ for name in registry.names())])
