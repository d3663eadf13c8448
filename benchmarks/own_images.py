"""What suits networks that are fine-tuned on few photographs: the recipe, and ASCOOD's default.

Everything is measured on validation images and on classes that are held out; there are no test images.

    python benchmarks/own_images.py recipe --data DIR --weights FILE --out DIR
    python benchmarks/own_images.py ascood --data DIR --weights FILE --out DIR

DIR holds dtd10.parquet, tinyimagenet-val.parquet and waterbirds-train.parquet; FILE has the weights of the network. One
line of JSON for each training goes to OUT/results.jsonl; trainings that are in it are not made again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import outskirts as osk

#: Training and validation images, near outliers (classes that are held out) and far ones.
SETS = {
    "textures": (
        "dtd10.parquet?classes=0-5&part=0-70%",
        "dtd10.parquet?classes=0-5&part=70-100%",
        "dtd10.parquet?classes=6-9",
        "tinyimagenet-val.parquet?limit=600",
    ),
    "things": (
        "tinyimagenet-val.parquet?classes=0-39&part=0-70%",
        "tinyimagenet-val.parquet?classes=0-39&part=70-100%",
        "tinyimagenet-val.parquet?classes=40-79&limit=600",
        "dtd10.parquet?limit=600",
    ),
    "birds": (
        "waterbirds-train.parquet?label=path:(.+)_[0-9]+_[0-9]+.jpg&classes=0-39&part=0-70%",
        "waterbirds-train.parquet?label=path:(.+)_[0-9]+_[0-9]+.jpg&classes=0-39&part=70-100%",
        "waterbirds-train.parquet?label=path:(.+)_[0-9]+_[0-9]+.jpg&classes=40-79&limit=600",
        "dtd10.parquet?limit=600",
    ),
}

#: Detectors whose mean is compared, so that no choice of a detector decides.
DETECTORS = ("msp", "energy", "knn")

SIZE, EPOCHS = 96, 8

RECIPES = {
    "scratch": {"lr": 0.3, "batch_size": 256, "augment": "flip,crop:2"},
    "lr0.02": {"lr": 0.02, "batch_size": 64, "augment": "resized-crop:0.3:1,flip"},
    "lr0.05": {"lr": 0.05, "batch_size": 64, "augment": "resized-crop:0.3:1,flip"},
    "lr0.01": {"lr": 0.01, "batch_size": 64, "augment": "resized-crop:0.3:1,flip"},
    "lr0.02-small-crops": {"lr": 0.02, "batch_size": 64, "augment": "resized-crop:0.08:1,flip"},
}

ASCOOD = {
    "ce": None,
    "gradient-300": {"outliers": "gradient", "p_inv": 0.1, "alpha_max": 300.0, "alpha_min": 30.0},
    "shuffle-0.15": {"outliers": "shuffle", "p_inv": 0.15},
    "gaussian-0.1": {"outliers": "gaussian", "p_inv": 0.1, "alpha_max": 0.1, "alpha_min": 0.1},
    "gradient-0.1": {"outliers": "gradient", "p_inv": 0.1, "alpha_max": 0.1, "alpha_min": 0.1},
    "random-shuffle-0.2": {"outliers": "random-shuffle", "p_inv": 0.2},
    "standardize-only": {"outlier_weight": 0.0},
}


def trainings(what: str, sets: Sequence[str], seeds: int) -> Iterator[tuple[str, int, str, str, dict[str, Any]]]:
    """Set, seed, name, method and options of each training."""
    if what == "recipe":
        for seed, recipe, name in product(range(seeds), RECIPES, sets):
            yield name, seed, recipe, "ce", RECIPES[recipe]
        return
    for seed, variant, name in product(range(seeds), ASCOOD, sets):
        options = ASCOOD[variant]
        yield name, seed, variant, "ce" if options is None else "ascood", options or {}


def measured(folder: Path, data: Path, name: str) -> dict[str, Any]:
    """Validation accuracy, and AUROC of the detectors against the held-out classes (near) and the others (far)."""
    _, val, near, far = (f"{data}/{spec}" for spec in SETS[name])
    results = osk.evaluate_run(
        folder, test=val, ood={"near": {"near": near}, "far": {"far": far}}, detectors=list(DETECTORS)
    )
    auroc: dict[str, dict[str, float]] = {"near": {}, "far": {}}
    for row in results.rows:
        if row.dataset in auroc:
            auroc[row.dataset][row.detector] = row.auroc
    return {"accuracy": results.rows[0].id_accuracy, **auroc}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("recipe", "ascood"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--backbone", default="timm:tf_efficientnet_lite0")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", choices=tuple(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    log = given.out / "results.jsonl"
    done = {
        (line["what"], line["set"], line["seed"], line["name"])
        for line in map(json.loads, log.read_text().splitlines() if log.is_file() else ())
    }
    for name, seed, variant, method, options in trainings(given.what, given.sets, given.seeds):
        if (given.what, name, seed, variant) in done:
            continue
        train, val = (f"{given.data}/{spec}" for spec in SETS[name][:2])
        folder = given.out / f"{name}-run"
        shutil.rmtree(folder, ignore_errors=True)
        usual = {
            "backbone": given.backbone,
            "pretrained": given.weights,
            "size": SIZE,
            "epochs": EPOCHS,
            "new_head": True,
        }
        line = {"what": given.what, "set": name, "seed": seed, "name": variant}
        osk.train(method, train, val, out=folder, seed=seed, precision="fp32", **{**usual, **options})
        line |= measured(folder, given.data, name)
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


if __name__ == "__main__":
    main()
