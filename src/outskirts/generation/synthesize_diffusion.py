"""Outliers that a diffusion model makes near the training classes: all stages of NCIS or Dream-OOD, or one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import unknown
from ..paths import output_path
from ..telling import Progress, Say, nobody, silence
from ..training.run import Run
from . import diffusion_stages as stages
from .diffusion_options import NCIS, Decode, Dream, DreamDecode, Embed, Fit, Sample, SampleAtBoundary, Source, filled

__all__ = ["STAGES", "run_stages", "synthesize_dream", "synthesize_ncis"]

Stage = Callable[[stages.Work, Any], None]

#: The stages of either method, in their order: the options of each and what does it.
STAGES: Mapping[str, Mapping[str, tuple[type[Source], Stage]]] = {
    "ncis": {
        "embed": (Embed, stages.embed),
        "fit": (Fit, stages.fit),
        "sample": (Sample, stages.sample),
        "decode": (Decode, stages.decode),
    },
    "dream": {"sample": (SampleAtBoundary, stages.around), "decode": (DreamDecode, stages.decode)},
}

#: The options of all stages together.
_ALL: Mapping[str, type[Source]] = {"ncis": NCIS, "dream": Dream}


def run_stages(method: str, given: Source, say: Say = silence, progress: Progress = nobody) -> None:
    """Run each stage whose options are given: one of them, or all with `NCIS` or `Dream`.

    Arguments:
        method: ncis or dream.
        given: The options.
        say: Told in sentences what was found.
        progress: Told how much of a stage is done.
    """
    work = stages.Work(method, given, say, progress)
    for kind, stage in STAGES[method].values():
        if isinstance(given, kind):
            stage(work, given)


def synthesize_ncis(
    out: Path | str,
    *,
    model: Path | str | None = None,
    run: Run | Path | str | None = None,
    data: str | None = None,
    stage: str | None = None,
    preset: str | None = None,
    say: Say = silence,
    progress: Progress = nobody,
    **options: Any,
) -> Path:
    """Make outliers near the training classes with a diffusion model, as NCIS does, for training with ``ncis``.

    Training images are embedded as token vectors of the model. The vectors of each class lie near a manifold. New
    vectors are drawn off these manifolds, and decoded into images. What is done already is not done again.

    Arguments:
        out: Folder of all stages: new, empty, or begun with the same options.
        model: Folder of a diffusion model: that of a pool's generator, or a Stable Diffusion in diffusers' layout.
            Required by the stages embed and decode; the others do not take it.
        run: A trained run, or its folder, which judges the outliers and names the images to embed.
        data: Labelled images to embed, as a spec; the training images of `run` unless given.
        stage: One of embed, fit, sample, decode; all of them unless given.
        preset: Named settings, which other options override.
        say: Told in sentences what was found.
        progress: Told how much of a stage is done.
        options: Options of the stages: the fields of `outskirts.generation.diffusion_options.NCIS`.

    Returns:
        The folder of the pool of outliers, which `outskirts.train` takes as ``outlier_images=f"pool:{folder}"``.

    Raises:
        OutskirtsError: If an option is unknown or out of range, or the folder was begun with others.

    References:
        | NCIS: see `outskirts.methods.ncis`
    """
    given = {
        "out": output_path(out),
        "run": run,
        "data": data,
        **({} if model is None else {"model": model}),
        **options,
    }
    return _synthesized("ncis", given, stage, preset, say, progress)


def synthesize_dream(
    out: Path | str,
    *,
    model: Path | str,
    run: Run | Path | str,
    data: str | None = None,
    stage: str | None = None,
    preset: str | None = None,
    say: Say = silence,
    progress: Progress = nobody,
    **options: Any,
) -> Path:
    """Make outliers at the boundary of the training classes with a diffusion model, as Dream-OOD does.

    A run of the method ``dream`` has features that are aligned with the token vectors of the model. Vectors are drawn
    at the boundary of each class, as in NPOS, and decoded into images. What is done already is not done again.

    Arguments:
        out: Folder of all stages: new, empty, or begun with the same options.
        model: Folder of a diffusion model: that of a pool's generator, or a Stable Diffusion in diffusers' layout.
        run: A trained run of the method ``dream``, or its folder, trained with this model.
        data: Labelled images whose features are used, as a spec; the training images of `run` unless given.
        stage: One of sample, decode; both of them unless given.
        preset: Named settings, which other options override.
        say: Told in sentences what was found.
        progress: Told how much of a stage is done.
        options: Options of the stages: the fields of `outskirts.generation.diffusion_options.Dream`.

    Returns:
        The folder of the pool of outliers, which `outskirts.train` takes as ``outlier_images=f"pool:{folder}"``.

    Raises:
        OutskirtsError: If an option is unknown or out of range, the folder was begun with others, or the run was
            trained with another method or model.

    References:
        | Dream-OOD: see `outskirts.methods.dream`
    """
    given = {"out": output_path(out), "model": model, "run": run, "data": data, **options}
    return _synthesized("dream", given, stage, preset, say, progress)


def _synthesized(
    method: str, given: Mapping[str, Any], stage: str | None, preset: str | None, say: Say, progress: Progress
) -> Path:
    """Run a stage of a method, or all; returns the folder of the pool."""
    if stage is not None and stage not in STAGES[method]:
        raise unknown("stage", stage, STAGES[method])
    options = filled(_ALL[method] if stage is None else STAGES[method][stage][0], given, preset)
    run_stages(method, options, say, progress)
    return options.out.absolute() / getattr(options, "name", Sample.name)
