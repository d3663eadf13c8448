"""The image processors of the library transformers, as transforms that were compared with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...data.transform import Transform
from ...errors import OutskirtsError, reason
from ...files import is_file, load_json
from ...seeding import generator
from ..clip import PROCESSOR, RESAMPLE, reading_folder
from .spec import ModelSpec

__all__ = ["processor_transform"]

#: What a text states where it says all of a transform.
_ALL = ("size", "crop", "interpolation", "fit", "mean", "std")
#: Height and width of what both are shown. Their sides are 1 to 2, which leaves no fraction of a pixel to round.
_SHAPES = ((128, 64), (480, 960))
#: How far both may be apart, as a mean over all pixels, in levels of a byte: ways to resize round differently.
_LEVELS = 1.0


def processor_transform(folder: Path, spec: ModelSpec) -> Transform | None:
    """The transform that does what the image processor of a folder does; None if it has none, or `spec` says it all.

    Raises:
        OutskirtsError: If it does what a `Transform` does not.
    """
    file = folder / "preprocessor_config.json"
    if not is_file(file) or all(name in spec.options for name in _ALL):
        return None
    described = _described(load_json(file, {**PROCESSOR, "do_rescale": (bool, None), "rescale_factor": (float, None)}))
    kind, processor = _processor(folder)
    known = next((one for one in described if processor is not None and _agree(one, processor)), None)
    if known is None:
        raise OutskirtsError(
            f"{file} asks for a preprocessing that is not known here: {kind}. It must resize (bilinear or bicubic), "
            f"crop a square, and normalise; say all of what is right: {', '.join(f'{name}=' for name in _ALL)}."
        )
    side = spec.number("size", int) or known.size
    resized = round(known.resident_size * side / known.size)
    return replace(known, size=side, resize=resized if resized > side else None)


def _described(about: Mapping[str, Any]) -> Iterator[Transform]:
    """What the file of a processor may mean: what it says as a rule, and the same without a crop."""
    resize, crop, resample = about.get("size", {}), about.get("crop_size"), about.get("resample")
    shorter, squashed = _side(resize, "shortest_edge"), _side(resize, "height")
    own = _side(crop, "height") if about.get("do_center_crop") and crop else squashed or shorter
    share = about.get("crop_pct")
    interpolation = RESAMPLE.get(2 if resample is None else resample)
    if own is None or interpolation is None:
        return
    resized = squashed or (round(shorter / share) if share and shorter else shorter) or own
    # Numbers that go with pixels of another scale than that of 0 to 1 are brought to it.
    factor = about.get("rescale_factor")
    scale = 255 * (1 / 255 if factor is None else factor) if about.get("do_rescale") is not False else 255
    mean, std = (tuple(about.get(name) or (0.5,) * 3) for name in ("image_mean", "image_std"))
    if about.get("do_normalize") is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    mean, std = (tuple(value / scale for value in values) for values in (mean, std))
    whole = Transform(own, len(mean), mean, std, None, interpolation, fit="squash")
    if resized >= own:
        yield replace(whole, resize=resized if resized > own else None, fit="squash" if squashed else "crop")
    # As ConvNeXt's does above a certain size.
    yield whole


def _side(value: Any, name: str) -> int | None:
    """A side in pixels, of the forms that image processors have for it; None where it is not said so."""
    if isinstance(value, Mapping):
        return value.get(name)
    return value if isinstance(value, int) else None


def _processor(folder: Path) -> tuple[str, Any]:
    """The kind of a folder's processor, and itself; None where it cannot be made, and why."""
    try:
        with reading_folder(folder, "folder") as library:
            made = library.AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except OutskirtsError as error:
        return reason(error).removesuffix("."), None
    return f"that of {type(made).__name__}", made


def _agree(transform: Transform, processor: Any) -> bool:
    """Whether both make the same of pictures of noise."""
    draws = generator(0, "processor")
    for shape in _SHAPES:
        picture = torch.randint(0, 256, (3, *shape), generator=draws, dtype=torch.uint8)
        ours = transform.device(transform.host(picture)[None])
        try:
            theirs = processor(images=Image.fromarray(picture.permute(1, 2, 0).numpy()), return_tensors="pt")
            pixels = torch.as_tensor(theirs["pixel_values"]).float()
        except Exception:  # What is described wrongly makes the library fail in any way.
            return False
        if ours.shape != pixels.shape or _apart(ours, pixels, transform) > _LEVELS:
            return False
    return True


def _apart(ours: Tensor, theirs: Tensor, transform: Transform) -> float:
    """The mean difference in levels of a byte, of the nearest of all shifts by up to one pixel: half of one may be
    rounded up or down.
    """
    height, width = ours.shape[2:]
    levels = 255 * torch.tensor(transform.std).view(-1, 1, 1)
    inner = ours[..., 1 : height - 1, 1 : width - 1]
    shifted = (theirs[..., y : y + height - 2, x : x + width - 2] for y in range(3) for x in range(3))
    return min(float(((inner - one) * levels).abs().mean()) for one in shifted)
