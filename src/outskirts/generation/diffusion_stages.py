"""The stages in which a diffusion model makes outliers: each reads what the one before left, and goes on where it
stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from .. import grouped, seeding
from ..data.imageset import ImageSet
from ..data.sources import open as open_images
from ..data.sources.pool import OUTLIERS, SAMPLES, PoolWriter
from ..data.transform import Transform
from ..devices import faster_precision, resolve_device
from ..errors import OutskirtsError
from ..extraction.extract import extract
from ..figures.contact_sheet import contact_sheet, save_png
from ..files import digest, load_json, require_alike, save_json
from ..locking import only_writer
from ..models.diffusion.latent import LatentDiffusion
from ..models.diffusion.load_model import load_model
from ..renamed import records, unset_as_now
from ..synthesis.outliers import Outliers
from ..telling import Progress, Say, nobody, silence
from ..texts import counted, verb
from ..training.loading import load
from ..training.run import Run
from ..training.validation import training_sets
from .diffusion.decoding import Decoder, Decoding, decoded
from .diffusion.embeddings import Embedder, Embeddings, open_embeddings, repeatability
from .diffusion.embeddings import embed as embed_images
from .diffusion.inversion import Inversion
from .diffusion.training import begun, require_seen
from .diffusion_options import Decode, Embed, Fit, Named, OnDevice, Reader, Sample, SampleAtBoundary, Source
from .generators.base import weights
from .manifold.fitting import fit_manifold, require_enough
from .manifold.model import Manifold, ManifoldOptions
from .manifold.sampling import ManifoldSynthesizer
from .next_command import next_command
from .populate import populate
from .screening import Judge
from .synthesize_features import FeatureBoundary

__all__ = ["Work", "around", "decode", "embed", "fit", "sample"]

#: Held-out embeddings of a class that tell where 95 % of them end.
_ENOUGH = 20
#: What defines the vectors of a stage, whatever other options its class has.
_SETTINGS = {
    name: {field.name for field in fields(kind)} - {field.name for field in (*fields(Source), *fields(Reader))}
    for name, kind in {"ncis": Sample, "dream": SampleAtBoundary}.items()
}


class Work:
    """What the stages share: the options, the images, and the model, which is loaded when it is needed.

    Arguments:
        name: ncis or dream.
        source: The options that all stages share.
        say: Told in sentences what was found.
        progress: Told how much of a stage is done.

    Raises:
        OutskirtsError: If there is neither a run nor data, or the images are not ones that can be embedded.
    """

    def __init__(self, name: str, source: Source, say: Say = silence, progress: Progress = nobody) -> None:
        self.name, self.source, self.say, self.progress = name, source, say, progress
        if not (source.run or source.data):
            raise OutskirtsError("Pass the images to embed, or a run (--data SPEC or --run RUN).")
        _require_possible(source)
        self.out = source.out.absolute()
        self.run = Run.open(self.source.run) if self.source.run else None
        self.classifier = load(self.run.path) if self.run is not None else None
        images = open_images(self.source.data) if self.source.data else training_sets(self.run)[0]  # type: ignore[arg-type]
        if self.classifier is not None:
            images = images.align(self.classifier.classes)
        images.require_trainable()
        self.whole = images
        self.images = images if source.limit is None else images.limit(min(source.limit, len(images)))
        # What cannot be fitted need not be embedded.
        require_enough(self.images.labels, self.images.classes)
        self.device = resolve_device(source.device if isinstance(source, OnDevice) else "auto")
        self.precision: str = source.precision if isinstance(source, Reader) else "auto"
        if self.precision == "auto":
            # What was begun in one precision goes on in it.
            begun = [file for file in (self.out / "embeddings" / "manifest.json", *self._record) if file.is_file()]
            self.precision = load_json(begun[0])["precision"] if begun else faster_precision(self.device)

    @property
    def _record(self) -> list[Path]:
        return [self.record(self.source.name)] if isinstance(self.source, Named) else []

    def record(self, name: str) -> Path:
        """The file that says what the vectors of this name are."""
        return self.out / f"{name}.json"

    @property
    def reader(self) -> Reader:
        """The options of a stage that reads the diffusion model."""
        assert isinstance(self.source, Reader)
        return self.source

    @cached_property
    def model(self) -> LatentDiffusion:
        """The diffusion model, on its device."""
        folder, source = self.reader.model, self.reader
        if begun(folder):
            require_seen(folder, self.whole)
        model = load_model(folder, self.images.classes, source.words, source.template)
        return model.requires_grad_(False).eval().to(self.device)

    @cached_property
    def model_digest(self) -> str:
        """Digest of the model's weights, wherever they lie."""
        return digest(*(f"{name} {sha}" for name, sha in weights(self.reader.model).items()))

    @property
    def transform(self) -> Transform:
        """From an image of any size to one of the model's."""
        return Transform(self.model.side, self.model.channels)

    @cached_property
    def embeddings(self) -> Embeddings:
        """All of them, those of the images asked for now."""
        made = open_embeddings(self.out / "embeddings")
        asked = {"data": self.images.spec, "fingerprint": self.images.fingerprint_as(made.about.get("fingerprint"))}
        require_alike(str(self.out), made.about, asked, "fingerprint")
        return made


