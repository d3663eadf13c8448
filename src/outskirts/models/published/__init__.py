"""Checkpoints as the published repositories save them, in the names of this package.

Their files are nested, wrapped and named each in its own way, and hold parts that no evaluation uses. What a layout
does not know is left over, which is an error; the originals load what happens to fit, silently.

References:
    | CIDER, https://github.com/deeplearning-wisc/cider
    | NPOS, https://github.com/deeplearning-wisc/npos
    | OpenOOD, https://github.com/Jingkang50/OpenOOD, in whose layout ASCOOD is, too,
      https://github.com/sudarshanregmi/ASCOOD
    | NCIS, https://github.com/LarsDoorenbos/NCIS
"""

from __future__ import annotations

from collections.abc import Mapping

from .cider import cider
from .layout import Layout, Published
from .ncis import ncis
from .npos import npos, npos_clip
from .openood import ascood, openood

__all__ = ["LAYOUTS", "Published"]

#: By their names on the command line.
LAYOUTS: Mapping[str, Layout] = {
    "ascood": ascood,
    "cider": cider,
    "ncis": ncis,
    "npos": npos,
    "npos-clip": npos_clip,
    "openood": openood,
}
