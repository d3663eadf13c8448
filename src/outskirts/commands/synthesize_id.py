"""``outskirts synthesize id``: new images of the training classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..bounds import Count
from ..generation.generators import Config, registry
from ..generation.screening import Rules
from ..generation.synthesize_id import synthesize_id
from .console import parse_parts, telling_with_training, value

__all__ = ["COMMAND", "EXAMPLES", "main"]

#: Options without which an example of a generator says little, or nothing at all.
_OPTIONS = {
    # The examples of ncis and dream go on with this model, which has to have seen the images of the run.
    "diffusion": "--run runs/photos --network tiny --epochs 1",
    "folder": "--data folder:photos/train --source folder:photos/test",
    "pipeline": "--data folder:photos/train --model stable-diffusion",
}


def example(generator: str) -> str:
    """A command line that makes images with a generator."""
    chosen = "" if generator == Make.generator else f" --generator {generator}"
    # The example of data verify goes on with pools/photos.
    place = "photos" if generator == Make.generator else generator
    options = _OPTIONS.get(generator, "--data folder:photos/train")
    return f"outskirts synthesize id{chosen} {options} --out pools/{place} --count 12"


@dataclass(frozen=True, kw_only=True)
class Make:
    """The new pool, and the images that it is made from."""

    generator: str = "mixup"
    """Name of what makes the images; outskirts list generators names all."""
    data: str | None = None
    """Labelled training images to learn from, as a spec. Default: those of --run, without its validation images."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Folder of a run trained on real images, which judges the new images."""
    out: Path
    """Folder of the pool: new, empty, or begun with the same options, and then it goes on."""
    count: Count | None = None
    """Images to keep, at least 1. Default: as many as there are training images."""
    size: Count | None = None
    """Side of the images in pixels. Default: that of the run's network, or of the training images."""
    generation_batch_size: Count = 256
    """Images made at the same time, at least 1. Another number gives other images where a generator computes with
    all of them together."""
    seed: int = 0
    """Seed of the generator and of the images."""


COMMAND = Make
EXAMPLES = tuple(map(example, registry.names()))


def main(arguments: Sequence[str]) -> None:
    """Write a pool, ``samples.png`` and, last, its manifest."""
    name = value(arguments, "--generator") or Make.generator
    kind = registry[name].Config
    parts = {"pool": Make(out=tyro.MISSING), "screening": Rules(), "generator": kind()}
    about = f"Make images of the training classes with '{name}', to train with: outskirts train --synthetic pool:DIR."
    make, rules, settings = parse_parts(parts, "synthesize id", arguments, about, [example(name)])
    assert isinstance(make, Make) and isinstance(rules, Rules) and isinstance(settings, Config)
    with telling_with_training(name) as (saying, progress, learning):
        synthesize_id(
            make.out,
            name,
            data=make.data,
            run=make.run,
            rules=rules,
            count=make.count,
            size=make.size,
            generation_batch_size=make.generation_batch_size,
            seed=make.seed,
            say=saying,
            progress=progress,
            learning=learning,
            **asdict(settings),
        )