def embed(work: Work, own: Embed) -> None:
    """Write ``embeddings/``: the vectors of all images, or of this process's blocks, and whether they repeat."""
    folder = work.out / "embeddings"
    shard = _shard(own.shard)
    embedder = Embedder(work.model, _inversion(own), work.precision)
    about = {"model": work.model_digest, "words": work.model.classes, "template": work.reader.template}
    embed_images(
        embedder,
        work.images,
        folder,
        about=about,
        seed=work.source.seed,
        batch=own.embedding_batch_size,
        shard=shard,
        progress=lambda done: work.progress("embedding", done, len(work.images)),
    )
    if not (folder / "check.json").is_file() and shard == (0, 1):
        save_json(folder / "check.json", repeatability(embedder, work.images, work.embeddings))
    if shard != (0, 1):
        work.say(f"The blocks of shard {own.shard} are embedded. When all shards are embedded, start the next stage.")
    if (folder / "check.json").is_file():
        check = load_json(folder / "check.json")
        gain, self_match, chance = (f"{100 * check[name]:.1f} %" for name in ("gain", "self_match", "chance"))
        work.say(
            f"{counted(len(work.images), 'image')} {verb(len(work.images), 'are')} embedded. With its embedding, an "
            f"image is denoised {gain} "
            "better. Some images were embedded again with other noise: the correlation of the two embeddings "
            f"is {check['repeat_correlation']:.2f}, and {self_match} are nearest to themselves (by chance "
            f"{chance})."
        )


def fit(work: Work, own: Fit) -> None:
    """Write ``manifold/``."""
    made = work.embeddings
    settings = replace(_settings(own), device="cpu" if work.device.type == "mps" else work.device.type)
    folder = work.out / "manifold"
    with only_writer(folder):
        manifold = fit_manifold(
            made.vectors,
            made.labels,
            work.images.classes,
            settings,
            folder,
            lambda epoch, losses: work.progress("fitting", epoch, settings.epochs),
        )
    report = manifold.report
    work.say(
        f"Manifolds of {report['invariants']} invariants in {manifold.network.dim} dimensions. The invariants "
        f"should be near zero; on held-out embeddings, {report['held_out_invariant']:.3g} is left (with "
        f"principal components {report['held_out_pca']:.3g})."
    )
    if (least := report.get("least_held_out", _ENOUGH)) < _ENOUGH:
        work.say(
            f"One class has only {least} held-out embeddings. With fewer than {_ENOUGH}, the distance that 95 % of "
            "them have at most is uncertain. Give more images of each class."
        )


def sample(work: Work, own: Sample) -> None:
    """Write ``NAME.safetensors``, vectors off the manifold, and ``NAME.json``, what they are."""
    made = work.embeddings
    manifold = Manifold.load(work.out / "manifold")

    def off(generator: Generator) -> Outliers:
        return _synthesizer(own).fit(manifold, made.vectors, made.labels).sample(own.per_class, generator)

    if scalars := _sampled(work, own, {"embeddings": manifold.fingerprint}, off):
        if "below_fresh" in scalars:
            work.say(
                f"{100 * scalars['below_fresh']:.1f} % of the vectors are less likely than 95 % of fresh embeddings, "
                f"which had no part in the fit. {100 * scalars['fresh_beyond']:.1f} % of the fresh embeddings lie "
                "beyond the distance that 95 % of held-out ones have at most; 5 % are expected."
            )
        else:
            work.say("An earlier version fitted the manifold without fresh embeddings, so the vectors are not tested.")
        work.say(f"{100 * scalars['rejected']:.0f} % of the drawn vectors were rejected, as typical of another class.")


