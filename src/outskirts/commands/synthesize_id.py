"""``outskirts synthesize id``: new images of the training classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..generation.generators import Config, registry
from ..generation.screening import Rules
from ..generation.synthesize_id import synthesize_id
from .console import parse_parts, telling_with_training, value

__all__ = ["COMMAND", "EXAMPLES", "main"]

EXAMPLES = (
    "outskirts synthesize id --data folder:photos/train --out pools/photos --count 20",
    "outskirts synthesize id --generator patchmix --data folder:photos/train --out pools/patches --count 20",
)


@dataclass(frozen=True, kw_only=True)
class Make:
    """What to make, and from which images."""

    generator: str = "mixup"
    """Name of what makes the images; outskirts list generators names all."""
    data: str | None = None
    """Labelled training images to learn from, as a spec. Default: those of --run, without its validation images."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Folder of a run trained on real images, which judges the new images."""
    out: Path
    """Folder of the pool: new, empty, or begun with the same options, and then it goes on."""
    count: int | None = None
    """Images to keep. Default: as many as there are training images."""
    size: int | None = None
    """Side of the images in pixels. Default: that of the run's network, or of the training images."""
    generation_batch_size: int = 256
    """Images made at the same time. Another number gives other images where a generator computes with them together."""
    seed: int = 0
    """Seed of the generator and of the images."""


COMMAND = Make


def main(arguments: Sequence[str]) -> None:
    """Write a pool, ``samples.png`` and, last, its manifest."""
    name = value(arguments, "--generator") or Make.generator
    kind = registry[name].Config
    parts = {"make": Make(out=tyro.MISSING), "rules": Rules(), "settings": kind()}
    about = f"Make images of the training classes with '{name}', to train with: outskirts train --synthetic pool:DIR."
    make, rules, settings = parse_parts(parts, "synthesize id", arguments, about, EXAMPLES)
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
