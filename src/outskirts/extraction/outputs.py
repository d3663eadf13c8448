"""What one forward pass over an image set leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import Tensor

from .. import notebook
from ..errors import OutskirtsError
from ..models.heads import Head
from ..texts import counted

__all__ = ["Outputs"]

T = TypeVar("T")


@dataclass(frozen=True)
class Outputs:
    """The outputs of a classifier over N images; every detector runs from these alone.

    Arguments:
        features: Penultimate features, [N, D]: what the linear head is applied to.
        logits: [N, C].
        labels: Class of each image, [N], int64; negative for out-of-distribution images.
        head: The linear head, ``osk.Head(weight [C, D], bias [C])``, if the classifier has one.
        extra: What probes left, by the probe's key; the first axis of each tensor is N.

    >>> import torch
    >>> out = Outputs(torch.zeros(4, 8), torch.zeros(4, 3))
    >>> len(out), out.classes
    (4, 3)
    >>> out
    Outputs(features [4, 8], logits [4, 3], labels none, head none)
    """

    features: Tensor
    logits: Tensor
    labels: Tensor | None = None
    head: Head | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        columns = {"logits": self.logits, "labels": self.labels, **self.extra}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.features):
                raise OutskirtsError(
                    f"Outputs hold {len(self.features)} rows of features but {len(column)} of {name}; "
                    "all must come from the same images."
                )
        if self.head is not None:
            object.__setattr__(self, "head", Head(*self.head))

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        return f"Outputs({', '.join(f'{name} {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return notebook.table(f"Outputs of {counted(len(self), 'image')}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        """What there is, by name."""
        facts = [("features", str(list(self.features.shape))), ("logits", str(list(self.logits.shape)))]
        facts.append(("labels", "none" if self.labels is None else str(list(self.labels.shape))))
        facts.append(("head", "none" if self.head is None else "linear"))
        return facts + [(f"extra {key}", str(list(value.shape))) for key, value in self.extra.items()]

    @property
    def classes(self) -> int:
        """The number of classes, C."""
        return self.logits.shape[1]

    def __getitem__(self, index: Tensor | slice) -> Outputs:
        """The same for a subset of the images."""
        return replace(
            self,
            features=self.features[index],
            logits=self.logits[index],
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

    def need(self, name: str, who: str) -> Tensor:
        """The tensor called `name`, or an error that says `who` needs it."""
        value = {"features": self.features, "logits": self.logits, "labels": self.labels, **self.extra}.get(name)
        if value is None:
            raise OutskirtsError(
                f"The detector '{who}' needs {name}, which these outputs lack; name this detector when you "
                "extract them again."
            )
        return value

    @property
    def accuracy(self) -> float:
        """The share of images whose largest logit is that of their label."""
        labels = self.need("labels", "accuracy")
        return (self.logits.argmax(1) == labels).double().mean().item()
