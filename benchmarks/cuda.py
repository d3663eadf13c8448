"""Is outskirts right on a GPU, how fast is it there, and what do its methods reach with full budgets?

    python benchmarks/cuda.py --data DIR --out DIR [--minutes 8] [--only check,speed,train] [--device cuda]

DIR holds Parquet files in the layout of Hugging Face, as ``outskirts data pack`` writes them: cifar10-train,
cifar10-test, cifar100-test, mnist-test, tinyimagenet-val and dtd10. Each result is in ``OUT/results.jsonl`` and
``OUT/results.md`` as soon as it is there; the same command once more goes on where there was no more time, and tries
again what failed. What fails stops nothing else: after an error of a kernel, which leaves a process without its device,
the rest runs in a new one. It needs no network.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from on_gpu.journal import Journal

#: Shares of the time, for parts that come before the last.
_SHARES = {"check": 3 / 16, "speed": 3 / 16, "train": 1.0}
_OUTSIDE = "what is outside its measurements"
_FILES = ("cifar10-train", "cifar10-test", "cifar100-test", "mnist-test", "tinyimagenet-val", "dtd10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the Parquet files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results, which a second call adds to")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which nothing is begun or gone on with")
    parser.add_argument("--only", default="check,speed,train", help="parts, comma-separated")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--methods", default="", help="that are checked, comma-separated; all unless given")
    parser.add_argument("--images", type=int, default=0, help="that checks train on; 2,000 on CUDA and 160 on a CPU")
    # Lines that were there before a process that has lost its device.
    parser.add_argument("--before", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    parts = given.only.split(",")
    if unknown := [part for part in parts if part not in _SHARES]:
        parser.error(f"there is no part '{unknown[0]}'; parts are {', '.join(_SHARES)}")
    if missing := [name for name in _FILES if not (given.data / f"{name}.parquet").is_file()]:
        parser.error(f"{given.data} lacks {missing[0]}.parquet")
    # Not before, so that what is wrong with the words above is told at once.
    import torch
    from on_gpu.journal import Journal, Poisoned

    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; try --device cpu")
    warnings.filterwarnings("ignore")
    device = torch.device(given.device, 0) if given.device == "cuda" else torch.device("cpu")
    end = time.monotonic() + 60 * given.minutes
    journal = Journal(given.out, device, end, given.before)
    print(journal.machine, flush=True)
    try:
        _measure(journal, given, parts, end)
    except Poisoned:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *_again(sys.argv, journal.before or 0, end - time.monotonic())])
    print(f"Results: {given.out / 'results.md'}")


def _measure(journal: Journal, given: argparse.Namespace, parts: Sequence[str], end: float) -> None:
    """All parts, each in its share of the time, and then in what the others leave."""
    seconds = end - time.monotonic()
    for number, part in enumerate([*parts, *parts]):
        share = _SHARES[part] if number < len(parts) - 1 else 1.0
        journal.end = min(time.monotonic() + share * seconds, end)
        if (part, _OUTSIDE) not in journal.failed:
            with journal.guarded(part, _OUTSIDE):
                _CALLS[part](journal, given)


def _check(journal: Journal, given: argparse.Namespace) -> None:
    from on_gpu.check import check

    methods = list(filter(None, given.methods.split(",")))
    images = given.images or (2000 if journal.device.type == "cuda" else 160)
    check(journal, given.data.absolute(), images, methods)


def _speed(journal: Journal, given: argparse.Namespace) -> None:
    from on_gpu.speed import speed

    speed(journal)


def _train(journal: Journal, given: argparse.Namespace) -> None:
    from on_gpu.train import train

    train(journal, given.data.absolute())


# Each imports what it needs itself, so that what is broken there stops no other.
_CALLS = {"check": _check, "speed": _speed, "train": _train}


def _again(command: Sequence[str], before: int, seconds: float) -> list[str]:
    """The same command for what is left of the time.

    Of options that are given twice, the last counts.
    """
    return [*command, "--minutes", f"{max(0.0, seconds) / 60:.3f}", "--before", str(before)]


if __name__ == "__main__":
    main()
