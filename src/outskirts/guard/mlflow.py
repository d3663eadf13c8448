"""A guard as a model of MLflow.

The model holds the folder of the guard as it is, and MLflow loads it through this module: nothing is pickled.

>>> import outskirts.guard.mlflow  # doctest: +SKIP
>>> outskirts.guard.mlflow.log_model("guards/photos", name="photos")  # doctest: +SKIP
>>> model = mlflow.pyfunc.load_model("models:/photos/1")  # doctest: +SKIP
>>> model.predict(pandas.DataFrame({"image": ["new.jpg"]}))  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.imageset import ImageSet
from ..errors import MissingExtra, OutskirtsError
from ..files import load_json
from .folder import ABOUT
from .guard import Guard
from .predicting import rows_of
from .records import columns

__all__ = ["GuardModel", "log_model", "save_model"]


def save_model(guard: Path | str, path: Path | str, **options: Any) -> None:
    """Write a model of MLflow that holds a guard.

    Arguments:
        guard: Folder of the guard.
        path: Folder of the model, which must be new.
        options: More arguments of ``mlflow.pyfunc.save_model``.

    Raises:
        OutskirtsError: If MLflow is not installed, or there is no guard.
    """
    _pyfunc().save_model(path=str(path), **_of(Path(guard)) | options)


def log_model(guard: Path | str, name: str, **options: Any) -> Any:
    """Log a guard as a model of the current run of MLflow; returns what ``mlflow.pyfunc.log_model`` returns.

    Arguments:
        guard: Folder of the guard.
        name: Name of the model.
        options: More arguments of ``mlflow.pyfunc.log_model``.

    Raises:
        OutskirtsError: If MLflow is not installed, or there is no guard.
    """
    return _pyfunc().log_model(name=name, **_of(Path(guard)) | options)


class GuardModel:
    """What MLflow calls.

    Arguments:
        guard: The guard.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    def predict(self, model_input: Any, params: Any = None) -> Any:
        """A row for each image, in order, as ``outskirts predict`` writes it: a DataFrame.

        An image that cannot be read has a row that says why in its column ``error``.

        Arguments:
            model_input: A DataFrame of one column, a list, or an array: paths of pictures, encoded pictures as bytes,
                or pixels [H, W] or [H, W, 3] from 0 to 255, also as nested lists.
            params: Nothing of it is used.
        """
        import pandas as pd

        if isinstance(model_input, pd.DataFrame):
            if len(model_input.columns) != 1:
                raise OutskirtsError(
                    f"Pass a DataFrame of one column, with the images; this one has {len(model_input.columns)}."
                )
            model_input = model_input.iloc[:, 0]
        index = getattr(model_input, "index", None) if isinstance(model_input, pd.Series) else None
        items = [_item(one) for one in model_input]
        rows = rows_of(self.guard, ImageSet(items, spec="the input"), 1, "auto") if items else []
        return pd.DataFrame(rows, columns=columns(), index=index)


def _item(image: Any) -> Any:
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, bytes):
        return image
    pixels = np.asarray(image)
    # Nested lists have no type of their own.
    return pixels.astype(np.uint8) if isinstance(image, Sequence) and pixels.dtype.kind == "i" else pixels


def _load_pyfunc(path: str) -> GuardModel:
    """What MLflow loads a model with; the name is its own."""
    return GuardModel(Guard.load(path))


def _of(guard: Path) -> dict[str, Any]:
    """The arguments that make a model of a guard."""
    packages = load_json(guard / ABOUT, {"packages": {str: (str, None)}})["packages"]
    # A build such as 2.6.0+cpu is in no registry.
    needed = [f"{name}=={version.partition('+')[0]}" for name, version in packages.items() if version]
    return {"loader_module": __name__, "data_path": str(guard), "pip_requirements": needed}


def _pyfunc() -> Any:
    try:
        import mlflow.pyfunc
    except ModuleNotFoundError as error:
        raise MissingExtra("A model of MLflow", "mlflow") from error
    return mlflow.pyfunc
