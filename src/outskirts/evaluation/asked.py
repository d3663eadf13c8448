"""The options of ``outskirts evaluate`` that measure a run once more as it was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch

from ..data.benchmark import Benchmark, own_file
from ..data.imageset import SUBSET, ImageSet
from ..detectors import Detector, create
from ..detectors.base import written
from ..errors import OutskirtsError
from ..extraction.forward import PassOptions
from ..files import file_digest, is_file, load_json, save_json
from ..training.provenance import command_line
from ..training.run import Run
from .set_groups import CONTROL, SHIFTED

__all__ = ["GROUPS", "Asked"]

#: The groups that have an option of their own, in the order in which they are measured.
GROUPS = ("near", "far", "ood", SHIFTED, CONTROL)


@dataclass(frozen=True)
class Asked:
    """How a run was measured, as ``evaluation.json`` keeps it.

    Arguments:
        options: Words of the command line, but for the run; none if no command line can name all that was asked.
        why_not: Why there are none.
        typed: The command that the process was started with.
        sha256: Hash of the benchmark's file, where the options name one.
    """

    options: tuple[str, ...] = ()
    why_not: str = ""
    typed: str = ""
    sha256: str = ""

    @classmethod
    def of(
        cls,
        test: ImageSet,
        ood: Mapping[str, Mapping[str, ImageSet]],
        benchmark: str | Path | Benchmark | None,
        detectors: Literal["all"] | Iterable[str | Detector | Mapping[str, Any]],
        features: str,
        options: PassOptions,
        tune: ImageSet | Literal["own"] | None,
        tune_passes: bool,
    ) -> Self:
        """What `evaluate_run` was called with, its sets open."""
        named = benchmark if isinstance(benchmark, str | Path) else None
        file = own_file(named) if named else None
        try:
            words = ["--benchmark", str(file or named)] if named else _sets(test, ood)
            words += ["--features", features] * (features != "head")
            words += ["--precision", options.precision, *(["--keep", options.keep] * (options.keep != "fp32"))]
            words += ["--device", torch.device(options.device).type]
            words += ["--skip-corrupt"] * options.skip_corrupt
            if tune is not None:
                words += ["--tune"] if isinstance(tune, str) else ["--tune-on", _spec("tune", tune)]
                words += ["--tune-passes"] * tune_passes
            words += ["--detectors", *(["all"] if isinstance(detectors, str) else map(_text, detectors))]
        except OutskirtsError as error:
            return cls(why_not=str(error))
        return cls(tuple(words), "", command_line(), file_digest(file) if file else "")

    @property
    def benchmark(self) -> str:
        """The shipped name or the file of the benchmark, if the options name one."""
        return self.options[1] if self.options[:1] == ("--benchmark",) else ""

    def save(self, run: Run) -> None:
        """Write ``evaluation.json``."""
        save_json(run.evaluation, asdict(self))

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read what `save` wrote; runs of version 0.1 do not say how they were measured."""
        if not is_file(run.evaluation):
            return cls(why_not="The run does not say how it was measured (evaluation.json).")
        kinds = {"options": [str], "why_not": str, "typed": str, "sha256": str}
        known = load_json(run.evaluation, kinds)
        return cls(**{**{name: known[name] for name in kinds}, "options": tuple(known["options"])})


def _sets(test: ImageSet, ood: Mapping[str, Mapping[str, ImageSet]]) -> list[str]:
    places = [GROUPS.index(group) if group in GROUPS else len(GROUPS) for group in ood]
    # Groups of other names, or in another order, are all named before their sets.
    usual = places == sorted(places) and len(GROUPS) not in places
    words = ["--test", _spec("test", test)]
    for group, members in ood.items():
        entries = [f"{name}={_spec(name, images)}" for name, images in members.items()]
        words += [f"--{group}", *entries] if usual else ["--ood", *(f"{group}/{entry}" for entry in entries)]
    return words


def _spec(name: str, images: ImageSet) -> str:
    if not images.spec or images.spec.endswith(SUBSET):
        raise OutskirtsError(f"The images of '{name}' were made or cut in Python, which no command can name.")
    return images.spec


def _text(detector: str | Detector | Mapping[str, Any]) -> str:
    """A detector as command lines name it."""
    if isinstance(detector, str):
        return detector
    text = written(detector)
    try:
        if create(text).params == create(detector).params:
            return text
    except OutskirtsError:
        pass
    raise OutskirtsError(f"The detector '{text.partition(':')[0]}' was made in Python, which no command can name.")
