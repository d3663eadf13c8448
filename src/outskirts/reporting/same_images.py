"""Runs are compared on the same images alone."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OutskirtsError
from .run_report import RunReport

__all__ = ["require_same_images"]


def require_same_images(runs: Sequence[RunReport]) -> None:
    """Raise if two runs were measured on different images under one name.

    Arguments:
        runs: Runs that are compared or averaged; those that version 0.1 has measured do not say on which images.

    Raises:
        OutskirtsError: A sentence with both runs, and the set that differs.
    """
    seen: dict[str, RunReport] = {}
    for run in runs:
        for name, record in run.measured.items():
            other = seen.setdefault(name, run)
            if other.measured[name].fingerprint != record.fingerprint:
                raise OutskirtsError(
                    f"The runs {other.name} and {run.name} were measured on different images of '{name}': "
                    f"{other.measured[name].spec} and {record.spec}. Evaluate both on the same images to compare them."
                )
