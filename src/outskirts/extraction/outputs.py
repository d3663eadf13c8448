"""What one forward pass over an image set leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import Tensor

from .. import notebook
from ..errors import OutskirtsError
from ..models.heads import Head
from ..texts import counted
from .arrays import Array, class_labels, column, real_numbers
from .blocks import traced

__all__ = ["Outputs"]

T = TypeVar("T")

#: Begins the keys of what no image changes.
_FIXED = object()


@dataclass(frozen=True, init=False)
class Outputs:
    """The outputs of a classifier over N images; every detector runs from these alone.

    Tensors, NumPy arrays, lists and whatever NumPy makes an array of will do. Whole numbers become float64.

    Arguments:
        features: Penultimate features, [N, D]: what the linear head is applied to.
        logits: [N, C]; detectors of features alone need none.
        labels: Class of each image, [N], whole numbers; negative for out-of-distribution images.
        head: The linear head, ``osk.Head(weight [C, D], bias [C])``, if the classifier has one.
        extra: What probes left, by the probe's key; the first axis of each tensor is N.

    Raises:
        OutskirtsError: If these are no numbers, or their lengths or widths do not match.

    >>> import numpy as np
    >>> out = Outputs(np.zeros((4, 8)), np.zeros((4, 3)))
    >>> len(out), out.classes
    (4, 3)
    >>> out
    Outputs(features [4, 8], logits [4, 3], labels none, head none)
    """

    features: Tensor
    logits: Tensor | None
    labels: Tensor | None
    head: Head | None
    extra: Mapping[str, Tensor]
    _known: dict[Hashable, Any] = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        features: Array,
        logits: Array | None = None,
        labels: Array | None = None,
        head: Sequence[Array] | None = None,
        extra: Mapping[str, Array] | None = None,
    ) -> None:
        values = {
            "features": real_numbers(features, "features", ("N", "D")),
            "logits": None if logits is None else real_numbers(logits, "logits", ("N", "C")),
            "labels": None if labels is None else class_labels(labels),
            "head": None if head is None else _head(head),
            "extra": {key: column(rows, key) for key, rows in (extra or {}).items()},
            "_known": {},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._require_matching()

    def _require_matching(self) -> None:
        for name, rows in self._columns().items():
            if not traced() and len(rows) != len(self.features):
                raise OutskirtsError(
                    f"Outputs hold {len(self.features)} rows of features but {len(rows)} of {name}; "
                    "all must come from the same images."
                )
        if self.labels is not None and self.logits is not None and not traced() and len(self):
            most, classes = int(self.labels.max()), self.logits.shape[1]
            if most >= classes:
                raise OutskirtsError(f"Outputs have the label {most}, but logits of {classes} classes, counted from 0.")
        if self.head is None:
            return
        classes, dimension = self.head.weight.shape
        if dimension != self.features.shape[1]:
            raise OutskirtsError(
                f"The head's weight [{classes}, {dimension}] does not fit features of width {self.features.shape[1]}: "
                "it must be [C, D], and the features [N, D]."
            )
        if self.logits is not None and classes != self.logits.shape[1]:
            raise OutskirtsError(
                f"The head's weight [{classes}, {dimension}] has a row for each of {classes} classes, but the logits "
                f"have {self.logits.shape[1]}; both must be of the same classifier."
            )

    def _columns(self) -> dict[str, Tensor]:
        """All that there is of each image, by name."""
        columns = {"features": self.features, "logits": self.logits, "labels": self.labels, **self.extra}
        return {name: rows for name, rows in columns.items() if rows is not None}

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        return f"Outputs({', '.join(f'{name} {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return notebook.table(f"Outputs of {counted(len(self), 'image')}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        """What there is, by name."""
        columns = {"features": self.features, "logits": self.logits, "labels": self.labels}
        facts = [(name, "none" if rows is None else str(list(rows.shape))) for name, rows in columns.items()]
        facts.append(("head", "none" if self.head is None else "linear"))
        return facts + [(f"extra {key}", str(list(value.shape))) for key, value in self.extra.items()]

    @property
    def classes(self) -> int:
        """The number of classes, C: of the logits, or of the head."""
        if self.logits is not None:
            return self.logits.shape[1]
        if self.head is not None:
            return len(self.head.weight)
        raise OutskirtsError("Outputs without logits and without a head do not tell how many classes there are.")

    def __getitem__(self, index: Tensor | slice) -> Outputs:
        """The same for a subset of the images."""
        return replace(
            self,
            features=self.features[index],
            logits=None if self.logits is None else self.logits[index],
            labels=None if self.labels is None else self.labels[index],
            extra={key: value[index] for key, value in self.extra.items()},
        )

    def cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, which is computed the first time that it is asked for under this key: detectors share what
        several of them derive from the same outputs. It is not to be changed.

        >>> import torch
        >>> out = Outputs(torch.zeros(4, 8), torch.zeros(4, 3))
        >>> out.cached("mean", lambda: out.features.mean(0)) is out.cached("mean", lambda: out.features.mean(0))
        True
        """
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def fixed(self, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
        """The same for what no image changes, but only the head and what a detector has learnt. A graph that is made of
        the detector holds the numbers, however they came about.

        Arguments:
            key: What it is, and the tensors that a detector has learnt it from.
            make: Makes it.
        """
        return self.cached((_FIXED, *key), make)

    def with_fixed(self, other: Outputs) -> Outputs:
        """These outputs, which know what `fixed` has computed with others of the same classifier."""
        self._known.update((key, value) for key, value in other._known.items() if _is_fixed(key))
        return self

    def need(self, name: str, who: str) -> Tensor:
        """The tensor called `name`, or an error that says the detector `who` needs it."""
        return self._of(name, f"The detector '{who}'")

    def _of(self, name: str, who: str) -> Tensor:
        columns = self._columns()
        if name not in columns:
            given = name in ("logits", "labels")
            remedy = f"pass Outputs(..., {name}=...)" if given else "name this detector when you extract them again"
            raise OutskirtsError(f"{who} needs {name}, which these outputs lack; {remedy}.")
        return columns[name]

    @property
    def predicted(self) -> Tensor:
        """The class with the largest logit of each image, [N]."""
        return self._of("logits", "The class predicted").argmax(1)

    @property
    def accuracy(self) -> float:
        """The share of images whose largest logit is that of their label."""
        return (self.predicted == self._of("labels", "The accuracy")).double().mean().item()


def _is_fixed(key: Hashable) -> bool:
    return isinstance(key, tuple) and key[0] is _FIXED


def _head(head: Sequence[Array]) -> Head:
    try:
        weights, biases = head
    except (TypeError, ValueError) as error:
        raise OutskirtsError(
            "The head of outputs must be a weight [C, D] and a bias [C], as in osk.Head(weight, bias)."
        ) from error
    weight, bias = (
        real_numbers(weights, "the head's weight", ("C", "D")),
        real_numbers(biases, "the head's bias", ("C",)),
    )
    if len(bias) != len(weight):
        raise OutskirtsError(f"The head's weight is of {len(weight)} classes, but its bias of {len(bias)}.")
    return Head(weight, bias)
