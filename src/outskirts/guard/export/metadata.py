"""What a file says of itself: labels, transform, thresholds, and how well it agrees with its guard.

The keys that begin with ``model_info`` are those of OpenVINO's Model API, which reads them in ONNX files too.

References:
    | https://github.com/open-edge-platform/model_api/blob/master/docs/source/guides/model-configuration.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...__about__ import __version__
from ..parts import Parts

__all__ = ["metadata"]

#: What Model API calls the ways in which an image fits.
_RESIZE_TYPES = {"crop": "crop", "squash": "standard", "pad": "fit_to_window_letterbox"}


def metadata(parts: Parts, more: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a file, as texts by key.

    Arguments:
        parts: Parts of the guard.
        more: What else there is to say, which JSON can hold; each key gets ``outskirts.`` before it.
    """
    classifier = parts.classifier
    transform = classifier.transform
    own = {
        "version": __version__,
        "guard": parts.fingerprint,
        "labels": classifier.classes,
        "transform": transform.to_json(),
        "detector": {"name": parts.detector.name, "params": parts.detector.params},
        "features": parts.features,
        "calibration": parts.calibration.to_json(classifier.classes),
        **more,
    }
    model_info = {
        "model_type": "Classification",
        # Model API parts labels at spaces.
        "labels": " ".join(name.replace(" ", "_") for name in classifier.classes),
        "resize_type": _RESIZE_TYPES[transform.fit],
        "mean_values": _numbers(255 * value for value in transform.mean),
        "scale_values": _numbers(255 * value for value in transform.std),
        "orig_height": str(transform.size),
        "orig_width": str(transform.size),
        # The graph has the preprocessing within, and takes RGB.
        "embedded_processing": "True",
        "reverse_input_channels": "False",
        # It is one of probabilities; the score has its own, and the output `accepted` goes by that.
        "confidence_threshold": "0",
    }
    return {
        **{f"outskirts.{name}": value if isinstance(value, str) else json.dumps(value) for name, value in own.items()},
        **{f"model_info {name}": value for name, value in model_info.items()},
    }


def _numbers(values: Any) -> str:
    return " ".join(f"{value:.6g}" for value in values)
