"""The contract of a detector."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self, TypeVar

from torch import Tensor, nn

from .. import renamed
from ..arguments import check_arguments
from ..contents import misfit, plain_value, written_value
from ..errors import OutskirtsError, unknown
from ..extraction.outputs import Outputs
from ..extraction.probes import Probe
from ..files import load_tensors, save_tensors
from ..registry import Registry

__all__ = ["Detector", "choices", "create", "register", "registry", "written"]


def choices(**values: Sequence[Any]) -> Mapping[str, Sequence[Any]]:
    """A grid: values for parameters, by their names."""
    return MappingProxyType(values)


class Detector(nn.Module, ABC):
    """A post-hoc score computed from `Outputs`: **larger means more out-of-distribution, always**.

    A subclass stores its arguments under their own names, declares in `needs` what it reads, and keeps what
    `fit` learns in buffers, so that saving, loading and moving to a device need no further code.
    """

    name: ClassVar[str]
    #: What is read from the outputs, among ``"features"``, ``"logits"``, ``"labels"`` (at `fit`), ``"head"``.
    needs: frozenset[str] = frozenset({"logits"})
    #: The in-distribution split that `fit` learns from; None where there is nothing to learn.
    fit_on: ClassVar[Literal["train", "val"] | None] = None
    #: What the detector needs beside features and logits.
    probes: tuple[Probe, ...] = ()
    #: Whether `fit` needs what the probes give, too.
    fits_probes: ClassVar[bool] = False
    #: Values of parameters to choose from, in the order published.
    grid: ClassVar[Mapping[str, Sequence[Any]]] = choices()
    #: Values of parameters of which each takes a pass of its own over the images, in the order published.
    pass_grid: ClassVar[Mapping[str, Sequence[Any]]] = choices()
    #: Whether the score is a function of the softmax alone, so that a constant added to all logits changes no score.
    of_softmax: ClassVar[bool] = False
    #: Whether `fit` also takes the outputs ``val=`` of the validation split.
    calibrates: ClassVar[bool] = False

    def fit(self, outputs: Outputs) -> Self:
        """Learn from in-distribution outputs of the split `fit_on`; returns the detector."""
        return self

    @abstractmethod
    def score(self, outputs: Outputs) -> Tensor:
        """The score of each image, [N]; larger means more out-of-distribution."""

    @property
    def level_matters(self) -> str | None:
        """Why a constant added to all logits and biases changes which images score the most; None where it does not."""
        return None

    @property
    def lacks(self) -> str | None:
        """What the detector needs and was not given, in words; None where it can be fitted and can score."""
        return None

    @property
    def params(self) -> dict[str, Any]:
        """The hyper-parameters, by the names of the constructor's arguments."""
        return {name: getattr(self, name) for name in _arguments(type(self))}

    def require(self, buffer: str) -> Tensor:
        """A fitted buffer, or an error that says to fit first."""
        value = getattr(self, buffer)
        if value is None:
            raise OutskirtsError(f"The detector '{self.name}' is not fitted: call fit(outputs) before score.")
        return value

    def save(self, path: Path | str) -> None:
        """Write the fitted detector to one safetensors file."""
        save_tensors(Path(path), self.state_dict(), {"detector": self.name, "params": self.params})

    @staticmethod
    def load(path: Path | str) -> Detector:
        """Read a detector that `save` wrote; a file that holds anything else is a clear error."""
        tensors, metadata = load_tensors(Path(path))
        if "detector" not in metadata:
            raise OutskirtsError(f"{path} does not hold a detector written by outskirts.")
        if clause := misfit(metadata, {"detector": str, "params": {str: Any}}):
            raise OutskirtsError(f"{path} is damaged: {clause}.")
        name = metadata["detector"]
        detector = create({"name": name, **renamed.IMPLIED.get(name, {}), **metadata["params"]})
        for key, value in renamed.buffers(tensors).items():
            try:
                detector.get_buffer(key)
            except AttributeError as error:
                raise OutskirtsError(f"{path} is damaged: the detector '{name}' has no tensor '{key}'.") from error
            owner, _, buffer = key.rpartition(".")
            setattr(detector.get_submodule(owner), buffer, value)
        return detector

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self.params.items())


D = TypeVar("D", bound=type[Detector])
registry: Registry[type[Detector]] = Registry("detector", "outskirts.detectors", Detector)


def register(name: str) -> Callable[[D], D]:
    """Register a detector class under `name`; its parameters are checked from then on."""

    def add(part: D) -> D:
        check_arguments(part, f"the detector '{name}'")
        return registry.register(name)(part)  # type: ignore[return-value]

    return add


def create(spec: str | Detector | Mapping[str, Any]) -> Detector:
    """A detector from its name, from a text such as ``knn:k=10,space=projection`` or a mapping such as
    ``{"name": "knn", "k": 10}``, or itself.

    >>> create("gen:gamma=0.5").params
    {'gamma': 0.5, 'top': 100}
    """
    if isinstance(spec, Detector):
        return spec
    if not isinstance(spec, str | Mapping) or (isinstance(spec, Mapping) and "name" not in spec):
        raise OutskirtsError(
            f"A detector is a name such as 'knn:k=10', a mapping such as {{'name': 'knn', 'k': 10}}, or one that is "
            f"made, not {spec!r}."
        )
    arguments = _parsed(spec) if isinstance(spec, str) else dict(spec)
    part = registry[renamed.current(arguments.pop("name"), renamed.DETECTORS, "detector")]
    known = _arguments(part)
    arguments = renamed.renamed(arguments, renamed.PARAMETERS, "parameter", known)
    for key in arguments:
        if key not in known:
            raise unknown("parameter", key, known, f"of the detector '{part.name}'")
    return part(**arguments)


def written(detector: Detector | Mapping[str, Any]) -> str:
    """The text that `create` makes a detector of, for a detector or for a mapping as `create` takes it.

    >>> written(create("gen:gamma=0.5"))
    'gen:gamma=0.5,top=100'
    """
    given = {"name": detector.name, **detector.params} if isinstance(detector, Detector) else detector
    parameters = ",".join(f"{name}={written_value(value)}" for name, value in given.items() if name != "name")
    return f"{given['name']}:{parameters}" if parameters else str(given["name"])


def _parsed(text: str) -> dict[str, Any]:
    name, _, rest = text.partition(":")
    arguments: dict[str, Any] = {"name": name}
    # Commas within brackets belong to a value.
    for argument in re.split(r",(?![^\[]*\])", rest) if rest else ():
        key, equals, value = argument.partition("=")
        if not (key and equals):
            raise OutskirtsError(f"'{text}' is not a detector; write parameters as in knn:k=10,space=projection.")
        arguments[key] = plain_value(value)
    return arguments


def _arguments(part: type[Detector]) -> list[str]:
    """The constructor's arguments; a class without one has none, whatever `nn.Module` accepts."""
    return [] if part.__init__ is nn.Module.__init__ else list(inspect.signature(part).parameters)
