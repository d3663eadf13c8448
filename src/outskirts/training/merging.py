"""The options of a training from a file, a preset and what is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import OutskirtsError
from ..methods import registry
from ..paths import home_expanded
from .config import Recipe, resolve_recipe
from .run import read_options

__all__ = ["merged_recipe"]


def merged_recipe(
    method: str | None, options: Mapping[str, Any], preset: str | None = None, config: Path | str | None = None
) -> Recipe:
    """Options over a preset over a file, each by name.

    Arguments:
        method: Name of a method; that of the file unless given.
        options: Options of the training and of the method.
        preset: Named settings of the method.
        config: A YAML file of options, or a run folder.

    Raises:
        OutskirtsError: If the file cannot be read, no method is named, or an option or the preset is unknown.
    """
    file = {} if config is None else read_options(home_expanded(config))
    named = file.pop("method", None)
    method = named if method is None else method
    if method is None:
        raise OutskirtsError(
            f"Name a method (outskirts train METHOD --data SPEC). Methods: {', '.join(registry.names())}."
        )
    return resolve_recipe(method, options, preset, usual=file)
