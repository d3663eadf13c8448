"""Which images a training learns from, and on which it is validated."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..data.imageset import ImageSet
from ..data.leakage import TOLERATED, overlap, require_no_shared_groups
from ..data.set_record import SetRecord
from ..data.sources import beside, reopen
from ..errors import OutskirtsError
from ..telling import Say, silence
from ..texts import counted, verb
from .config import TrainConfig
from .run import Run

__all__ = ["few", "reopened", "require_apart", "training_sets", "validation_beside", "with_validation"]

#: Fewer validation images are too few, and the share of the training images that is better.
_FEW, _BETTER = 50, 0.2


def training_sets(run: Run) -> tuple[ImageSet, ImageSet]:
    """The training and the validation images of a run.

    Raises:
        OutskirtsError: If its specs open other images than those that it was trained on.
    """
    config = run.given.config() if run.given is not None else run.recipe().training
    images, val_images = with_validation(*reopened(config), config, run.known_sets())
    run.require_same_sets(images, val_images)
    return images, val_images


def reopened(config: TrainConfig) -> tuple[ImageSet, ImageSet | None]:
    """The images that are named in the options of a run, before any are set aside."""
    return reopen(config.require_data()), reopen(config.val) if config.val else None


def with_validation(
    images: ImageSet,
    val_images: ImageSet | None,
    config: TrainConfig,
    recorded: Mapping[str, SetRecord] | None = None,
) -> tuple[ImageSet, ImageSet]:
    """Training and validation images: a part of the former is set aside unless there are some of the latter.

    Groups and copies of an image are all in one of the two.

    Arguments:
        images: Images to train on.
        val_images: Validation images.
        config: Says which part is set aside.
        recorded: What a run has kept of its sets; None where it is new. Runs of earlier versions may have copies in
            both, and are opened as they were.
    """
    if val_images is not None:
        val_images = val_images.align(images.classes)
    else:
        images, val_images = _parted(images, config, recorded)
        images.require_trainable()
        if not len(val_images):
            raise OutskirtsError(
                f"A share of {config.val_fraction} leaves no image for validation; choose a larger val_fraction, "
                "or pass val."
            )
    if (val_images.labels < 0).any():
        raise OutskirtsError(f"{val_images.spec} has images without a label; validation needs all.")
    return images, val_images


def validation_beside(images: ImageSet, say: Say = silence) -> ImageSet | None:
    """The validation images that lie beside training images, in another sub-folder; None if there are none."""
    found = beside(images.spec, "val")
    if found is None or not found.classes:
        return None
    say(f"Validation images: {found.spec}, beside the training images.")
    return found


def few(val_images: ImageSet, fraction: float | None) -> str:
    """A warning if there are so few validation images that they tell little; empty otherwise.

    Arguments:
        val_images: Validation images.
        fraction: The share of the training images that they are; None if they were named.
    """
    count = len(val_images)
    if count >= _FEW:
        return ""
    # The wider half of the 95 % interval of an accuracy of 50 %.
    points = round(98 / math.sqrt(count))
    more = "--val SPEC" if fraction is None or fraction >= _BETTER else f"--val-fraction {_BETTER:g}, or --val SPEC"
    return (
        f"There {verb(count, 'are')} {counted(count, 'validation image')}, too few to rely on: the accuracy on them "
        f"can be off by {points} points, and what is chosen on them is uncertain. More are better ({more})."
    )


def _parted(
    images: ImageSet, config: TrainConfig, recorded: Mapping[str, SetRecord] | None
) -> tuple[ImageSet, ImageSet]:
    cut = f"{100 * (1 - config.val_fraction):g}"

    def parted(whole_copies: bool) -> tuple[ImageSet, ImageSet]:
        first, second = (images.part(bounds, config.seed, whole_copies) for bounds in (f"0-{cut}%", f"{cut}-100%"))
        return first, second

    now = parted(whole_copies=True)
    if _are(now, recorded) if recorded is not None else _has_all(*now):
        return now
    before = parted(whole_copies=False)
    return before if not recorded or _are(before, recorded) else now


def _has_all(images: ImageSet, val_images: ImageSet) -> bool:
    """Whether there are training images of every class, and validation images: not where most are copies."""
    return len(val_images) > 0 and len(images.labels.unique()) == len(images.classes)


def _are(sets: tuple[ImageSet, ImageSet], recorded: Mapping[str, SetRecord]) -> bool:
    """Whether these are the training and validation images that were recorded."""
    pairs = zip(("training", "validation"), sets)
    return all(name in recorded and not recorded[name].difference(images) for name, images in pairs)


def require_apart(images: ImageSet, val_images: ImageSet) -> None:
    """Raise unless validation images are others than training images, but for the copies that real sets have."""
    shared = overlap(images, val_images)
    if shared > TOLERATED * len(val_images):
        raise OutskirtsError(
            f"{shared:,} of the {len(val_images):,} validation images ({val_images.spec}) {verb(shared, 'are')} also "
            "training images, so "
            "they would measure what was memorised. Pass others, or leave out val: a part of the training images is "
            "then set aside."
        )
    require_no_shared_groups(val_images, "validation", images, "training")