def around(work: Work, own: SampleAtBoundary) -> None:
    """Write ``NAME.safetensors``, vectors at the boundary of each class of a `dream` run, and ``NAME.json``."""
    run = work.run
    if run is None or work.classifier is None or run.recipe().method != "dream":
        raise OutskirtsError(
            "This stage needs features that are aligned with the vectors; pass a run of the method 'dream' (--run RUN)."
        )
    outputs = extract(work.classifier, work.images, features="projection", store=run.outputs)
    starts = work.model.prompts.starts(torch.arange(len(work.images.classes)))
    if outputs.features.shape[1] != starts.shape[1]:
        raise OutskirtsError(
            f"The features of {run.path} have {outputs.features.shape[1]} dimensions, and the vectors of "
            f"{work.reader.model} {starts.shape[1]}; the run was trained with another model."
        )

    names = ("k", "boundary", "picks", "candidates", "keep", "sigma")
    boundary, count = FeatureBoundary(**{name: getattr(own, name) for name in names}), own.per_class * len(starts)

    def about(generator: Generator) -> Outliers:
        labels = outputs.need("labels", "dream")
        made, _ = boundary.make(outputs.features, labels, work.images.classes, count, generator)
        # Features are directions; a word's vector has a length.
        return replace(made, values=made.values * starts.norm(dim=1)[made.labels, None])

    if scalars := _sampled(work, own, {"weights": work.classifier.fingerprint()}, about):
        work.say(
            f"The squared distance to the neighbour is {scalars['kept_distance']:.3f} for vectors, and "
            f"{scalars['boundary_distance']:.3f} for features at the boundary."
        )


def _sampled(
    work: Work, own: Sample | SampleAtBoundary, of: dict[str, Any], make: Callable[[Generator], Outliers]
) -> dict[str, float]:
    """Write vectors and what they are, unless they are there; returns their scalars."""
    name = own.name
    file, record = work.out / f"{name}.safetensors", work.record(name)
    about = {key: value for key, value in asdict(own).items() if key in _SETTINGS[work.name]}
    asked = {**about, **of, "seed": work.source.seed, "precision": work.precision}
    if file.is_file() and record.is_file():
        require_alike(str(file), unset_as_now(records(load_json(record))), asked)
        return {}
    outliers = make(seeding.generator(work.source.seed, "vectors", name))
    scalars = {key: float(value) for key, value in outliers.info.items() if value.ndim == 0}
    outliers.save(file)
    save_json(record, {**asked, **scalars})
    return scalars


def decode(work: Work, own: Decode) -> None:
    """Write ``NAME/``, a pool of images of these vectors."""
    name = own.name
    vectors = Outliers.load(work.out / f"{name}.safetensors")
    size = own.size
    if size is None:
        size = work.classifier.transform.size if work.classifier is not None else min(work.images.image(0).shape[1:])
    decoder = Decoder(work.model, vectors, replace(_decoding(own), size=size, precision=work.precision))
    about = {
        "content": OUTLIERS,
        "generator": {"name": work.name, **decoder.about()},
        "model": work.model_digest,
        "vectors": load_json(work.record(name)),
        "rules": {"max_confidence": own.max_confidence, "min_confidence": own.min_confidence},
        "judge": None if work.classifier is None else work.classifier.fingerprint(),
        "seed": work.source.seed,
        "batch": own.generation_batch_size,
        "data": work.images.spec,
        "fingerprint": work.images.fingerprint,
    }
    folder = work.out / name
    if (folder / "manifest.json").is_file():
        finished = records(load_json(folder / "manifest.json"))
        about["fingerprint"] = work.images.fingerprint_as(finished.get("fingerprint"))
        require_alike(str(folder), finished, about)
        work.say(f"{folder} is finished.")
        return
    shape = (work.model.channels, size, size)
    with only_writer(folder):
        pool = PoolWriter(folder, own.count, shape, work.images.classes, work.whole.keys, about)
        judge = None
        if work.run is not None and work.classifier is not None:
            judge = Judge(work.classifier, work.whole, work.run.outputs)
        populate(
            pool,
            decoder,
            seed=work.source.seed,
            batch=own.generation_batch_size,
            keep=_keeping(judge, own.min_confidence, own.max_confidence),
            progress=lambda done: work.progress("making", done, own.count),
        )
        images = ImageSet(pool.images, pool.written, work.images.classes)
        save_png(folder / SAMPLES, _sheet(work, images, decoder.how))
        pool.finish(quality=None if judge is None else judge.quality(images), **_learned(work))
    work.say(f"{counted(len(images), 'outlier')} in {folder}; look at {folder / SAMPLES}")
    run = None if work.source.data else work.run
    work.say(next_command("ncis", "outlier-images", folder, work.whole, run))


