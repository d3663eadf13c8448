"""The command that measures a run, which other commands name."""

from __future__ import annotations

from shlex import quote

from ..data.sources import lies_beside
from .run import Run

__all__ = ["evaluating"]


def evaluating(run: Run) -> str:
    """A command that measures a run, for a shell; it names ID test images only where none would be found."""
    test = "" if lies_beside(run.options().get("data"), "test") else " --test SPEC"
    return f"outskirts evaluate {quote(str(run.path))}{test} --far NAME=SPEC"
