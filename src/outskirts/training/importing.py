"""Run folders of checkpoints that others have trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from .. import seeding
from ..data.imageset import ImageSet
from ..data.notes import notes_of
from ..data.reading import Reading
from ..data.sources import open as open_images
from ..data.transform import Transform
from ..errors import OutskirtsError, unknown
from ..extraction.extract import extract
from ..files import require_empty
from ..locking import only_writer
from ..methods import registry
from ..models.backbones import build_backbone, native_size
from ..models.classifier import Classifier
from ..models.clip import ClipTower, text_prototypes
from ..models.heads import PrototypeHead
from ..models.published import LAYOUTS, Published
from ..models.weights import load_weights, read_checkpoint, require_fit
from ..paths import home_expanded, output_path
from ..telling import Say, silence
from .config import Recipe, resolve_recipe
from .rebuilding import assemble
from .run import Run
from .validation import with_validation

__all__ = ["import_checkpoint"]

_SMALL, _LARGE = 32, 224
#: Images with a shorter side are small ones, such as CIFAR's, whatever the network.
_THUMBNAIL = 64
#: What the shorter side of a large image becomes before its centre of 224 pixels is cut out.
_LARGE_RESIZE = 256
#: Presets by the number of classes; those of ImageNet-100 have as many neighbours as those of CIFAR-100.
_PRESETS = {10: "cifar10", 100: "cifar100"}


def import_checkpoint(
    layout: str,
    file: Path | str,
    data: ImageSet | str | Path,
    out: Path | str,
    *,
    backbone: str | None = None,
    size: int | None = None,
    resize: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    say: Say = silence,
) -> Run:
    """Turn a checkpoint into a finished run.

    Arguments:
        layout: Repository that saved it, a name in `outskirts.models.published.LAYOUTS`.
        file: A file of tensors; nothing else that may be in it is run.
        data: The images that it was trained on, or their spec, with the classes in the order of its labels; detectors
            are fitted to them.
        out: Folder of the new run; it must be new or empty.
        backbone: The network's name, where the file does not tell.
        size: Side of the network's input in pixels; that of its stem, 32 or 224, or of its CLIP folder, unless given.
            NCIS's stem takes both: 224 where the images are larger than 64 pixels.
        resize: Shorter side of an image in pixels before its centre is cut out; the size itself unless given.
        mean: Mean of the pixels of each channel, [3], on the scale of 0 to 1; as published unless given.
        std: Standard deviation of the pixels of each channel, [3], on the same scale; as published unless given.
        say: Told what was not in the file, what is to be known of such a file, and what k the detector `knn` takes
            where that is published: of CIDER and NPOS, with 10 or 100 classes.

    Raises:
        OutskirtsError: If the file is of another layout, or lacks tensors or has others; they are listed.
    """
    if layout not in LAYOUTS:
        raise unknown("layout of a checkpoint", layout, LAYOUTS)
    file, out, images = home_expanded(file), output_path(out), open_images(data)
    images.require_trainable()
    published = LAYOUTS[layout](read_checkpoint(file), backbone or "", len(images.classes))
    large = published.large is not None and min(images.image(0).shape[1:]) > _THUMBNAIL
    small = published.backbone.endswith("-cifar") and not large
    # 0 was the default of both sizes in version 0.1.
    side = size or native_size(published.backbone) or (_SMALL if small else _LARGE)
    neighbours = None
    if "neighbours" not in published.settings:
        neighbours = _published_neighbours(published.method, len(images.classes))
    options = {
        "backbone": published.backbone,
        "size": side if large else size,
        "data": images.spec,
        **published.settings,
        **({"neighbours": neighbours} if neighbours else {}),
    }
    recipe = resolve_recipe(published.method, options)
    with seeding.isolated(0, "import"):
        network = build_backbone(published.backbone, 3, side)
        usual_mean, usual_std = (published.large if large else None) or published.normalization
        transform = network.transform or Transform(
            side, 3, usual_mean, usual_std, resize or (_LARGE_RESIZE if large and side == _LARGE else None)
        )
        # Published code reads images by torchvision, which ignores EXIF data, and drops alpha channels.
        read = Reading(upright=False, background=None)
        transform = replace(
            transform, mean=tuple(mean or transform.mean), std=tuple(std or transform.std), reading=read
        )
        classifier = assemble(recipe, network, transform, images.classes).eval()
    lacking = _fill(classifier, published, f"The checkpoint {file} is not laid out as '{layout}'")
    with only_writer(out):
        require_empty(out)
        given = {"backbone": backbone, "size": size, "resize": resize, "mean": mean, "std": std}
        words = _words(layout, file, images, given)
        run = _written(Run(out), recipe, classifier, images, lacking, words, say)
    for note in (published.note, *notes_of({"Training images": images})):
        if note:
            say(note)
    if neighbours:
        say(
            f"The detector knn takes k={neighbours} for this run, as published; choose another when you evaluate it: "
            "--detectors knn:k=K"
        )
    return run


def _published_neighbours(method: str, classes: int) -> int | None:
    """The published k of the detector `knn`, if the method has one for so many classes."""
    preset = registry[method].presets.get(_PRESETS.get(classes, ""), {})
    return preset.get("neighbours")


def _words(layout: str, file: Path, images: ImageSet, given: Mapping[str, Any]) -> list[str]:
    """The command line that imports the same, but for the folder of the run."""
    words = ["outskirts", "import", layout, str(file.absolute()), "--data", images.spec]
    for name, value in given.items():
        if value is not None:
            words += [f"--{name}", *(map(str, value) if isinstance(value, list | tuple) else [str(value)])]
    return words


def _written(
    run: Run,
    recipe: Recipe,
    classifier: Classifier,
    images: ImageSet,
    lacking: bool,
    words: Sequence[str],
    say: Say,
) -> Run:
    """Write the folder of a finished run, its prototypes those of the images where the checkpoint has none."""
    if lacking:
        say("The checkpoint has no prototypes; the mean direction of each class's training images takes their place.")
        _class_means(classifier, images)
    run.begin(recipe, *with_validation(images, None, recipe.training), imported=words)
    run.save_classifier(classifier, recipe)
    return run


def _fill(classifier: Classifier, published: Published, whose: str) -> bool:
    """Load the checkpoint's tensors; returns whether prototypes were missing, which is no error."""
    own, state = classifier.state_dict(), dict(published.state)
    kinds = ("head.linear.weight", "head.weight", "head.prototypes")
    weight = next((state[name] for name in kinds if name in state), None)
    if weight is not None and len(weight) != len(classifier.classes):
        raise OutskirtsError(
            f"The checkpoint was trained on {len(weight)} classes, and these images are of {len(classifier.classes)}; "
            "pass what it was trained on."
        )
    known = {name: value for name, value in own.items() if name.startswith(published.own)} if published.own else {}
    lacking = "head.prototypes" in own and "head.prototypes" not in {**state, **known}
    if lacking:
        known["head.prototypes"] = own["head.prototypes"]
    require_fit(own, {**state, **known}, whose, published.left)
    load_weights(classifier, state, strict=False)
    tower = classifier.backbone
    if isinstance(tower, ClipTower) and isinstance(classifier.head, PrototypeHead):
        classifier.head.prototypes.copy_(text_prototypes(tower.folder, classifier.classes))
    return lacking


@torch.no_grad()
def _class_means(classifier: Classifier, images: ImageSet) -> None:
    assert isinstance(classifier.head, PrototypeHead)
    outputs = extract(classifier, images, features="projection")
    points, labels = outputs.features.float(), outputs.need("labels", "import")
    sums = torch.zeros_like(classifier.head.prototypes).index_add_(0, labels, points)
    classifier.head.prototypes.copy_(normalize(sums, dim=1))