def _keeping(judge: Judge | None, least: float, most: float) -> Callable[[ImageSet], Tensor]:
    def keep(images: ImageSet) -> Tensor:
        if judge is None:
            return torch.ones(len(images), dtype=torch.bool)
        sure = judge.sureness(images)
        return (sure >= least) & (sure <= most)

    return keep


def _sheet(work: Work, images: ImageSet, how: Decoding, columns: int = 12) -> Image.Image:
    """Training images; below, what their own vectors give, if they have any, and those of their classes; then outliers
    of these classes.
    """
    rows = torch.linspace(0, len(work.images) - 1, columns).long()
    real, labels = work.images.subset(rows).resident(work.transform)
    vectors = [work.model.prompts.starts(labels)]
    if work.name == "ncis":
        vectors.insert(0, work.embeddings.vectors[rows])
    seeds = [seeding.subseed(work.source.seed, "sheet", column) for column in range(columns)]
    lines = [real, *(decoded(work.model, own, seeds, how) for own in vectors)]
    earlier = grouped.ranks(labels, len(work.images.classes))
    for line in range(3):
        of_class = [(images.labels == label).nonzero().flatten() for label in labels.tolist()]
        chosen = [of[(3 * before + line) % len(of)] for of, before in zip(of_class, earlier.tolist())]
        lines.append(images.subset(torch.stack(chosen)).resident(work.transform)[0])
    return contact_sheet(lines, columns=columns)


def _learned(work: Work) -> dict[str, Any]:
    """What the stages before found, for the manifest."""
    if work.name != "ncis":
        return {}
    check, report = work.out / "embeddings" / "check.json", dict(Manifold.load(work.out / "manifold").report)
    del report["history"]
    return {"embeddings": load_json(check) if check.is_file() else None, "manifold": report}


def _shard(text: str) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not (slash and number.isdigit() and of.isdigit() and int(number) < int(of)):
        raise OutskirtsError(
            f"The shard (--shard) must be k/n with k from 0 to n - 1, such as 0/2 and 1/2, not '{text}'."
        )
    return int(number), int(of)


def _require_possible(own: Source) -> None:
    """Raise for an option that a later stage would refuse, after the work of those before."""
    if isinstance(own, Embed):
        _shard(own.shard)
        _inversion(own)
    if isinstance(own, Fit):
        _settings(own)
    if isinstance(own, Sample):
        _synthesizer(own)
    if isinstance(own, Decode):
        _decoding(own)


def _inversion(own: Embed) -> Inversion:
    return Inversion(own.steps, own.inversion_lr, own.draws, not own.independent)


def _settings(own: Fit) -> ManifoldOptions:
    how = ManifoldOptions if not own.reference_quirks else ManifoldOptions.published
    return how(epochs=own.fit_epochs, blocks=own.blocks, hidden=own.hidden, seed=own.seed)


def _synthesizer(own: Sample) -> ManifoldSynthesizer:
    span = (own.min_radius, own.max_radius)
    return ManifoldSynthesizer(
        own.mode, span, competing_classes=own.competing_classes, reference_quirks=own.reference_quirks
    )


def _decoding(own: Decode) -> Decoding:
    return Decoding(own.network_evaluations, own.guidance, own.size, own.resize, sampler=own.sampler)
