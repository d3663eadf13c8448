"""A transform in words, for a person to compare with what a network was trained with."""

from __future__ import annotations

from .transform import Transform

__all__ = ["described"]


def described(transform: Transform) -> dict[str, str]:
    """What happens to an image before the network, by the name of each step.

    >>> described(Transform(size=160, resize=183, mean=(0.5, 0.5, 0.5)))["size"]
    'shorter side resized to 183 pixels (bilinear), then the centre of 160×160'
    """
    side, size = transform.resident_size, transform.size
    fitted = {
        "crop": f"shorter side resized to {side} pixels ({transform.interpolation})",
        "squash": f"both sides resized to {side} pixels ({transform.interpolation})",
        "pad": f"longer side resized to {side} pixels ({transform.interpolation}), in a border of the mean colour",
    }[transform.fit]
    cut = f", then the centre of {size}×{size}" if side != size or transform.fit == "crop" else ""
    read = transform.reading
    ends = f"{read.levels[0]:g} to {read.levels[1]:g} becomes 0 to 255" if isinstance(read.levels, tuple) else ""
    return {
        "colours": "grey" if transform.channels == 1 else "RGB",
        "size": fitted + cut,
        "mean": ", ".join(f"{value:g}" for value in transform.mean) + ", of 0 to 1",
        "standard deviation": ", ".join(f"{value:g}" for value in transform.std),
        "EXIF orientation": "applied" if read.upright else "ignored",
        **({"range of pixels": ends} if ends else {}),
    }
