"""Outliers that a trained run would train with, as pictures: each made of one image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..errors import OutskirtsError
from ..figures.contact_sheet import denormalized, save_png
from ..files import load_json, require_alike, require_empty, save_json
from ..locking import only_writer
from ..methods import registry
from ..methods.preview import synthesize
from ..paths import output_path
from ..synthesis.outliers import Outliers
from ..telling import Progress, Say, nobody, silence
from ..texts import counted
from ..training.loading import load
from ..training.run import Run

__all__ = ["synthesize_images"]

#: What a folder was begun with, as long as it is not finished.
_STATE = "state.json"


def synthesize_images(
    run: Run | Path | str,
    out: Path | str,
    *,
    method: str | None = None,
    data: ImageSet | str | Path | None = None,
    count: int = 96,
    epoch: int | None = None,
    seed: int = 0,
    say: Say = silence,
    progress: Progress = nobody,
) -> Outliers:
    """Make an outlier of each image with the method of a trained run, without training.

    Writes ``images/000000.png`` and so on, ``outliers.png``, the sources above the outliers, and ``manifest.json``.

    Arguments:
        run: A trained run of a method that makes outliers of images, or its folder.
        out: Folder for the pictures: new, empty, or begun with the same options and stopped, and then it goes on.
        method: The method that the run must be of; any method that makes outliers of images unless given.
        data: Labelled images of the run's classes, or their spec; its training images unless given.
        count: Number of images to make outliers of.
        epoch: Epoch of the training, counted from 1, whose strength is used; the last one unless given.
        seed: Seed of the choice of images and of the synthesis.
        say: Told what was made.
        progress: Told of the pictures written.

    Raises:
        OutskirtsError: If the folder is not empty, the run is of another method, or its method makes no
            outliers of images.
    """
    run, out = Run.open(run), output_path(out)
    recipe = run.recipe()
    if method not in (None, recipe.method):
        raise OutskirtsError(
            f"{run.path} was trained with '{recipe.method}', not '{method}'; name the method of the run "
            f"(outskirts synthesize {recipe.method})."
        )
    if (out / "manifest.json").is_file():
        require_empty(out)
    classifier = load(run.path)
    images = open_images(recipe.require_data() if data is None else data).align(classifier.classes)
    images = images.limit(min(count, len(images)), seed)
    epochs = max(1, recipe.training.epochs)
    if epoch is not None and not 1 <= epoch <= epochs:
        raise OutskirtsError(
            f"The run was trained for {counted(epochs, 'epoch')}; choose an epoch from 1 to {epochs} (--epoch)."
        )
    trained = registry[recipe.method](recipe.settings, classifier)
    if trained.queue_size:
        raise OutskirtsError(
            f"The method '{recipe.method}' makes outliers of features; make some with: outskirts synthesize boundary "
            f"--run {run.path} --out {out}"
        )
    last = epoch or epochs
    asked = {"epoch": last, "seed": seed, "weights": classifier.fingerprint()}
    asked |= {"data": images.spec, "fingerprint": images.fingerprint}
    with only_writer(out):
        with _begun(out, asked):
            outliers = synthesize(trained, images, out, seed=seed, epoch=last, epochs=epochs)
            if outliers is None:
                raise OutskirtsError(
                    f"The method '{recipe.method}' makes no outliers; pass a run of a method that does, such as "
                    "'ascood'."
                )
        pictures = denormalized(outliers.values, classifier.transform)
        manifest = []
        for place in range(len(outliers)):
            label = classifier.classes[int(outliers.labels[place])]
            file = out / "images" / f"{place:06d}.png"
            if not file.is_file():
                save_png(file, pictures[place])
            manifest.append({"image": f"images/{place:06d}.png", "made_of": images.name(place), "class": label})
            progress("writing", place + 1, len(outliers))
        record = {"run": str(run.path), "data": images.spec, "seed": seed, "outliers": manifest}
        save_json(out / "manifest.json", record)
        (out / _STATE).unlink()
    say(f"{counted(len(outliers), 'outlier')} in {out}; look at {out / 'outliers.png'}")
    return outliers


@contextmanager
def _begun(out: Path, asked: Mapping[str, Any]) -> Iterator[None]:
    """The first steps in a folder that is new, empty, or was begun alike and stopped; an error leaves it as it was."""
    state = out / _STATE
    new = not state.is_file()
    if new:
        require_empty(out)
        save_json(state, asked)
    require_alike(str(out), load_json(state), asked)
    try:
        yield
    except OutskirtsError:
        if new:
            state.unlink()
        raise
