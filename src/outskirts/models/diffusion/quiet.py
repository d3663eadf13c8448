"""Loading without progress bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

__all__ = ["quietly"]


@contextmanager
def quietly() -> Iterator[None]:
    """Without the progress bars of transformers, which take longer to read than a small network to load."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
