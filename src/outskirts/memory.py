"""Reuse of freed memory on the CPU."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

#: Options of mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask the C library to keep what the process frees, for the rest of the process.

    By default glibc maps every large block anew and gives it back when freed, so each step of a training has its
    activations zeroed page by page by the system; the larger the batch, the more that costs. The price is that the
    process stays as large as it once was.

    Returns:
        Whether the C library knows how; others than glibc may not, and then nothing changes.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _LARGEST))
