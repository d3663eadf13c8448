"""The contract of a generator of in-distribution images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from torch import Tensor

from ...arguments import check_fields
from ...data.imageset import ImageSet
from ...data.transform import Transform
from ...files import file_digest
from ...registry import Registry
from ...renamed import unset_as_before
from ...seeding import subseed
from ...training.loop import TrainingProgress

__all__ = ["Config", "ImageGenerator", "register", "registry", "weights"]


@dataclass(frozen=True)
class Config:
    """The options of a generator; the command line's are made from the fields."""

    #: What errors call the generator that these are the options of, such as "the generator 'mixup'".
    part: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        check_fields(self, self.part)

    def require_complete(self) -> None:
        """Called when a generator is made.

        Raises:
            OutskirtsError: If an option that has no default is not given.
        """


C = TypeVar("C", bound=Config)


class ImageGenerator(ABC, Generic[C]):
    """Makes new images of known classes.

    Arguments:
        config: The options.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config

    def __init__(self, config: C) -> None:
        config.require_complete()
        self.config = config

    @abstractmethod
    def fit(self, images: ImageSet, transform: Transform, folder: Path, progress: TrainingProgress) -> Self:
        """Learn from training images.

        Arguments:
            images: Labelled, of all classes.
            transform: Brings them to the size and channels of those to make, in the range from -1 to 1.
            folder: Folder for what is learned, if that takes long: called again, it goes on from there.
            progress: Told of steps done, of how many, and of what is known.
        """

    @abstractmethod
    def sample(self, labels: Tensor, numbers: Tensor, seed: int) -> Tensor:
        """Images, uint8 [n, C, S, S]; an image depends on its class, its number and the seed alone.

        Arguments:
            labels: Class of each image, [n].
            numbers: Which images of their class, counted from 0, [n].
            seed: Seed of all images.
        """

    def seen(self, images: ImageSet) -> list[str]:
        """The keys of all images that those to make may give away: what it learns from, and what it copies."""
        return images.keys

    @staticmethod
    def seeds(labels: Tensor, numbers: Tensor, seed: int) -> list[int]:
        """One for each image."""
        return [subseed(seed, "image", *which) for which in zip(labels.tolist(), numbers.tolist())]

    def about(self) -> Mapping[str, Any]:
        """What a pool's manifest says of the generator, known before it is fitted."""
        return {"name": self.name, **unset_as_before(asdict(self.config))}

    def learned(self) -> Mapping[str, Any]:
        """What else the manifest says once it is fitted: the training of its network, the SHA-256 of its weights."""
        return {}


def weights(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of weights in a folder, by its path there, but for the state of its training."""
    files = (path for kind in ("safetensors", "bin") for path in folder.rglob(f"*.{kind}"))
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(files)
        if folder / "checkpoint" not in path.parents
    }


G = TypeVar("G", bound=type[ImageGenerator])
registry: Registry[type[ImageGenerator]] = Registry("generator", "outskirts.generation.generators", ImageGenerator)


def register(name: str) -> Callable[[G], G]:
    """Register a generator class under `name`; errors about its options name it from then on."""

    def add(part: G) -> G:
        if part.Config is not Config:
            part.Config.part = f"the generator '{name}'"
        return registry.register(name)(part)  # type: ignore[return-value]

    return add
