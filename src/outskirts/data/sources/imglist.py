"""Text lists of image files, the format of OpenOOD's benchmarks."""

from __future__ import annotations

from pathlib import Path

from ...errors import OutskirtsError
from ...files import reading, require_file
from ..imageset import ImageSet
from .labels import class_indices, whole_number
from .spec import source

__all__ = ["imglist"]


@source("imglist")
def imglist(where: Path, root: Path) -> ImageSet:
    """A list of lines ``relative/path LABEL``; the label -1 marks an out-of-distribution image.

    A line is parted at its *last* space, so that paths may hold spaces; OpenOOD parts at the first. Blank
    lines are passed over.

    Arguments:
        where: The list.
        root: The folder that its paths start from.

    References:
        | OpenOOD: Benchmarking Generalized Out-of-Distribution Detection (Yang et al., 2022)
        | https://arxiv.org/abs/2210.07242
    """
    require_file(where, f"There is no file {where}; write imglist:FILE@ROOT.")
    if not root.is_dir():
        raise OutskirtsError(f"There is no folder {root}; write imglist:FILE@ROOT.")
    items = []
    labels = []
    try:
        with reading(where):
            text = where.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OutskirtsError(f"{where} is not a list in UTF-8 ({error}); save it in UTF-8.") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ")
        if not path or not (label.isdecimal() or label == "-1"):
            raise OutskirtsError(
                f"{where}, line {number}: '{line}' is not a path, a space and a label; a label is a whole number "
                "of at least -1."
            )
        items.append(root / path)
        labels.append(-1 if label == "-1" else whole_number(label))
    if not items:
        raise OutskirtsError(f"{where} lists no images.")
    # One look tells a wrong root; a missing file in the middle is named when it is decoded.
    if not (root / path).exists():
        raise OutskirtsError(f"{where} lists {path}, which is not in {root}; write imglist:FILE@ROOT.")
    return ImageSet(items, class_indices(labels, len(items), f"The labels of {where}"), spec=f"imglist:{where}")
