"""``outskirts synthesize``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tyro
from rich.progress import track

from ..data.sources import open as open_images
from ..errors import OutskirtsError, unknown
from ..figures.contact_sheet import pixels, save_png
from ..files import save_json
from ..methods import registry
from ..methods.preview import synthesize
from ..training.run import load
from . import synthesize_diffusion as imagined
from . import synthesize_features as feature_outliers
from . import synthesize_id as synthetic
from .console import console, options, say

__all__ = ["main"]


@dataclass(frozen=True)
class Synthesize:
    """Make an outlier of each image with a trained run, without training: pictures and a contact sheet.

    Outliers of features, rather than images, have options of their own: outskirts synthesize boundary --help.
    So have new images of the training classes: outskirts synthesize id --help; and outliers imagined by a diffusion
    model: outskirts synthesize ncis --help, or dream.
    """

    method: tyro.conf.Positional[str]
    """The method whose outliers to make, that of the run; or boundary or gaussian, for any run."""
    run: str = ""
    """A trained run."""
    data: str = ""
    """Labelled images of the run's classes; by default its training images."""
    out: str = ""
    """Where the pictures go; must be empty or new."""
    count: int = 96
    """How many."""
    epoch: int = 0
    """The epoch of the training whose strength is used; 0 for the last."""
    seed: int = 0
    """Of the choice of images and of the synthesis."""


def main(arguments: Sequence[str]) -> None:
    """Write one picture per outlier, ``outliers.png`` and ``manifest.json``."""
    if arguments and arguments[0] == "id":
        return synthetic.main(arguments[1:])
    if arguments and arguments[0] in ("ncis", "dream"):
        return imagined.main(arguments[0], arguments[1:])
    if arguments and arguments[0] in feature_outliers.FEATURE_SPACE:
        return feature_outliers.main(arguments[0], arguments[1:])
    given = options(Synthesize, "synthesize", arguments)
    if given.method in feature_outliers.FEATURE_SPACE:
        raise OutskirtsError(f"Name it first: outskirts synthesize {given.method} --run RUN --out DIR.")
    if given.method not in registry.names():
        raise unknown("method", given.method, [*registry.names(), *feature_outliers.FEATURE_SPACE])
    part = registry[given.method]
    run, out = feature_outliers.folders(given.run, given.out)
    recipe = run.recipe()
    if recipe.method != given.method:
        raise OutskirtsError(f"{given.run} was trained with '{recipe.method}', not '{given.method}'.")
    classifier = load(run.path)
    images = open_images(given.data or recipe.training.data).align(classifier.classes)
    images = images.limit(min(given.count, len(images)), given.seed)
    epochs = max(1, recipe.training.epochs)
    if not 0 <= given.epoch <= epochs:
        raise OutskirtsError(f"The run was trained for {epochs} epochs; choose --epoch from 1 to {epochs}.")
    method = part(recipe.settings, classifier)
    if method.queue_size:
        raise OutskirtsError(
            f"The method '{given.method}' makes outliers of features; make some with: outskirts synthesize boundary "
            f"--run {given.run} --out {given.out}"
        )
    outliers = synthesize(method, images, out, seed=given.seed, epoch=given.epoch or epochs, epochs=epochs)
    if outliers is None:
        raise OutskirtsError(f"The method '{given.method}' synthesises no outliers.")
    pictures = pixels(outliers.values, classifier.transform)
    manifest = []
    for place in track(range(len(outliers)), "writing", console=console, transient=True):
        label = classifier.classes[int(outliers.labels[place])]
        save_png(out / "images" / f"{place:06d}.png", pictures[place])
        manifest.append({"image": f"images/{place:06d}.png", "made_of": images.name(place), "class": label})
    save_json(
        out / "manifest.json", {"run": str(run.path), "data": images.spec, "seed": given.seed, "outliers": manifest}
    )
    say(f"{len(outliers)} outliers in {out}; look at {out / 'outliers.png'}")
