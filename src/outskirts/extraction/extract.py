"""One forward pass over an image set, kept on disk under a name that says exactly what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..arguments import check_arguments
from ..data.imageset import ImageSet
from ..data.likeness import Likeness, save_likenesses
from ..data.losses import Losses
from ..data.notes import require_sound
from ..data.selection import renumbered
from ..data.sources import open as open_images
from ..devices import repeatable
from ..errors import OutskirtsError
from ..models.classifier import Classifier
from ..models.heads import Space
from .columns import Columns
from .forward import LIKENESS, PASS, PassOptions, forward
from .outputs import Outputs
from .outputs_of import outputs_of
from .probes import FeatureProbe, Probe
from .store import LOSSES, SET, address, stored
from .transfer import to_host

__all__ = ["extract"]


@check_arguments
def extract(
    classifier: Classifier,
    image_set: ImageSet | str | Path,
    *,
    probes: Iterable[Probe] = (),
    features: Space = "head",
    store: Path | str | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    keep: Literal["fp32", "fp16"] = "fp32",
    device: torch.device | str = "cpu",
    batch_size: int = 250,
    skip_corrupt: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Outputs:
    """What a classifier says of every image of a set.

    Arguments:
        classifier: Is put in evaluation mode.
        image_set: Images, or their spec; they are brought to the classifier's input by its transform.
        probes: What else detectors need; gathered in the same pass, but not of tokens, which have no pixels.
        features: What `Outputs.features` are: ``head`` for what the linear layer is applied to, ``raw`` for what
            the backbone gives, ``projection`` for points on the sphere where the head has prototypes. The first two
            differ for heads that standardise their input; published numbers of ASCOOD apply the linear layer to raw
            features in some detectors, which ``raw`` reproduces.
        store: A folder of earlier outputs. They are addressed by weights, transform, images and precision, so
            they can never be those of something else.
        precision: Precision of the network.
        keep: Precision of the features and of what probes give; half of it is enough for sets of millions. Logits are
            float32.
        device: Where the network runs.
        batch_size: Images per forward pass.
        skip_corrupt: Leave out images that cannot be decoded; their names are then in `image_set.skipped`.
        progress: Called with the images done and the number of images to forward; never if all is in the store.
            `outskirts.progress` makes a bar of it.

    Returns:
        Features, logits and labels. Labels are places in `Classifier.classes`: -1 for an image of none of these.

    Raises:
        OutskirtsError: If there is no image, one cannot be decoded, or a file in the store is damaged.
    """
    image_set = open_images(image_set)
    if not len(image_set):
        raise OutskirtsError(f"There is nothing to extract: {image_set.spec or 'the image set'} holds no images.")
    options = PassOptions(precision, keep, torch.device(device), batch_size, skip_corrupt)
    classifier = classifier.to(device).eval()
    folder = None if store is None else Path(store) / address(classifier, image_set, precision, keep)
    wanted: dict[str, Probe] = {probe.key: probe for probe in probes if image_set.pictures}
    known = stored(folder, wanted, image_set, skip_corrupt)
    missing = [name for name in (PASS, *wanted) if name not in known]
    if missing and image_set.pictures and image_set.likeness is None:
        missing.append(LIKENESS)
    if missing:
        known |= _pass(classifier, image_set, missing, wanted, folder, options, progress)
    values = known.pop(PASS)
    # The store keeps them as the images number them.
    values["labels"] = renumbered(values["labels"], classifier.places(image_set.classes))
    given = {key: tensors["values"] for key, tensors in known.items()}
    through_head = [key for key, probe in wanted.items() if isinstance(probe, FeatureProbe)]
    return outputs_of(classifier, values, given, through_head, features, torch.device(device))


def _pass(
    classifier: Classifier,
    image_set: ImageSet,
    names: Sequence[str],
    probes: Mapping[str, Probe],
    folder: Path | None,
    options: PassOptions,
    progress: Callable[[int, int], None] | None,
) -> dict[str, dict[str, Tensor]]:
    """Make a pass over the images for the files of these names, in a folder if there is one; returns their columns."""
    device = torch.device(options.device)
    about = {"spec": image_set.spec, "skipped": []}
    paths = {name: None if folder is None else folder / f"{name}.safetensors" for name in names}
    files = {name: Columns(len(image_set), None if name == LIKENESS else paths[name], about) for name in names}
    inside = [probe for key, probe in probes.items() if key in files]
    try:
        with repeatable(), closing(forward(classifier, image_set, inside, files, options)) as passes:
            done = 0
            for places, tables in to_host(passes, device):
                done += len(places)
                for name, columns in tables.items():
                    files[name].put(columns)
                if progress is not None:
                    progress(done, len(image_set))
        require_sound(image_set)
        known = {name: file.finish(skipped=image_set.skipped) for name, file in files.items()}
        image_set.losses = Losses.of(image_set.lost)
        if folder is not None:
            image_set.losses.save(folder / LOSSES)
        if shown := known.pop(LIKENESS, None):
            image_set.likeness = Likeness.of(image_set.pixel_keys, shown["thumbnails"])
            if (path := paths[LIKENESS]) is not None:
                save_likenesses(path, {SET: image_set.likeness})
        return known
    finally:
        for file in files.values():
            file.discard()
