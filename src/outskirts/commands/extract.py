"""``outskirts extract``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from ..data.sources import open as open_images
from ..devices import resolve_device
from ..extraction.extract import extract
from ..extraction.saving import require_outputs_file, save_outputs
from ..models.heads import Space
from ..training.loading import load_for
from .console import Command, parse, telling
from .stated import Stated

__all__ = ["COMMAND", "main"]


@dataclass(frozen=True, kw_only=True)
class Extract(Command):
    """Write the features and logits of images, by any classifier, to one file for other tools."""

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts extract folder:photos/test --model runs/photos --out test.npz",
        "outskirts extract folder:textures --model torchvision:resnet18?weights=my.pt --out textures.safetensors",
    )

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SPEC")]
    """Images to read, as a spec such as folder:photos/test."""
    model: str
    """Folder of a run, or a classifier that was trained elsewhere, such as timm:resnet50?weights=my.pt, hf:DIR,
    onnx:FILE or module:package.file:function."""
    out: Path
    """The file to write, which must be new: FILE.npz for NumPy arrays, or FILE.safetensors for tensors."""
    features: Space = "head"
    """Features that are written: the input of the linear layer (head), the output of the backbone (raw), or points on
    the hypersphere (projection)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the network."""
    keep: Literal["fp32", "fp16"] = "fp32"
    """Precision of the features that are written; fp16 halves the space for sets of millions of images."""
    device: str = "auto"
    """Device of the network: auto, cpu, cuda or mps."""
    skip_corrupt: bool = False
    """Leave out images that cannot be decoded, and count them."""
    transform: Stated = field(default_factory=Stated)
    """Preprocessing of images for a classifier that was trained elsewhere; a run knows its own."""

    def __call__(self) -> None:
        images = open_images(self.data)
        require_outputs_file(self.out, images)
        with telling() as (saying, progress):
            classifier = load_for(self.transform.of(self.model), images, saying)
            outputs = extract(
                classifier,
                images,
                features=self.features,
                precision=self.precision,
                keep=self.keep,
                device=resolve_device(self.device),
                skip_corrupt=self.skip_corrupt,
                progress=lambda done, total: progress("extracting", done, total),
            )
            save_outputs(self.out, outputs, images, classifier.classes, saying)


COMMAND = Extract


def main(arguments: Sequence[str]) -> None:
    """Extract, and write the file."""
    parse(Extract, "extract", arguments)()
