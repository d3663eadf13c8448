"""Where image sets come from: `open` and one module per kind of store."""

from . import archives as archives
from . import arrays as arrays
from . import arrow as arrow
from . import folder as folder
from . import imglist as imglist
from . import mnist5k as mnist5k
from . import pool as pool
from . import samples as samples
from . import table as table
from . import token_set as token_set
from . import torchvision_sets as torchvision_sets
from .beside import beside, lies_beside
from .spec import open, open_split, reopen, resolve

__all__ = ["beside", "lies_beside", "open", "open_split", "reopen", "resolve"]
