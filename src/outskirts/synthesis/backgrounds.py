"""What is seen around an object, alone: cut-outs of images in which a published classifier sees none of it.

A classifier that has learned the surroundings of its objects rather than the objects takes the one for the other. Where
no images of the surroundings alone are at hand, they are cut out of images of the objects: of eight windows along an
image's border, the one in which a network trained on ImageNet sees least of the object at any place.

References:
    | Learning Deep Features for Discriminative Localization (Zhou et al., 2016)
    | https://arxiv.org/abs/1512.04150
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..data.decode import picture
from ..data.imageset import ImageSet
from ..data.reading import USUAL
from ..data.selection import class_positions
from ..data.sources import open as open_images
from ..data.sources.spec import placed
from ..data.transform import IMAGENET
from ..errors import OutskirtsError, unknown
from ..files import require_empty, require_path_part, save_json, whole_folder
from ..models.adapter import adapt
from ..models.heads import LinearHead
from ..models.stages import find_stages, hooked
from ..telling import Progress, Say, nobody, silence
from ..texts import counted

__all__ = ["Background", "Sight", "backgrounds", "cut_backgrounds", "imagenet_sight", "save_backgrounds", "windows"]

#: The probability that the object is there at each place [h, w] of an image [1, 3, H, W], from 0 to 1.
Sight = Callable[[Tensor], Tensor]

_MEAN, _STD = (torch.tensor(value).view(3, 1, 1) for value in IMAGENET)


@dataclass(frozen=True)
class Background:
    """A window of an image.

    Arguments:
        image: The position of the image in its set.
        top, left, side: Position and size of the window, in pixels.
        seen: The largest probability of the object at a place in it.
    """

    image: int
    top: int
    left: int
    side: int
    seen: float


def cut_backgrounds(
    data: ImageSet | str | Path,
    out: Path | str,
    objects: str | Sequence[str],
    *,
    network: str = "mobilenet_v2",
    weights: str = "IMAGENET1K_V1",
    share: float = 0.4,
    max_probability: float = 0.05,
    say: Say = silence,
    progress: Progress = nobody,
) -> ImageSet:
    """Cut the surroundings of an object out of images, to use them as OOD images.

    Writes PNG files, in a folder for each value of the images' attribute if they have one, and ``backgrounds.json``,
    which says what each was cut out of.

    Arguments:
        data: The images, or their spec.
        out: The folder, which must be new or empty. A bare name, as text, stands for a folder beside all fetched
            sets, and is opened by that name.
        objects: Categories of ImageNet that are the object: names, or numbers as in ``"7-24,80-100"``.
        network: Name of a classifier of torchvision.
        weights: Name of the published weights of that classifier.
        share: Side of a window, as a share of the shorter side of the image, above 0 and at most 0.5.
        max_probability: Largest probability of the object in the window, from 0 to 1; images in which all windows
            exceed it are left out.
        say: Told how many images gave a background.
        progress: Told of the images done.

    Returns:
        The cut-outs, whose classes are the values of the images' attribute.

    Raises:
        OutskirtsError: If a name is unknown, the weights cannot be fetched, the folder is not empty, or no window is
            free of the object.
    """
    images, out = open_images(data), placed(out)
    sight = imagenet_sight(objects, network, weights)
    found = backgrounds(images, sight, share=share, max_probability=max_probability)
    options = {"network": network, "weights": weights, "share": share, "max_probability": max_probability}
    about = {"objects": objects, **options}
    count = save_backgrounds(images, found, out, about, lambda done: progress("cutting out", done, len(images)))
    say(f"{count:,} of {counted(len(images), 'image')} gave a background: {out}")
    return open_images(out)


def windows(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """The top and left of the windows along an image's border: its corners, and half-way between them.

    >>> windows(96, 96, 48)
    [(0, 0), (0, 24), (0, 48), (24, 0), (24, 48), (48, 0), (48, 24), (48, 48)]
    """
    tops, lefts = (sorted({0, (whole - side) // 2, whole - side}) for whole in (height, width))
    return [(top, left) for top, left in product(tops, lefts) if top in (0, height - side) or left in (0, width - side)]


def imagenet_sight(objects: str | Sequence[str], network: str, weights: str, size: int = 320) -> Sight:
    """Where one of torchvision's classifiers of ImageNet sees some of its categories: its head, applied at every place.

    Arguments:
        objects: Names of categories, or numbers as in ``"7-24,80-100"``.
        network: A torchvision name, such as ``mobilenet_v2``, of a network that averages its last map.
        weights: Those weights' name, such as ``IMAGENET1K_V1``; torchvision fetches them unless its cache has them.
        size: Pixels to which the shorter side of an image is resized; larger than it was trained on, places are finer.

    Raises:
        OutskirtsError: If a name is unknown, the weights cannot be fetched, or the network has no such map.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if network not in known:
        raise unknown("torchvision model", network, known)
    published = torchvision.models.get_model_weights(network).__members__
    if weights not in published:
        raise unknown("set of weights", weights, published, f"of {network}")
    try:
        model: nn.Module = torchvision.models.get_model(network, weights=weights).eval()
    except OSError as error:
        raise OutskirtsError(f"The weights of '{network}' cannot be fetched ({error}).") from error
    chosen = class_positions(objects, published[weights].meta["categories"], f"the categories of {network}")
    backbone, head = adapt(model, torch.zeros(1, 3, 224, 224))
    last = find_stages(backbone.network, torch.zeros(1, 3, 224, 224))[-1]

    @torch.inference_mode()
    def sight(image: Tensor) -> Tensor:
        scale = size / min(image.shape[2:])
        resized = interpolate(image, scale_factor=scale, mode="bilinear", antialias=True, align_corners=False)
        maps: list[Tensor] = []
        with hooked(backbone.network, {last: [maps.append]}):
            backbone.network((resized - _MEAN) / _STD)
        if not isinstance(head, LinearHead) or maps[0].shape[1] != head.linear.in_features:
            raise OutskirtsError(
                f"The head of '{network}' is not applied to the mean of its last map; choose another network."
            )
        return head(maps[0][0].movedim(0, 2)).softmax(2)[..., chosen].sum(2)

    return sight


