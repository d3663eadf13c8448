"""What image sets say of themselves, such as how many files were passed over."""

from __future__ import annotations

from collections.abc import Mapping

from .imageset import ImageSet

__all__ = ["notes_of"]


def notes_of(sets: Mapping[str, ImageSet | None]) -> list[str]:
    """A sentence for each set that has a note; of parts of one set, for the first.

    Arguments:
        sets: Image sets, by what sentences call them.
    """
    said: set[tuple[int, str]] = set()
    notes = []
    for name, images in sets.items():
        if images is not None and images.note and (known := (id(images.items), images.note)) not in said:
            said.add(known)
            notes.append(f"{name}: {images.note}")
    return notes
