"""Pickles within files of ``torch.export``: none of them may run code."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from ...errors import OutskirtsError, reason

__all__ = ["require_harmless"]


def require_harmless(path: Path) -> None:
    """Raise if a file of ``torch.export.save`` holds a pickle of anything but tensors and plain values.

    ``torch.export.load`` reads such pickles without a restriction, so that a file from elsewhere could run a program.

    Raises:
        OutskirtsError: If there is one.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for name in _pickled(archive):
            try:
                torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
            except Exception as error:  # What is no such pickle makes the reader fail in any way.
                raise OutskirtsError(
                    f"{path} is not read: its part {name} is a pickle of more than tensors, which could run a program "
                    f"({reason(error)}). Save the network with a newer torch.export, or as an ONNX file."
                ) from error


def _pickled(archive: zipfile.ZipFile) -> Iterator[str]:
    """The names of the members that are read as pickles."""
    names = archive.namelist()
    for name in names:
        path = PurePosixPath(name)
        # Example inputs; and all tensors, in the form of torch 2.8 and earlier.
        if path.suffix == ".pt":
            yield name
        if path.suffix == ".json" and path.stem.endswith("_config"):
            for one in _entries(archive.read(name)):
                if one.get("use_pickle") is not False and (member := str(path.parent / str(one["path_name"]))) in names:
                    yield member


def _entries(text: bytes) -> list[dict[str, Any]]:
    """What a list of tensors says of each; nothing where it is no such list."""
    try:
        listed = json.loads(text)["config"].values()
    except (ValueError, TypeError, KeyError, AttributeError):
        return []
    return [one for one in listed if isinstance(one, dict) and "path_name" in one]