def backgrounds(
    images: ImageSet, sight: Sight, *, share: float = 0.4, max_probability: float = 0.05
) -> Iterator[tuple[Background, Tensor]]:
    """The window of each image in which least is seen of the object, where that is at most `max_probability`.

    Arguments:
        images: The set.
        sight: How much is seen of it where.
        share: The windows' side, as a share of the image's shorter side.
        max_probability: The largest probability that is taken for none.

    Yields:
        The window, and its pixels, uint8 [C, side, side].
    """
    if not 0 < share <= 0.5:
        raise OutskirtsError(
            f"share must be above 0 and at most 0.5, not {share}; a larger window always contains the middle."
        )
    if not 0 <= max_probability <= 1:
        raise OutskirtsError(f"max_probability must be from 0 to 1, not {max_probability}.")
    for i in range(len(images)):
        image = images.image(i, USUAL)
        _, height, width = image.shape
        side = max(1, round(share * min(height, width)))
        seen = sight(image.expand(3, -1, -1)[None].float() / 255)
        places = windows(height, width, side)
        # Pixel by pixel, so that a window has the places that it touches.
        fine = interpolate(seen[None, None], (height, width), mode="nearest-exact")[0, 0]
        most_seen = [float(fine[top : top + side, left : left + side].max()) for top, left in places]
        best = min(range(len(places)), key=most_seen.__getitem__)
        if most_seen[best] <= max_probability:
            top, left = places[best]
            yield Background(i, top, left, side, most_seen[best]), image[:, top : top + side, left : left + side]


def save_backgrounds(
    images: ImageSet,
    cutouts: Iterator[tuple[Background, Tensor]],
    out: Path,
    about: dict[str, object],
    progress: Callable[[int], object] = lambda done: None,
) -> int:
    """Write cut-outs as PNG files, in a folder for each value of the set's attribute if it has one; returns how many.

    ``backgrounds.json`` says what each was cut out of. Nothing is there unless all is.

    Arguments:
        images: What they were cut out of.
        cutouts: Backgrounds, as `backgrounds` finds them.
        out: The folder, which must not exist or be empty.
        about: What else the record should say.
        progress: Told how many images of the set are done.
    """
    require_empty(out)
    with whole_folder(out) as scratch:
        cut = []
        for background, pixels in cutouts:
            known = images.attribute
            value = known.values[int(known.index[background.image])] if known else None
            folder = scratch if value is None else scratch / require_path_part("A value of an attribute", value)
            folder.mkdir(parents=True, exist_ok=True)
            picture(pixels).save(folder / f"{background.image:06d}.png")
            cut.append(asdict(background))
            progress(background.image + 1)
        if not cut:
            raise OutskirtsError(
                f"The object is seen in every window of the {counted(len(images), 'image')}; raise max_probability, "
                "which is allowed in a window."
            )
        save_json(scratch / "backgrounds.json", {"images": images.spec, **about, "windows": cut})
    return len(cut)
