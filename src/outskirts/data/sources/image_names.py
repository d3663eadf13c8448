"""Which files are images: by their names, or by their first bytes where a name has no suffix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache

from PIL import Image

from ...texts import counted, listed, verb
from ..decode import formats

__all__ = ["START", "PassedOver", "has_image_suffix", "is_system_folder", "suffix"]

#: Bytes that tell an image's format.
START = 16

#: How files of the formats that are read begin.
_BEGINS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]|BM....\0\0\0\0|....ftypavi[fs]"
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51|P[1-6]\s+[#\d]",
    re.DOTALL,
)

#: Folders that systems and programs make beside people's own, some of them with copies of images.
_SYSTEM_FOLDERS = frozenset(("__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information"))
_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini"))

#: Endings of names that are listed.
_LISTED = 3


@cache
def _suffixes() -> frozenset[str]:
    """The suffixes of the formats that are read, in lower case, with the dot."""
    readable = formats()
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in readable)


def suffix(name: str) -> str:
    """The suffix of a file's name in lower case, with the dot; empty where there is none, or only a number.

    >>> suffix("photo.JPG"), suffix("photo"), suffix("frame.0001")
    ('.jpg', '', '')
    """
    stem, _, ending = name.rpartition(".")
    return f".{ending.lower()}" if stem and ending and not ending.isdecimal() else ""


def has_image_suffix(name: str) -> bool:
    """Whether the suffix of a file's name is that of a format that is read."""
    return suffix(name) in _suffixes()


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name is hidden, or made by a system, so that its images are no images of a set."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


class PassedOver:
    """Tells images from other files, and counts the others."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()
        self._endings: Counter[str] = Counter()
        self._folders: Counter[str] = Counter()

    def is_image(self, name: str, start: Callable[[], bytes]) -> bool:
        """Whether a file is an image; another is counted.

        Arguments:
            name: Name of the file, without its folder.
            start: Reads its first `START` bytes; called only where the name has no suffix.
        """
        if name.startswith(".") or name.lower() in _SYSTEM_FILES:
            self._reasons["hidden"] += 1
        elif has_image_suffix(name):
            return True
        elif ending := suffix(name):
            self._endings[ending] += 1
        else:
            try:
                if _BEGINS.match(start()):
                    return True
                self._reasons["without suffix and of no format that is read"] += 1
            except OSError:
                self._reasons["without suffix and not readable"] += 1
        return False

    def add(self, why: str) -> None:
        """Count a file that is passed over for another reason, in words that follow a number."""
        self._reasons[why] += 1

    def add_folder(self, name: str, files: int) -> None:
        """Count a folder that is passed over with all its files."""
        self._folders[name] += files

    def note(self) -> str:
        """How many files were passed over and why, as a sentence; empty if there are none."""
        reasons = [f"{number:,} {why}" for why, number in self._reasons.items()]
        endings, folders = (
            (groups.total(), listed([name for name, number in groups.most_common() if number], _LISTED))
            for groups in (self._endings, self._folders)
        )
        if endings[0]:
            reasons.insert(0, f"{endings[0]:,} of no format that is read ({endings[1]})")
        if folders[0]:
            reasons.append(f"{folders[0]:,} in hidden folders ({folders[1]})")
        total = self._reasons.total() + endings[0] + folders[0]
        return f"{counted(total, 'file')} {verb(total, 'were')} passed over: {', '.join(reasons)}." if total else ""
