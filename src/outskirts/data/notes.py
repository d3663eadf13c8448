"""What image sets say of themselves, such as how many files were passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import OutskirtsError
from ..texts import counted, verb
from .imageset import ImageSet

__all__ = ["left_out", "none_sound", "notes_of", "require_sound"]


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


def left_out(skipped: Sequence[str]) -> list[str]:
    """A sentence about the images that could not be decoded, by their names; none where there are none."""
    if not skipped:
        return []
    count = len(skipped)
    were = verb(count, "were")
    return [f"{counted(count, 'image')} could not be decoded and {were} left out, such as {skipped[0]}."]


def require_sound(images: ImageSet) -> None:
    """Raise if all images of a set were left out, as they could not be decoded."""
    if images.skipped and len(images.skipped) == len(images):
        raise none_sound(images.spec, images.skipped)


def none_sound(spec: str, skipped: Sequence[str]) -> OutskirtsError:
    """An error that names a set of which no image can be decoded, and the first of these images."""
    return OutskirtsError(
        f"No image of {spec or 'the set'} can be decoded, so that nothing is left of {counted(len(skipped), 'image')}, "
        f"such as {skipped[0]}. Mend them, or choose another set."
    )
