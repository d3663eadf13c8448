"""Images of which only the keys are kept: enough to tell whether other images are among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import OutskirtsError
from ..files import atomic
from .imageset import ImageSet
from .npy import mapped

__all__ = ["KeySet"]

#: What a row of the file begins with: the version of its key.
_FIRST, _WHOLE = 1, 2


@dataclass(frozen=True)
class KeySet:
    """The keys of some images.

    Arguments:
        keys: Keys as `outskirts.data.identity.item_key` gives them.
        first: Keys as version 0.1 gave them, see `outskirts.data.identity.first_key`.
    """

    keys: frozenset[str] = frozenset()
    first: frozenset[str] = frozenset()

    @classmethod
    def of(cls, keys: Iterable[str]) -> KeySet:
        """A set of such keys; those of images that could not be read are left out."""
        return cls(frozenset(keys) - {""})

    @classmethod
    def load(cls, path: Path) -> KeySet:
        """Read what `save`, or version 0.1, has written."""
        return cls.of_rows(np.asarray(mapped(path)), path)

    @classmethod
    def of_rows(cls, rows: np.ndarray, path: Path) -> KeySet:
        """From what `rows` returned.

        Arguments:
            rows: The rows.
            path: Where they were read, for errors.
        """
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] not in (16, 17):
            raise OutskirtsError(f"{path} holds {rows.dtype} of the shape {rows.shape}, and no keys of images.")
        if rows.shape[1] == 16:
            return cls(first=_hexadecimal(rows))
        version, keys = rows[:, 0], rows[:, 1:]
        return cls(_hexadecimal(keys[version == _WHOLE]), _hexadecimal(keys[version == _FIRST]))

    def rows(self) -> np.ndarray:
        """The version of each key, and the key, sorted, uint8 [N, 17]."""
        rows = [bytes([_FIRST]) + bytes.fromhex(key) for key in sorted(self.first)]
        rows += [bytes([_WHOLE]) + bytes.fromhex(key) for key in sorted(self.keys)]
        return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 17)

    def save(self, path: Path) -> None:
        """Write `rows`."""
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, self.rows())

    def __or__(self, other: KeySet) -> KeySet:
        return KeySet(self.keys | other.keys, self.first | other.first)

    def among(self, images: ImageSet) -> NDArray[np.bool_]:
        """Which images of a set are among these, bool [N]."""
        found = np.array([key in self.keys for key in images.keys], dtype=bool)
        return found | [key in self.first for key in images.first_keys] if self.first else found

    def shared(self, images: ImageSet) -> int:
        """How many different images of a set are among these."""
        return len(self.keys & images.distinct) + (len(self.first & set(images.first_keys)) if self.first else 0)


def _hexadecimal(rows: np.ndarray) -> frozenset[str]:
    return frozenset(bytes(row).hex() for row in rows)
