"""What to do with a pool that is finished."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from ..data.imageset import SUBSET, ImageSet
from ..training.run import Run

__all__ = ["next_command"]


def next_command(method: str, option: str, pool: Path, images: ImageSet, run: Run | None) -> str:
    """A command that trains with a pool.

    Arguments:
        method: Name of the method.
        option: Option that takes the pool.
        pool: Folder of the pool.
        images: Training images that the pool was made from.
        run: The run that has these images, so that the command sets the same ones aside for validation; None if they
            were given without one.
    """
    named = images.spec and not images.spec.endswith(SUBSET)
    data = run.recipe().data_options() if run is not None else f"--data {quote(images.spec) if named else 'SPEC'}"
    return f"Next: outskirts train {method} {data} --{option} {quote(f'pool:{pool}')}"
