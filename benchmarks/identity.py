"""What it costs to know an image again, beside decoding it, and what tells images that look almost the same.

    python benchmarks/identity.py [--data SPEC] [--images 1000] [--rounds 7] [--threads 1]

The cost of hashing all bytes of a file, of hashing the decoded pixels, and of the thumbnail, each beside decoding the
same files in the same rounds: PNG files of 32 pixels, and JPEG files as large as photographs, of smooth noise with
grain. Then the seconds that it takes to compare every pair of thumbnails. With --data, which may be given more than
once, the images of these sets instead: the share of them that is found after they were saved as JPEG or at half their
size, and how many look almost the same as one before.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from decoding import photographs
from PIL import Image
from torch import Tensor

from outskirts.data.decode import decode, picture
from outskirts.data.identity import item_key
from outskirts.data.imageset import ImageSet
from outskirts.data.likeness import pixel_key, thumbnails
from outskirts.data.sources import open as open_images
from outskirts.data.transform import Transform
from outskirts.evaluation.lookalikes import lookalikes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.data:
        for spec in given.data:
            recall(open_images(spec), given.images)
        return
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small", Path(folder) / "large"
        small.mkdir(), large.mkdir()
        photographs(small, given.images, 32, 32)
        for path in small.iterdir():
            Image.open(path).save(path.with_suffix(".png"))
        photographs(large, max(1, given.images // 20), 1280, 960)
        cost("PNG files of 32 pixels", sorted(small.glob("*.png")), Transform(32), given.rounds)
        cost("JPEG files of photographs", sorted(large.iterdir()), Transform(224), given.rounds)
    search(10_000, 50_000)


def cost(title: str, files: list[Path], transform: Transform, rounds: int) -> None:
    """Each way to know images, in turn with decoding them; processor time of this thread."""
    images = [decode(path, path.name) for path in files]
    pixels = torch.stack([transform.host(image) for image in images])
    ways: dict[str, Callable[[], object]] = {
        "decoded": lambda: [decode(path, path.name) for path in files],
        "hash of the file": lambda: [item_key(path) for path in files],
        "hash of the pixels": lambda: [pixel_key(image) for image in images],
        "thumbnail": lambda: thumbnails(pixels),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            taken[name].append(time.process_time() - start)
    print(f"{title}, {np.mean([path.stat().st_size for path in files]) / 1000:.1f} kB")
    for name, times in taken.items():
        shares = sorted(100 * t / d for t, d in zip(times, taken["decoded"]))
        print(
            f"  {name:20} {1e6 * statistics.median(times) / len(files):9.1f} µs an image, "
            f"{statistics.median(shares):5.1f} % of decoding ({shares[0]:.1f} to {shares[-1]:.1f})"
        )


def search(queries: int, bank: int) -> None:
    """Every pair of two sets of random thumbnails."""
    random = torch.Generator().manual_seed(0)
    one, other = (torch.randint(0, 256, (n, 16, 16), generator=random).byte() for n in (queries, bank))
    start = time.perf_counter()
    lookalikes(one, other)
    print(f"{queries:,} thumbnails among {bank:,}: {time.perf_counter() - start:.1f} s")


def recall(images: ImageSet, most: int) -> None:
    """Images of a set, and what is made of them."""
    transform = Transform(min(64, min(images.image(0).shape[1:])))
    known = shown([picture(images.image(i)) for i in range(len(images))], transform)
    chosen = torch.linspace(0, len(images) - 1, min(most, len(images))).long()
    pictures = [picture(images.image(i)) for i in chosen.tolist()]
    print(f"{images.spec}: {len(images):,} images at {transform.size} pixels")
    print(f"  {int((lookalikes(known) >= 0).sum())} look almost the same as one before")
    halves = [one.resize((one.width // 2, one.height // 2), Image.Resampling.BICUBIC) for one in pictures]
    changed = {f"JPEG {q}": [jpeg(one, q) for one in pictures] for q in (60, 75, 95)}
    changed |= {"half size": halves, "half size, JPEG 75": [jpeg(one, 75) for one in halves]}
    for name, ones in changed.items():
        found = [lookalikes(a[None], b[None])[0] >= 0 for a, b in zip(shown(ones, transform), known[chosen])]
        print(f"  {name:20} {100 * np.mean(found):5.1f} % are found")


def shown(pictures: list[Image.Image], transform: Transform) -> Tensor:
    return thumbnails(ImageSet(pictures).resident(transform)[0])


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


if __name__ == "__main__":
    main()
