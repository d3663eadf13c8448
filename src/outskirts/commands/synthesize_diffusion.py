"""``outskirts synthesize ncis`` and ``dream``: outliers that a diffusion model makes, in stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import tyro

from ..errors import MissingExtra, unknown
from ..generation import diffusion_options as options
from .console import Command, parse, telling, value

__all__ = ["DREAM", "NCIS", "main"]

_MODEL = "--model pools/diffusion/generator"
_NCIS = "outskirts synthesize ncis {} --run runs/photos --out imagined{}"
_DREAM = f"outskirts synthesize dream {{}}{_MODEL} --run runs/dream --out imagined-dream{{}}"
_FEW = " --count 12 --network-evaluations 2 --max-confidence 1"


@dataclass(frozen=True, kw_only=True)
class Staged(Command):
    """One stage of a method, or all stages."""

    method: ClassVar[str] = "ncis"
    stage: ClassVar[str | None] = None

    preset: str | None = None
    """Name of settings that other options override: cifar10-small, cifar100, imagenet100, mnist5k or published."""

    def __call__(self) -> None:
        try:
            from ..generation.synthesize_diffusion import synthesize_dream, synthesize_ncis
        except ImportError as error:
            raise MissingExtra(f"synthesize {self.method}", "generate") from error
        # The preset is in the defaults of the options already.
        names = [field.name for field in fields(self) if field.name != "preset"]
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        synthesize = synthesize_dream if self.method == "dream" else synthesize_ncis
        with telling() as (saying, progress):
            synthesize(stage=self.stage, say=saying, progress=progress, **given)


@dataclass(frozen=True, kw_only=True)
class NCISEmbed(options.Embed, Staged):
    """Stage embed of NCIS: find a token vector for each training image."""

    stage: ClassVar[str | None] = "embed"
    examples: ClassVar[tuple[str, ...]] = (_NCIS.format(f"embed {_MODEL}", " --draws 2"),)


@dataclass(frozen=True, kw_only=True)
class NCISFit(options.Fit, Staged):
    """Stage fit of NCIS: find the manifold on which the vectors of each class lie."""

    stage: ClassVar[str | None] = "fit"
    examples: ClassVar[tuple[str, ...]] = (_NCIS.format("fit", " --fit-epochs 3"),)


@dataclass(frozen=True, kw_only=True)
class NCISSample(options.Sample, Staged):
    """Stage sample of NCIS: draw vectors off the manifolds."""

    stage: ClassVar[str | None] = "sample"
    examples: ClassVar[tuple[str, ...]] = (_NCIS.format("sample", " --per-class 6 --competing-classes 0"),)


@dataclass(frozen=True, kw_only=True)
class NCISDecode(options.Decode, Staged):
    """Stage decode of NCIS: make images of the vectors."""

    stage: ClassVar[str | None] = "decode"
    examples: ClassVar[tuple[str, ...]] = (_NCIS.format(f"decode {_MODEL}", _FEW),)


@dataclass(frozen=True, kw_only=True)
class NCISAll(options.NCIS, Staged):
    """Make outliers near the classes with a diffusion model, in all stages: embed, fit, sample, decode.

    Train with them by outskirts train ncis. What is done is not done again. The options of one stage alone: outskirts
    synthesize ncis STAGE --help.
    """

    examples: ClassVar[tuple[str, ...]] = (_NCIS.format(_MODEL, "-all"),)


@dataclass(frozen=True, kw_only=True)
class DreamSample(options.SampleAtBoundary, Staged):
    """Stage sample of Dream-OOD: draw vectors at the boundary of the features of each class."""

    method: ClassVar[str] = "dream"
    stage: ClassVar[str | None] = "sample"
    examples: ClassVar[tuple[str, ...]] = (_DREAM.format("sample ", " --boundary 4 --picks 2"),)


@dataclass(frozen=True, kw_only=True)
class DreamDecode(options.DreamDecode, Staged):
    """Stage decode of Dream-OOD: make images of the vectors."""

    method: ClassVar[str] = "dream"
    stage: ClassVar[str | None] = "decode"
    examples: ClassVar[tuple[str, ...]] = (_DREAM.format("decode ", _FEW),)


@dataclass(frozen=True, kw_only=True)
class DreamAll(options.Dream, Staged):
    """Make outliers near the classes with a diffusion model, in all stages: sample, decode.

    The run is one of outskirts train dream. Train with the outliers by outskirts train ncis. What is done is not done
    again. The options of one stage alone: outskirts synthesize dream STAGE --help.
    """

    method: ClassVar[str] = "dream"
    examples: ClassVar[tuple[str, ...]] = (_DREAM.format("", "-all"),)


NCIS = {"all": NCISAll, "embed": NCISEmbed, "fit": NCISFit, "sample": NCISSample, "decode": NCISDecode}
DREAM = {"all": DreamAll, "sample": DreamSample, "decode": DreamDecode}


def main(name: str, arguments: Sequence[str]) -> None:
    """Run a stage, or all that are not done."""
    kinds: dict[str, type[Any]] = dict(NCIS if name == "ncis" else DREAM)
    named = bool(arguments) and not arguments[0].startswith("-")
    stage, flags = (arguments[0], arguments[1:]) if named else ("all", arguments)
    if stage not in kinds:
        raise unknown("stage", stage, kinds)
    kind = kinds[stage]
    chosen = options.preset_options(kind, value(flags, "--preset"))
    default = kind(**dict.fromkeys(options.required(kind), tyro.MISSING), **chosen)
    parse(kind, f"synthesize {name}{f' {stage}' * named}", flags, default)()
