"""NumPy's files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..errors import OutskirtsError

__all__ = ["mapped", "reading_arrays"]


def mapped(path: Path) -> Any:
    """The array in an ``.npy`` file, read as it is used."""
    with reading_arrays(path):
        if zipfile.is_zipfile(path):
            raise OutskirtsError(f"{path} is an .npz file; write npz:{path}.")
        return np.load(path, mmap_mode="r", allow_pickle=False)


@contextmanager
def reading_arrays(path: Path) -> Iterator[None]:
    """Turn what NumPy raises on a missing or damaged file into a sentence."""
    try:
        with files.reading(path, f"There is no file {path}."):
            yield
    except (OutskirtsError, MemoryError):
        raise
    except Exception as error:  # NumPy reads a damaged header as if it were Python, which fails in any way.
        raise OutskirtsError(f"{path} is damaged, or not a file of NumPy arrays ({error}).") from error
