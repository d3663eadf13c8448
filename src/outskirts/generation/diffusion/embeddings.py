"""Embeddings of a whole image set on disk, made block by block.

A folder of shards (`outskirts.data.shards`), here called blocks, has the columns ``vectors`` [n, D], ``labels`` [n],
``course`` [n, steps], the loss before each step, and ``keys`` [n, 16], by which images are recognised. What was stopped
goes on, and several processes or machines that see the folder can each make some of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.imageset import ImageSet
from ...data.selection import evenly_spaced
from ...data.shards import ShardKind, Shards
from ...data.transform import Transform
from ...errors import OutskirtsError
from ...files import is_file
from ...models.diffusion.latent import LatentDiffusion
from ...seeding import subseed
from .inversion import Inversion, denoising_losses, invert

__all__ = ["Embedder", "Embeddings", "embed", "open_embeddings", "repeatability"]

#: The format is raised when folders of an earlier version can no longer be read.
_KIND = ShardKind(
    content="embeddings",
    stem="vectors",
    sizes="blocks",
    format=1,
    resume="give the command that began it again",
    remake="give the command that made it again",
)


@dataclass(frozen=True)
class Embeddings:
    """Embedded images.

    Arguments:
        vectors: [N, D], float32.
        labels: [N].
        course: The loss before each step, [N, steps].
        keys: Keys of the images, uint8 [N, 16].
        about: The manifest.
    """

    vectors: Tensor
    labels: Tensor
    course: Tensor
    keys: Tensor
    about: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class Embedder:
    """Embeds images.

    Arguments:
        model: A model on its device, its parameters without gradients.
        how: How images are embedded.
        precision: fp32 or bf16, of its computations.
    """

    model: LatentDiffusion
    how: Inversion
    precision: str = "fp32"

    @property
    def transform(self) -> Transform:
        """From an image of any size to what the codec takes."""
        return Transform(self.model.side, self.model.channels)

    def __call__(self, pixels: Tensor, labels: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Vectors [n, D] and courses of the loss [n, steps] of images, uint8 [n, C, S, S], with labels [n]."""
        with self._computing():
            latents = self._encoded(pixels)
            vectors, course = invert(self.model, latents, labels.to(latents.device), seeds, self.how)
        return vectors.cpu(), course.T.cpu()

    def loss_under(self, pixels: Tensor, vectors: Tensor, seeds: Sequence[int]) -> Tensor:
        """The loss of images under other vectors [n, D], on many draws, [n]."""
        with self._computing():
            latents = self._encoded(pixels)
            return denoising_losses(self.model, latents, vectors.to(latents.device), seeds, Inversion(draws=32)).cpu()

    def _encoded(self, pixels: Tensor) -> Tensor:
        return self.model.codec.encode(self.transform.device(pixels.to(self._device)))

    def _computing(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def embed(
    embedder: Embedder,
    images: ImageSet,
    folder: Path,
    *,
    about: Mapping[str, Any],
    seed: int = 0,
    block: int = 256,
    batch: int = 64,
    shard: tuple[int, int] = (0, 1),
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the embeddings of every image, or those that are not there yet.

    Arguments:
        embedder: Embeds images of these classes.
        images: Labelled images to embed.
        folder: New, empty, or begun with the same arguments.
        about: What else defines them, such as the model's weights.
        seed: Seed of the noise; that of an image depends on its number in the set beside it.
        block: Images per file.
        batch: Images at once.
        shard: k of n: of the blocks, make every n-th from the k-th on, counted from 0.
        progress: Called with the number of images that are done, by whomever.
    """
    manifest = {
        **about,
        "data": images.spec,
        "fingerprint": images.fingerprint,
        "classes": images.classes,
        "inversion": asdict(embedder.how),
        "seed": seed,
        "precision": embedder.precision,
    }
    shards = Shards.begin(folder, _KIND, len(images), block, manifest, free=("data",))
    for number, size in enumerate(shards.sizes):
        if shards.lacks(number, shard):
            part = images.subset(shards.rows(number))
            pixels, labels = part.resident(embedder.transform)
            seeds = [subseed(seed, "inversion", i) for i in shards.rows(number).tolist()]
            made = [
                embedder(pixels[rows], labels[rows], [seeds[i] for i in rows.tolist()])
                for rows in torch.arange(size).split(batch)
            ]
            vectors, course = (torch.cat(column) for column in zip(*made))
            keys = torch.tensor([list(bytes.fromhex(key)) for key in part.keys], dtype=torch.uint8)
            shards.write(number, {"vectors": vectors, "labels": labels, "course": course, "keys": keys})
        progress(shards.done)


def open_embeddings(folder: Path) -> Embeddings:
    """The embeddings in a folder; an error if some are not made yet."""
    if not is_file(folder / "manifest.json"):
        raise OutskirtsError(f"{folder} holds no embeddings; make them with: outskirts synthesize ncis embed")
    shards = Shards.open(folder, _KIND)
    vectors, labels, course, keys = shards.columns("vectors", "labels", "course", "keys")
    return Embeddings(vectors, labels, course, keys, shards.about)


def repeatability(embedder: Embedder, images: ImageSet, made: Embeddings, most: int = 256) -> dict[str, float]:
    """Whether embeddings say something of their images, or only of the noise they were made with.

    Some images are embedded again with other noise.

    Arguments:
        embedder, images: Embedder and images that the embeddings were made with.
        made: All of them.
        most: Images to look at.

    Returns:
        ``images``; ``repeat_correlation``, of the two embeddings, each less the mean of its class; ``self_match``, the
        share of images whose second embedding is the nearest to the first among those of its class, and what that is
        by ``chance``; ``gain``, the share of the loss that the embeddings save over their class's vector, on noise of
        neither; ``displacement``, the mean length of a move from it.
    """
    rows = evenly_spaced(len(images), most)
    pixels, labels = images.subset(rows).resident(embedder.transform)
    first, starts = made.vectors[rows], embedder.model.prompts.starts(labels)
    columns = []
    for part in torch.arange(len(rows)).split(64):

        def seeds(name: str, part: Tensor = part) -> list[int]:
            return [subseed(made.about["seed"], name, i) for i in rows[part].tolist()]

        repeated, judged = embedder(pixels[part], labels[part], seeds("again"))[0], seeds("judged")
        columns.append((repeated, *(embedder.loss_under(pixels[part], v[part], judged) for v in (starts, first))))
    other, before, after = (torch.cat(column) for column in zip(*columns))
    same = labels[:, None] == labels
    nearest = torch.cdist(first, other).masked_fill(~same, torch.inf).argmin(1)
    one, two = (_centered(vectors, labels).flatten() for vectors in (first, other))
    return {
        "images": len(rows),
        "repeat_correlation": float(torch.corrcoef(torch.stack([one, two]))[0, 1]),
        "self_match": float((nearest == torch.arange(len(rows))).float().mean()),
        "chance": float((1 / same.sum(1)).mean()),
        "gain": float(1 - after.sum() / before.sum()),
        "displacement": float((first - starts).norm(dim=1).mean()),
    }


def _centered(vectors: Tensor, labels: Tensor) -> Tensor:
    """Less the mean of each one's class."""
    sums = vectors.new_zeros(int(labels.max()) + 1, vectors.shape[1]).index_add_(0, labels, vectors)
    return vectors - (sums / torch.bincount(labels).clamp_min(1)[:, None])[labels]
