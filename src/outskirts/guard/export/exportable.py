"""Which guards can be one graph."""

from __future__ import annotations

import torch

from ...detectors import Detector, registry
from ...detectors.base import create
from ...errors import OutskirtsError
from ...extraction.probes import StageProbe
from ...models.given.of_onnx import OnnxNetwork
from ..parts import Parts

__all__ = ["exportable", "require_exportable"]


def exportable() -> list[str]:
    """Names of the detectors that a graph can hold."""
    return [name for name in registry.names() if _obstacle(create(name)) is None]


def require_exportable(parts: Parts) -> None:
    """Raise unless a graph can hold the guard: one pass through one network."""
    if reason := _obstacle(parts.detector):
        raise OutskirtsError(
            f"The detector '{parts.detector.name}' cannot be exported: it {reason}. A file holds one pass through one "
            f"network. These detectors can be exported: {', '.join(exportable())}."
        )
    if parts.precision != "fp32":
        raise OutskirtsError(
            "This guard is calibrated on a network that computes in bfloat16, and a file computes in float32. Make the "
            "guard with precision fp32."
        )
    if any(isinstance(module, OnnxNetwork) for module in parts.classifier.modules()):
        raise OutskirtsError(
            "This classifier is an ONNX file, which no other file can hold. Make the guard from the network that the "
            "file was made from."
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in parts.classifier.modules()):
        raise OutskirtsError(
            "This classifier is a TorchScript file, whose layers nothing outside can see. Make the guard from the "
            "network that the file was made from, or save that with torch.export.save (pt2:FILE)."
        )


def _obstacle(detector: Detector) -> str | None:
    """Why no graph can hold a detector; None where one can."""
    if detector.lacks:
        return detector.lacks
    costs = [probe.cost for probe in detector.probes if not isinstance(probe, StageProbe)]
    if costs:
        return f"takes {costs[0]}"
    if getattr(detector, "index", "exact") != "exact":
        return "looks for neighbours in an index of another library; choose index=exact"
    members = [one for one in detector.children() if isinstance(one, Detector)]
    return next(filter(None, map(_obstacle, members)), None)
