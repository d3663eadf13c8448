"""Groups of sets that hold ID images after all, and those in which such images count as ID.

A detector may notice the conditions of a photograph rather than its content. Two groups show it, and no detector
should tell their images from the others of the test: `CONTROL`, the same images coded or resized otherwise, and
`SHIFTED`, ID images under other conditions. Where there are shifted images, every group of OOD sets is measured a
second time with them among the ID images: full-spectrum detection.

References:
    | Full-Spectrum Out-of-Distribution Detection (Yang et al., 2022)
    | https://arxiv.org/abs/2204.05306
"""

from __future__ import annotations

__all__ = ["CONTROL", "SHIFTED", "full_spectrum", "is_full_spectrum", "is_ood"]

#: The group of ID test images that are coded or resized otherwise.
CONTROL = "control"

#: The group of ID images under other conditions.
SHIFTED = "shifted"

_FULL = " (full-spectrum)"


def full_spectrum(group: str) -> str:
    """What a group is called where shifted images count as ID."""
    return group + _FULL


def is_full_spectrum(group: str) -> bool:
    """Whether shifted images count as ID in this group."""
    return group.endswith(_FULL)


def is_ood(group: str) -> bool:
    """Whether it is a group of OOD sets, measured against the ID test images alone."""
    return group not in (CONTROL, SHIFTED) and not is_full_spectrum(group)
