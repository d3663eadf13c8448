"""A classifier that knows what it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

from .. import notebook
from ..arguments import check_arguments
from ..bounds import Count
from ..data.decode import CorruptImage
from ..data.imageset import ImageSet
from ..detectors import Detector
from ..devices import resolve_device
from ..errors import OutskirtsError
from ..extraction.forward import PassOptions
from ..extraction.outputs import Outputs
from ..models.classifier import Classifier
from ..models.heads import Space
from ..paths import home_expanded, output_path
from ..telling import Progress, Say, nobody, silence
from ..training.run import Run
from .export.exporting import Exported, Format, exported
from .fitting import Terms, Work, fitted
from .folder import load_parts, save_parts
from .hub import fetched, pushed
from .judging import judge, judged
from .measurement import Measurement
from .measuring import Groups, measure
from .monitoring import Watch
from .opening import Images, opened
from .own_images import Sources
from .parts import Parts
from .verdicts import Verdicts

__all__ = ["Guard"]


class Guard(Parts):
    """A classifier, a fitted detector, and a threshold that accepts a stated share of in-distribution images.

    >>> guard = Guard.fit("runs/photos", calibration="folder:photos/calibration")  # doctest: +SKIP
    >>> guard.save("guards/photos")  # doctest: +SKIP
    >>> Guard.load("guards/photos").predict("new.jpg")[0]  # doctest: +SKIP
    Verdict(file='new.jpg', label='cat', confidence=0.98, score=-7.1, p_value=0.62, accepted=True, top=(('cat', 0.98),))
    """

    @classmethod
    @check_arguments
    def fit(
        cls,
        classifier: Classifier | Run | str | Path,
        train: ImageSet | str | Path | None = None,
        calibration: ImageSet | str | Path | None = None,
        detector: str | Detector = "auto",
        acceptance: float = 0.95,
        *,
        confidence: float | None = None,
        per_class: bool = False,
        val: ImageSet | str | Path | None = None,
        val_fraction: float = 0.05,
        tune: ImageSet | str | Path | None = None,
        features: Space = "head",
        precision: Literal["fp32", "bf16"] = "fp32",
        device: str = "auto",
        seed: int = 0,
        skip_corrupt: bool = False,
        say: Say = silence,
        progress: Progress = nobody,
    ) -> Self:
        """Fit a detector, and calibrate its threshold on in-distribution images that nothing else has seen.

        Arguments:
            classifier: A classifier, a run or its folder, or the text of a classifier that was trained elsewhere, such
                as ``timm:resnet50?weights=my.pt``; see `outskirts.models.given`.
            train: Images that it was trained on, or their spec. A run knows its own.
            calibration: In-distribution images, or their spec, that neither trained the classifier nor chose anything.
                They need no labels.
            detector: A detector or its name, such as ``knn:k=10``; or ``auto`` for the one that best tells validation
                images from outliers made of them, or from those of `tune`.
            acceptance: Share of new in-distribution images that is to be accepted, above 0 and below 1.
            confidence: Probability, over calibrations, that this share is accepted. Without it, it is on average.
            per_class: Whether each predicted class has a threshold of its own.
            val: Validation images, or their spec, of a classifier that was trained elsewhere; those beside the training
                images unless given. If there are none, a part of the training images is set aside.
            val_fraction: Share of the training images, between 0 and 1, that is set aside.
            tune: OOD images, or their spec, to choose the detector and its parameters on.
            features: Features that the detector sees, as of `outskirts.evaluate_run`.
            precision: Precision of the network, here and in the verdicts.
            device: Device of the network: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            seed: Seed of what is set aside, and of outliers.
            skip_corrupt: Leave out images that cannot be decoded.
            say: Told in sentences what is done.
            progress: Told of the images forwarded.

        Raises:
            OutskirtsError: If there are too few calibration images, or they were seen before; if the classifier cannot
                serve the detector, or images or classifier cannot be read.
        """
        if calibration is None:
            raise OutskirtsError(
                "Pass calibration images: in-distribution images that neither trained the classifier nor chose "
                "anything (calibration=, or --calibrate SPEC)."
            )
        options = PassOptions(precision, "fp32", resolve_device(device), skip_corrupt=skip_corrupt)
        own = Sources(train, val, val_fraction, seed, skip_corrupt).own(classifier, say)
        terms, work = Terms(acceptance, confidence, per_class), Work(features, options, seed, say, progress)
        return cls(**vars(fitted(own, calibration, detector, tune, terms, work)))

    def save(self, folder: Path | str) -> Path:
        """Write the guard to a new folder; returns it.

        ``guard.json`` says what it is made of and what it promises. ``classifier.safetensors``,
        ``detector.safetensors`` and ``calibration.safetensors`` have its numbers, and ``seen.safetensors`` a hash of
        each image that it was made of. ``README.md`` is its model card, with a histogram of its scores. Nothing in it
        is code, and no path of this machine is in it.

        Raises:
            OutskirtsError: If the folder holds something, or nothing tells how the network is built again.
        """
        return save_parts(self, output_path(folder))

    @classmethod
    def load(
        cls, folder: Path | str, strict: bool = True, *, classifier: Classifier | None = None, say: Say = silence
    ) -> Self:
        """The guard in a folder, in evaluation mode. It gives the scores that it gave when it was saved.

        Arguments:
            folder: What `save` wrote.
            strict: Refuse other versions of the packages that compute scores than those it was saved with. Otherwise
                they are told, and a score is compared with that of the time.
            classifier: The classifier, if its network was made in Python; it gets the weights of the folder.
            say: Told of other versions.

        Raises:
            OutskirtsError: If there is no guard, one of its files was changed, or the versions are others.
        """
        return cls(**vars(load_parts(home_expanded(folder), strict, classifier, say)))

    def push_to_hub(self, repo: str, *, private: bool = True) -> str:
        """Write the guard to a repository of the Hugging Face Hub; returns its address.

        Arguments:
            repo: Name of the repository, such as ``me/photos``; it is made if there is none.
            private: Whether a new repository is seen by its owner alone.

        Raises:
            OutskirtsError: If nothing tells how the network is built again, or the repository cannot be written.
        """
        with TemporaryDirectory() as folder:
            return pushed(self.save(Path(folder) / "guard"), repo, private)

    @classmethod
    def from_pretrained(
        cls, repo: Path | str, *, revision: str | None = None, strict: bool = True, say: Say = silence
    ) -> Self:
        """The guard in a folder, or in a repository of the Hugging Face Hub.

        Arguments:
            repo: A folder, or the name of a repository.
            revision: Branch, tag or commit of the repository; the newest unless given.
            strict: Refuse other versions of packages, as `load` does.
            say: Told of other versions.

        Raises:
            OutskirtsError: If there is no such folder or repository, or no guard in it.
        """
        folder = Path(repo) if Path(repo).is_dir() else fetched(str(repo), revision)
        return cls.load(folder, strict, say=say)

    @check_arguments
    def predict(
        self,
        images: Images,
        *,
        top: Count = 1,
        device: str = "auto",
        skip_corrupt: bool = True,
        progress: Progress = nobody,
    ) -> Verdicts:
        """What the guard says of images.

        Arguments:
            images: A picture or its path, a folder, a pattern such as ``photos/*.jpg``, a spec, an image set, pixels
                [H, W, 3] or [N, H, W, 3], or a list of paths, or of pictures and pixels.
            top: How many of the most probable classes are given, at least 1.
            device: Device of the network: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            skip_corrupt: Tell images that cannot be decoded in `Verdicts.corrupt`, rather than stop at the first.
            progress: Told of the images forwarded.

        Raises:
            OutskirtsError: If there is no such image, none can be decoded, or one cannot and is not to be left out.
        """
        shown = opened(images)
        parts, done = [], 0
        for part in self.stream(shown, top=top, device=device, skip_corrupt=skip_corrupt):
            done += len(part)
            progress("verdicts", done, len(shown))
            parts.append(part)
        corrupt = dict(self.unread(shown))
        if not parts:
            raise OutskirtsError(f"No image could be read. {next(iter(corrupt.values()))}")
        return Verdicts.joined(parts, corrupt)

    def measure(
        self,
        test: ImageSet | str | Path,
        ood: Groups | None = None,
        *,
        device: str = "auto",
        skip_corrupt: bool = False,
        progress: Progress = nobody,
    ) -> Measurement:
        """How many new images the guard accepts and rejects, beside what it promised, and how often it is right.

        `Measurement.save` writes a page and the numbers.

        Arguments:
            test: In-distribution images, or their spec, that the guard was not made of.
            ood: Other sets, or their specs, by group and name; none unless given.
            device: Device of the network: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            skip_corrupt: Leave out images that cannot be decoded.
            progress: Told of the images forwarded.

        Raises:
            OutskirtsError: If a set is one that the guard was made of, or shares images with the test images; if it is
                empty, or one of its images cannot be decoded and is not to be left out.
        """
        options = PassOptions(self.precision, "fp32", resolve_device(device), skip_corrupt=skip_corrupt)
        return measure(self, test, ood or {}, options, progress)

    def monitor(self, alpha: float = 0.01) -> Watch:
        """A watch over the verdicts of this guard, which raises an alarm when it rejects more than it promised.

        Arguments:
            alpha: Probability, above 0 and below 1, that an alarm is ever raised while nothing has changed.
        """
        return Watch.of(self.calibration, self.classifier.classes, alpha)

    def stream(
        self,
        images: ImageSet,
        *,
        top: int = 1,
        device: str = "auto",
        skip_corrupt: bool = True,
        batch_size: int = 250,
    ) -> Iterator[Verdicts]:
        """What the guard says of images, a batch at a time, for sets of any size.

        Images that cannot be decoded are left out; when all is read, `unread` tells them. Other arguments are those of
        `predict`.

        Arguments:
            images: The images.
            batch_size: Images of a batch.
        """
        options = PassOptions(self.precision, "fp32", resolve_device(device), batch_size, skip_corrupt)
        for _, verdicts in judged(self, images, options, top):
            yield verdicts

    def export(
        self,
        path: Path | str,
        images: Images | None = None,
        *,
        format: Format = "onnx",
        int8: bool = False,
        calibration: Images | None = None,
        say: Say = silence,
    ) -> Exported:
        """Write the guard to one file that other programs run: pixels in, verdicts out.

        Its input `pixels` is RGB, uint8 [batch, height, width, 3], of any size. Its outputs are `logits`, `label`,
        `score`, `p_value` and `accepted`. The file appears only if it gives the verdicts of the guard. Its metadata has
        labels, transform, thresholds, and how well it agrees.

        Arguments:
            path: File to write; the name ends in ``.onnx``, or in ``.pt2`` for torch.
            images: Images to compare the file with the guard on, in any form that `predict` takes; noise of several
                sizes unless given.
            format: ``onnx`` for ONNX Runtime and others, ``torch`` for a file of `torch.export`.
            int8: Let the network compute in whole numbers of 8 bits, with thresholds that are calibrated anew.
            calibration: In-distribution calibration images, which `int8` needs.
            say: Told in sentences what is done.

        Raises:
            OutskirtsError: If the detector or the network cannot be exported, or the file gives other verdicts.
        """
        if int8 != (calibration is not None):
            raise OutskirtsError("Calibration images go with int8: pass both (--int8 --calibrate SPEC), or neither.")
        shown = None if images is None else opened(images)
        own = None if calibration is None else self.classifier.labelled(opened(calibration))
        return exported(self, output_path(path), format, shown, own, say)

    def verdicts(self, outputs: Outputs, files: list[str], top: int = 1) -> Verdicts:
        """What the guard says of outputs of its classifier.

        Arguments:
            outputs: Outputs of N images, with what the probes of the detector give.
            files: Names of the images.
            top: How many of the most probable classes are given.
        """
        return judge(self, outputs, files, top)

    def unread(self, images: ImageSet) -> Iterator[tuple[str, str]]:
        """The names of the images that were left out last, and why they cannot be decoded."""
        left = set(images.skipped)
        for place in range(len(images)) if left else ():
            if (name := images.name(place)) in left:
                try:
                    images.image(place, self.classifier.transform.reading)
                except CorruptImage as error:
                    yield name, str(error)
                else:
                    yield name, f"{name} could not be decoded when it was its turn, and can be now."

    def __repr__(self) -> str:
        return f"Guard({', '.join(f'{name} {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return notebook.table("Guard", [*self._facts(), ("promise", " ".join(self.calibration.sentences()))])

    def _facts(self) -> list[tuple[str, Any]]:
        kept = self.calibration.promises[0]
        return [
            ("classifier", self.classifier.architecture),
            ("classes", len(self.classifier.classes)),
            ("detector", self.detector.name),
            ("acceptance", f"{kept.acceptance:g}"),
            ("calibration images", self.calibration.n),
        ]
