"""The run folder: everything one training leaves on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import yaml

from .. import notebook
from ..contents import misfit
from ..data.imageset import ImageSet
from ..data.likeness import save_likenesses
from ..data.set_record import SetRecord, load_sets, require_same_sets, save_sets
from ..errors import OutskirtsError
from ..files import (
    LOCK_FILES,
    is_file,
    load_json,
    load_yaml,
    reading,
    require_empty,
    save_json,
    save_tensors,
    write_text,
)
from ..models.classifier import Classifier
from ..paths import home_expanded
from ..renamed import current
from ..temporary import remove_abandoned
from .config import Recipe, resolve_recipe
from .given import KIND, Given
from .provenance import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMAT", "Run", "read_options"]

#: Raised when a run folder of an earlier version can no longer be read.
FORMAT = 1


@dataclass(frozen=True)
class Run:
    """A run folder.

    ========================  ==========================================================
    ``config.yaml``           all options, resolved; trains the same run again
    ``metrics.jsonl``         one line per record of the training
    ``data.json``             which images it was trained and validated on
    ``likeness.safetensors``  what tells those images, and nearly equal ones, from others
    ``checkpoint/``           the latest state to resume from
    ``model.safetensors``     the trained classifier, with its transform and class names
    ``environment.json``      the command, the versions and the machine
    ``outputs/``              what the classifier said of each image set
    ``evaluation.json``       the options of the evaluation
    ``transform.json``        what happened to its images before the network
    ``results.csv``           the evaluation
    ``report.html``           all of it, to read
    ========================  ==========================================================
    """

    path: Path

    @classmethod
    def open(cls, path: Run | Path | str) -> Run:
        """An existing run folder, or an error that says why it is none; a run is itself."""
        if isinstance(path, Run):
            return path
        run = cls(home_expanded(path))
        if not run.path.is_dir():
            raise OutskirtsError(f"The run folder {path} does not exist.")
        if not is_file(run.config):
            raise OutskirtsError(f"{path} is not a run folder: it has no config.yaml.")
        run.options()
        return run

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def data(self) -> Path:
        return self.path / "data.json"

    @property
    def likeness(self) -> Path:
        """What tells its images from others; none where they were too many to be in memory."""
        return self.path / "likeness.safetensors"

    @property
    def measured(self) -> Path:
        """Which images its results are of."""
        return self.path / "measured.json"

    @property
    def evaluation(self) -> Path:
        """The options that its results were made with."""
        return self.path / "evaluation.json"

    @property
    def transform(self) -> Path:
        """What happened to the images of the latest evaluation before the network."""
        return self.path / "transform.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint" / "state.safetensors"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def outputs(self) -> Path:
        return self.path / "outputs"

    @property
    def gallery(self) -> Path:
        return self.path / "gallery"

    @property
    def seen_by_generator(self) -> Path | None:
        """The keys of what the generator of its synthetic images has seen, if it was trained with any."""
        return _existing(self.gallery / "synthetic.npy")

    @property
    def seen_as_outliers(self) -> Path | None:
        """The keys of the images that it was trained with as outliers, if there were any from disk."""
        return _existing(self.gallery / "exposed.npy")

    @property
    def seen_before(self) -> Path | None:
        """The keys of the images that its network has learnt from besides its training images: synthetic ones, and
        those of the run that it began from.
        """
        return _existing(self.gallery / "learnt.npy")

    @property
    def exposed(self) -> Path | None:
        """`seen_as_outliers` by its name in version 0.1."""
        current("exposed", {"exposed": "seen_as_outliers"}, "attribute")
        return self.seen_as_outliers

    @property
    def continuation(self) -> str:
        """The command that goes on with the run while it is unfinished."""
        return f"outskirts train --resume {quote(str(self.path))}"

    def __fspath__(self) -> str:
        """A run stands for its folder wherever a path is taken."""
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({', '.join([repr(str(self.path)), *self._facts().values()])})"

    def _repr_html_(self) -> str:
        return notebook.table("Run", [("path", self.path), *self._facts().items()])

    def _facts(self) -> dict[str, str]:
        """What it trained and how far it came, by name; a folder that is damaged or not there yet is shown, too."""
        try:
            options = self.options()
            state = (
                "finished" if self.model.is_file() else f"at step {max((r['step'] for r in self.records()), default=0)}"
            )
        except (OutskirtsError, OSError):
            return {"state": "damaged" if self.config.is_file() else "not begun"}
        evaluated = {"results": "evaluated"} if (self.path / "results.csv").is_file() else {}
        data = options.get("data") or "images made in Python"
        if "model" in options:
            return {"model": str(options["model"]), "state": "trained elsewhere"}
        return {"method": str(options["method"]), "data": str(data), "state": state, **evaluated}

    def plot_training(self) -> Figure:
        """The losses and the validation accuracy against the epoch, and the diagnostics of the method, a panel each.

        Raises:
            OutskirtsError: If the log is damaged, or there is nothing in it yet.
        """
        from ..figures.panels import panels
        from ..figures.training import drawings

        if not (drawn := drawings(list(self.records()))):
            raise OutskirtsError(f"{self.metrics} has no records of a training yet.")
        return panels(drawn, f"Training of {self.path.name}", size=(3.8, 2.8))

    def options(self) -> dict[str, Any]:
        """The content of ``config.yaml``."""
        options = read_options(self.config)
        if clause := misfit(options, {"model" if "model" in options else "method": str}):
            raise OutskirtsError(f"{self.config} is damaged: it names no method ({clause}).")
        return options

    @property
    def given(self) -> Given | None:
        """The classifier that was trained elsewhere; None where the run has one of its own."""
        options = self.options()
        if "model" not in options:
            return None
        if clause := misfit(options, KIND):
            raise OutskirtsError(f"{self.config} is damaged: {clause}.")
        return Given(**options)

    def recipe(self) -> Recipe:
        """What the run was trained with."""
        if (given := self.given) is not None:
            raise OutskirtsError(f"The classifier {given.model} was trained elsewhere, so {self.path} has no training.")
        options = self.options()
        return resolve_recipe(options.pop("method"), options)

    def require_new(self) -> None:
        """Raise unless the folder is new or empty, or holds only what a training that was killed writes first."""
        if self.path.is_dir() and not self.config.exists():
            remove_abandoned(self.path)
            begun = {self.environment.name, self.data.name, self.likeness.name, self.metrics.name}
            found = sorted({path.name for path in self.path.iterdir()} - set(LOCK_FILES))
            # The file that is written first says who made the folder.
            if others := [name for name in found if name not in begun or not self._begun_here()]:
                raise OutskirtsError(
                    f"{self.path} exists and is not an empty folder: it holds files that outskirts has not made, such "
                    f"as {others[0]}. Move them, or choose another folder."
                )
            return
        require_empty(self.path, self._remedy())

    def _remedy(self) -> str:
        if self.model.is_file():
            return "the run in it is finished. Choose another folder (--out)."
        if self.config.is_file():
            return f"choose another (--out), or continue the unfinished run in it: {self.continuation}"
        return "choose another (--out)."

    def _begun_here(self) -> bool:
        try:
            about = load_json(self.environment)
        except OutskirtsError:
            return False
        return isinstance(about, Mapping) and {"command", "outskirts"} <= about.keys()

    def begin_given(self, given: Given, images: ImageSet, val_images: ImageSet, command: Sequence[str]) -> None:
        """Make the folder of a classifier that was trained elsewhere.

        Arguments:
            given: The classifier, and the specs of the images.
            images: Training images of the classifier.
            val_images: Validation images.
            command: Words of the command that opens it, but for the folder.
        """
        save_json(self.environment, environment(command))
        self._save_sets(images, val_images)
        text = yaml.safe_dump({"format": FORMAT, **asdict(given)}, sort_keys=False, allow_unicode=True)
        write_text(self.config, text)

    def begin(
        self,
        recipe: Recipe,
        images: ImageSet,
        val_images: ImageSet,
        notes: Sequence[str] = (),
        imported: Sequence[str] | None = None,
    ) -> None:
        """Make the folder: what the run is made with, where, and from which images.

        Arguments:
            recipe: What it is trained with.
            images: Training images.
            val_images: Validation images.
            notes: What a reader should know of the images.
            imported: Words of the command that makes the run, but for its folder, where no training does.
        """
        save_json(self.environment, environment(imported or ()))
        self._save_sets(images, val_images)
        counts = {"kind": "data", "step": 0, "epoch": 0.0, "images": len(images), "val_images": len(val_images)}
        told = {"skipped": images.skipped + val_images.skipped} | ({"notes": list(notes)} if notes else {})
        write_text(self.metrics, json.dumps({**counts, **told}) + "\n")
        text = yaml.safe_dump({"format": FORMAT, **recipe.flat()}, sort_keys=False, allow_unicode=True)
        write_text(self.config, text)

    def _save_sets(self, images: ImageSet, val_images: ImageSet) -> None:
        sets = {"training": images, "validation": val_images}
        save_sets(self.data, sets)
        if known := {name: one.likeness for name, one in sets.items() if one.likeness is not None}:
            save_likenesses(self.likeness, known)

    def known_sets(self) -> dict[str, SetRecord] | None:
        """What is kept of its training and validation images; None before it is begun, nothing in runs of 0.1."""
        return load_sets(self.data) if self.config.is_file() else None

    def require_same_sets(self, images: ImageSet, val_images: ImageSet) -> None:
        """Raise if these are not the training and validation images that the run was begun with.

        Runs of version 0.1 do not say which they were.
        """
        sets = {"training": images, "validation": val_images}
        require_same_sets(load_sets(self.data), sets, f"The run {self.path} was trained")

    def records(self) -> Iterator[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a last one that was cut off in writing does not count."""
        lines = ""
        if is_file(self.metrics):
            with reading(self.metrics):
                lines = self.metrics.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(lines.split("\n")[:-1], start=1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise OutskirtsError(f"{self.metrics} is damaged: line {number} is no record ({error}).") from error
            if clause := misfit(record, _LINE) or misfit(record, _scalars(record)):
                raise OutskirtsError(f"{self.metrics} is damaged: line {number} is no record ({clause}).")
            yield {"kind": record["kind"], "step": record["step"], **record}

    def save_classifier(self, classifier: Classifier, recipe: Recipe) -> None:
        """Write ``model.safetensors``."""
        save_tensors(
            self.model,
            classifier.state_dict(),
            {
                "format": FORMAT,
                "method": recipe.method,
                "backbone": classifier.architecture,
                "transform": classifier.transform.to_json(),
                "classes": classifier.classes,
            },
        )


#: What every line of a log has, and what it may have that is no number.
_LINE = {
    "kind": str,
    "step": int,
    "epoch": float,
    "warning": (str, None),
    "skipped": ([str], None),
    "notes": ([str], None),
}


def _scalars(record: Mapping[str, Any]) -> dict[str, Any]:
    """The kinds of all else that a line has, which are numbers."""
    return {name: float for name in record if name not in _LINE}


def read_options(file: Path) -> dict[str, Any]:
    """The options in a YAML file, or in that of a run folder, without its format, which is checked."""
    file = file / "config.yaml" if file.is_dir() else file
    options = load_yaml(file, f"The configuration {file} does not exist.")
    if clause := misfit(options, {"method": (str, None)}):
        raise OutskirtsError(f"{file} is damaged: it holds no mapping of options ({clause}).")
    version = options.pop("format", FORMAT)
    if version != FORMAT:
        raise OutskirtsError(
            f"{file} was written in format {version} of the run folder; this version of outskirts reads {FORMAT}. "
            "Train again, or use the version that wrote it."
        )
    return options


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
