"""Guards behind HTTP: verdicts, a page, metrics."""

from .options import Computing, Limits, Place, Waits
from .serve import serve

__all__ = ["Computing", "Limits", "Place", "Waits", "serve"]
