"""Folders that hold the parts of a set as sub-folders: ``train``, ``val`` and ``test``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import OutskirtsError, unknown
from ...texts import listed
from .walk import Walk, folders, holds_image

__all__ = ["ALL", "find_splits", "names_split", "split_folders"]

#: Names of sub-folders in lower case, and the split that each stands for.
_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

#: The name of all splits together.
ALL = "all"


def names_split(name: str) -> bool:
    """Whether a folder of this name may be a split."""
    return name.lower() in _NAMES


def find_splits(where: Path) -> dict[str, Path]:
    """The sub-folders that are splits, by ``train``, ``val`` and ``test``; none where the sub-folders are classes.

    They are splits if each sub-folder with images is called so, and one for training, which has class folders, is
    beside another one.

    Raises:
        OutskirtsError: If two sub-folders are the same split, or splits of the same classes lie beside something else.
    """
    inside = folders(where) if where.is_dir() else []
    if not any(names_split(path.name) for path in inside):
        return {}
    holding = [path for path in inside if holds_image(path)]
    others = [path.name for path in (*holding, *Walk(where).content(where)[1]) if not names_split(path.name)]
    if others:
        _require_classes(where, [path for path in holding if names_split(path.name)], others)
        return {}
    splits: dict[str, Path] = {}
    for path in holding:
        split = _NAMES[path.name.lower()]
        if split in splits:
            raise OutskirtsError(
                f"The folder {where} has both {splits[split].name} and {path.name}; rename one of them, or name one as "
                f"the folder: folder:{path}."
            )
        splits[split] = path
    if "train" not in splits or len(splits) < 2 or not any(map(holds_image, folders(splits["train"]))):
        return {}
    return {split: splits[split] for split in ("train", "val", "test") if split in splits}


def _require_classes(where: Path, named: Sequence[Path], others: Sequence[str]) -> None:
    """Raise if folders that are called like splits hold the same class folders, so that they are no classes."""
    inside = {path: {one.name for one in folders(path) if holds_image(one)} for path in named}
    train = next((path for path in named if _NAMES[path.name.lower()] == "train"), None)
    if train is None or not any(inside[train] & inside[path] for path in named if path != train):
        return
    raise OutskirtsError(
        f"The folder {where} holds {listed([path.name for path in named])}, with folders of the same classes, and "
        f"beside them {listed(others)}. Name the one that is meant, such as folder:{train}."
    )


def split_folders(where: Path, split: str) -> list[Path]:
    """The sub-folder of a split, or of all of them.

    Raises:
        OutskirtsError: If there is none; the error says which there are.
    """
    splits = find_splits(where)
    if not splits:
        raise OutskirtsError(
            f"The folder {where} does not hold a set in parts, with class folders in train and another folder such as "
            f"val or test beside it; leave out split={split}."
        )
    if split == ALL:
        return list(splits.values())
    if split not in splits:
        raise unknown("split", split, [*splits, ALL], f"in {where}, which has {listed(list(splits))}")
    return [splits[split]]
