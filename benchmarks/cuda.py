"""Is outskirts right on a GPU, how fast is it there, and what do its methods reach with full budgets?

    python benchmarks/cuda.py --data DIR --out DIR [--minutes 8] [--only check,speed,train] [--device cuda]

DIR holds Parquet files in the layout of Hugging Face, as ``outskirts data pack`` writes them: cifar10-train,
cifar10-test, cifar100-test, mnist-test, tinyimagenet-val and dtd10. Each result is in ``OUT/results.jsonl`` and
``OUT/results.md`` as soon as it is there; the same command once more goes on where there was no more time, and tries
again what failed. It needs no network.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

#: Shares of the time, for parts that come before the last.
_SHARES = {"check": 3 / 16, "speed": 3 / 16, "train": 1.0}
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
    given = parser.parse_args()
    parts = given.only.split(",")
    if unknown := [part for part in parts if part not in _SHARES]:
        parser.error(f"there is no part '{unknown[0]}'; parts are {', '.join(_SHARES)}")
    if missing := [name for name in _FILES if not (given.data / f"{name}.parquet").is_file()]:
        parser.error(f"{given.data} lacks {missing[0]}.parquet")
    # Not before, so that what is wrong with the words above is told at once.
    import torch
    from on_gpu.check import check
    from on_gpu.journal import Journal
    from on_gpu.speed import speed
    from on_gpu.train import train

    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; try --device cpu")
    warnings.filterwarnings("ignore")
    begun, seconds = time.monotonic(), 60 * given.minutes
    device = torch.device(given.device, 0) if given.device == "cuda" else torch.device("cpu")
    journal = Journal(given.out, device, begun + seconds)
    print(journal.machine, flush=True)
    data = given.data.absolute()
    # What had no time in its own share has what the others leave.
    for number, part in enumerate([*parts, *parts]):
        share = _SHARES[part] if number < len(parts) - 1 else 1.0
        journal.end = min(time.monotonic() + share * seconds, begun + seconds)
        if part == "check":
            methods = list(filter(None, given.methods.split(",")))
            check(journal, data, given.images or (2000 if given.device == "cuda" else 160), methods)
        elif part == "speed":
            speed(journal)
        else:
            train(journal, data)
    print(f"Results: {given.out / 'results.md'}")


if __name__ == "__main__":
    main()
