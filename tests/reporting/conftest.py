"""Run folders as a report reads them, and what tests ask of a page."""

import json
from collections.abc import Callable
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from outskirts.evaluation.intervals import auroc_interval
from outskirts.evaluation.metrics import auroc
from outskirts.evaluation.results import Result, Results
from outskirts.files import save_json, write_text
from outskirts.reporting import report

GROUPS = {"cifar100": "near", "tin": "near", "svhn": "far"}


DETECTORS = [("knn", '{"k": 50}'), ("msp", "{}")]


SETTINGS = "method: ce\ndata: cifar10\nseed: 0\n"


def results(shift: float, seed: int = 0) -> Results:
    generator = torch.Generator().manual_seed(seed)
    blank = {column.name: 0.5 for column in fields(Result)}
    common = {"run": "run", "method": "ce", "seed": seed, "n_id": 200, "n_ood": 100}
    rows, scores = [], {}
    for detector, params in DETECTORS:
        sets = {"id": torch.randn(200, generator=generator).double()}
        sets |= {name: shift + torch.randn(100, generator=generator).double() for name in GROUPS}
        scores[detector] = sets
        for group in dict.fromkeys(GROUPS.values()):
            members = [name for name in GROUPS if GROUPS[name] == group]
            for dataset, used in [(name, [name]) for name in members] + [("mean", members)]:
                oods = [sets[name] for name in used]
                lo, hi = auroc_interval(sets["id"], oods)
                value = sum(auroc(sets["id"], ood) for ood in oods) / len(oods)
                place = {"detector": detector, "params": params, "group": group, "dataset": dataset}
                rows.append(Result(**blank | common | place | {"auroc": value, "auroc_lo": lo, "auroc_hi": hi}))
    return Results(tuple(rows), scores, {"gradnorm": "needs <gradients>"})


def fill(folder: Path, shift: float) -> Path:
    """A run folder with every optional piece."""
    (folder / "gallery" / "misses").mkdir(parents=True)
    results(shift).save(folder)
    write_text(folder / "config.yaml", SETTINGS)
    train = [{"kind": "train", "step": s, "epoch": s / 10, "loss": 1 / s, "loss_outlier": 0.1} for s in range(1, 400)]
    val = [{"kind": "val", "step": 10 * e, "epoch": float(e), "loss": 0.5, "accuracy": 0.9} for e in range(1, 4)]
    write_text(folder / "metrics.jsonl", "\n".join(map(json.dumps, train + val)))
    save_json(folder / "transform.json", {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]})
    save_json(folder / "environment.json", {"command": "outskirts train --method ce", "torch": "2.5"})
    save_json(folder / "notes.json", ["Patches of few pictures are not independent."])
    for name in ("outliers.png", "misses/a.png"):
        Image.new("RGB", (8, 8), "red").save(folder / "gallery" / name)
    save_json(folder / "gallery" / "outliers.json", {"caption": "Each outlier below its source."})
    miss = {"dataset": "svhn", "detector": "msp", "kind": "ood accepted", "image": "misses/a.png"}
    miss |= {"score": 0.01, "predicted": "<script>alert(1)</script>", "confidence": 0.99, "label": None}
    save_json(folder / "gallery" / "misses.json", [miss])
    return folder


def seeded(folder: Path, seed: int, settings: str = SETTINGS) -> Path:
    results(1.0, seed).save(folder)
    write_text(folder / "config.yaml", settings.replace("seed: 0", f"seed: {seed}"))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    return [fill(root / "ce", 1.0), fill(root / "npos<b>", 1.5)]


@pytest.fixture(scope="module")
def page(runs: list[Path]) -> str:
    return report(runs, runs[0].parent / "page.html").read_text(encoding="utf-8")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A run folder with nothing but what must be there."""
    Results(results(1.0).rows).save(tmp_path / "bare")
    write_text(tmp_path / "bare" / "config.yaml", SETTINGS)
    return tmp_path / "bare"


class Page(HTMLParser):
    """What the tests ask of a page: its attributes, and that elements are closed in the order they were opened."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.opened

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def values(self, *names: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags for name in names if name in attrs]


@pytest.fixture
def parsed() -> Callable[[str], Page]:
    """Reads a page; it must be well formed."""
    return Page


@pytest.fixture
def made() -> SimpleNamespace:
    """What the folders are made of."""
    return SimpleNamespace(
        results=results, fill=fill, seeded=seeded, groups=GROUPS, detectors=DETECTORS, settings=SETTINGS
    )
