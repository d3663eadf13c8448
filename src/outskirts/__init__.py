"""Out-of-distribution detection for image classifiers, by outliers synthesised from the training data.

The names below are imported when first used, so that ``import outskirts`` and ``outskirts --help`` are quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .__about__ import __version__ as __version__

if TYPE_CHECKING:
    from . import detectors as detectors
    from . import generation as generation
    from . import methods as methods
    from . import metrics as metrics
    from . import synthesis as synthesis
    from . import testing as testing
    from .bars import progress as progress
    from .benchmarking.benchmark import benchmark as benchmark
    from .benchmarking.benchmark import benchmark_page as benchmark_page
    from .benchmarking.demo import demo as demo
    from .data.benchmark import Benchmark as Benchmark
    from .data.benchmark import benchmarks as benchmarks
    from .data.benchmark import describe_benchmark as describe_benchmark
    from .data.benchmark import load_benchmark as load_benchmark
    from .data.fetch import catalogue as catalogue
    from .data.fetch import fetch as fetch
    from .data.imageset import ImageSet as ImageSet
    from .data.pack import pack as pack
    from .data.sources import open as open
    from .data.verify import verify as verify
    from .errors import OutskirtsError as OutskirtsError
    from .evaluation.evaluate import evaluate as evaluate
    from .evaluation.evaluate_model import evaluate_model as evaluate_model
    from .evaluation.evaluate_run import evaluate_run as evaluate_run
    from .evaluation.results import Results as Results
    from .extraction.extract import extract as extract
    from .extraction.outputs import Outputs as Outputs
    from .extraction.tokens import extract_tokens as extract_tokens
    from .generation.synthesize_diffusion import synthesize_dream as synthesize_dream
    from .generation.synthesize_diffusion import synthesize_ncis as synthesize_ncis
    from .generation.synthesize_features import synthesize_features as synthesize_features
    from .generation.synthesize_id import synthesize_id as synthesize_id
    from .generation.synthesize_images import synthesize_images as synthesize_images
    from .guard.guard import Guard as Guard
    from .guard.monitoring import Watch as Watch
    from .guard.verdicts import Verdicts as Verdicts
    from .listing import available as available
    from .models.classifier import Classifier as Classifier
    from .models.heads import Head as Head
    from .reporting import report as report
    from .serving.serve import serve as serve
    from .synthesis.backgrounds import cut_backgrounds as cut_backgrounds
    from .training.importing import import_checkpoint as import_checkpoint
    from .training.loading import load as load
    from .training.run import Run as Run
    from .training.train import resume as resume
    from .training.train import train as train

_MODULES = ("detectors", "generation", "methods", "metrics", "synthesis", "testing")
_HOMES = {
    "Benchmark": "data.benchmark",
    "Classifier": "models.classifier",
    "Guard": "guard.guard",
    "Head": "models.heads",
    "ImageSet": "data.imageset",
    "Outputs": "extraction.outputs",
    "OutskirtsError": "errors",
    "Results": "evaluation.results",
    "Run": "training.run",
    "Verdicts": "guard.verdicts",
    "Watch": "guard.monitoring",
    "available": "listing",
    "benchmark": "benchmarking.benchmark",
    "benchmark_page": "benchmarking.benchmark",
    "benchmarks": "data.benchmark",
    "catalogue": "data.fetch",
    "cut_backgrounds": "synthesis.backgrounds",
    "demo": "benchmarking.demo",
    "describe_benchmark": "data.benchmark",
    "evaluate": "evaluation.evaluate",
    "evaluate_model": "evaluation.evaluate_model",
    "evaluate_run": "evaluation.evaluate_run",
    "extract": "extraction.extract",
    "extract_tokens": "extraction.tokens",
    "fetch": "data.fetch",
    "import_checkpoint": "training.importing",
    "load": "training.loading",
    "load_benchmark": "data.benchmark",
    "open": "data.sources",
    "pack": "data.pack",
    "progress": "bars",
    "report": "reporting",
    "resume": "training.train",
    "serve": "serving.serve",
    "synthesize_dream": "generation.synthesize_diffusion",
    "synthesize_features": "generation.synthesize_features",
    "synthesize_id": "generation.synthesize_id",
    "synthesize_images": "generation.synthesize_images",
    "synthesize_ncis": "generation.synthesize_diffusion",
    "train": "training.train",
    "verify": "data.verify",
}

__all__ = [*_HOMES, *_MODULES]


if not TYPE_CHECKING:
    # A type checker knows the names above; any other is a mistake that it should report.
    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        if name in _HOMES:
            return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        raise AttributeError(f"module 'outskirts' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
