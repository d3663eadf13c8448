"""Arrays of any library as tensors: of NumPy, of JAX, of pandas, or lists."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import OutskirtsError, reason

__all__ = ["Array", "class_labels", "column", "real_numbers"]

#: A tensor, or what NumPy makes an array of.
Array: TypeAlias = Tensor | ArrayLike

#: Kinds of NumPy's numbers: true and false, whole ones, real ones.
_NUMBERS = "biuf"


def column(values: Any, name: str) -> Tensor:
    """An array of numbers as a tensor, of the same precision and in the same memory where that can be.

    Arguments:
        values: A tensor, or what NumPy makes an array of; [N, ...].
        name: What errors call it.

    Raises:
        OutskirtsError: If these are no numbers, or there is only one.
    """
    tensor = values.detach() if isinstance(values, Tensor) and values.requires_grad else values
    if not isinstance(tensor, Tensor):
        tensor = _shared(_numbers(values, name))
    if tensor.is_complex():
        raise OutskirtsError(f"{name} of outputs must be real numbers, not {_plain(tensor.dtype)}.")
    if tensor.ndim == 0:
        raise OutskirtsError(f"{name} of outputs must have a row for each image, not be a single number.")
    return tensor


def real_numbers(values: Any, name: str, axes: Sequence[str]) -> Tensor:
    """Real numbers in as many axes as are named; whole numbers become float64, which holds them exactly.

    Raises:
        OutskirtsError: If these are no numbers, or have another number of axes.
    """
    tensor = column(values, name)
    if tensor.ndim != len(axes):
        raise OutskirtsError(
            f"{name} of outputs must have the shape [{', '.join(axes)}], not {list(tensor.shape)}."
            + (" Flatten them first, as in x.reshape(len(x), -1)." if tensor.ndim > len(axes) > 1 else "")
        )
    return tensor if tensor.is_floating_point() else tensor.double()


def class_labels(values: Any) -> Tensor:
    """The class of each image, [N], int64.

    Raises:
        OutskirtsError: If these are not one whole number for each image.
    """
    tensor = column(values, "labels")
    if tensor.ndim != 1:
        raise OutskirtsError(
            f"labels of outputs must be one class of each image, [N], not {list(tensor.shape)}: pass the number of "
            "the class, as in labels.argmax(1). Leave them out where an image can have several labels."
        )
    whole = tensor.long()
    if tensor.is_floating_point() and not torch.equal(whole.to(tensor.dtype), tensor):
        raise OutskirtsError("labels of outputs must be whole numbers: the class of each image, which counts from 0.")
    return whole


def _numbers(values: Any, name: str) -> np.ndarray[Any, Any]:
    if np.ma.is_masked(values):
        raise OutskirtsError(f"{name} of outputs must not be masked: fill the values, or drop the images.")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise OutskirtsError(
            f"{name} of outputs must be an array whose rows are equally long; NumPy makes none of this "
            f"{type(values).__name__}: {reason(error)}."
        ) from error
    if array.dtype.kind not in _NUMBERS:
        kind = "of mixed types or of rows of different lengths" if array.dtype.kind == "O" else str(array.dtype)
        raise OutskirtsError(f"{name} of outputs must be real numbers, not {kind}.")
    return array


def _shared(array: np.ndarray[Any, Any]) -> Tensor:
    """The same memory as a tensor; a copy where PyTorch has no such numbers or no such order in memory."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    # A new axis is what `ascontiguousarray` makes of a single number.
    native = native.reshape(array.shape)
    if native.dtype.kind == "u" and native.dtype.itemsize > 1:
        if native.size and int(native.max()) > np.iinfo(np.int64).max:
            raise OutskirtsError(f"Outputs cannot hold whole numbers as large as {native.max()}; pass float64.")
        native = native.astype(np.int64)
    with warnings.catch_warnings():
        # Nothing writes to outputs.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(native)


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
