"""What a guard costs beside the network that it guards.

    python benchmarks/guard.py [--part predict|scoring|loading|lookup|onnx|all] [--images 10000] [--rounds 5]

``predict``: verdicts on JPEG files of 500×375 pixels, written to a CSV file, beside decoding them and forwarding them.
``scoring``: kNN with 50,000 images of 512 features, beside the forward pass of a ResNet-18 at 224 pixels. ``loading``:
a guard from its folder, beside reading its files. ``lookup``: p-values of 1,000 scores, for more and more calibration
scores. ``onnx``: the exported file in ONNX Runtime, in floats and in whole numbers of 8 bits, beside the guard in
torch, from pixels of 500×375 to verdicts. Networks have random weights. Ratios are of rounds side by side.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from decoding import photographs
from torch import nn

import outskirts as osk
from outskirts.data.loading.ahead import batches
from outskirts.data.transform import Transform
from outskirts.guard.calibration import Calibration
from outskirts.guard.predicting import predict_to
from outskirts.guard.threshold import p_values
from outskirts.memory import keep_freed_memory
from outskirts.models.backbones import build_backbone
from outskirts.models.classifier import Classifier
from outskirts.models.heads import LinearHead

BANK, BATCH = 50_000, 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["predict", "scoring", "loading", "lookup", "onnx", "all"], default="all")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    keep_freed_memory()
    made = guard()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        if given.part in ("predict", "all"):
            predict(made, Path(folder), given.images, given.rounds)
        if given.part in ("scoring", "all"):
            scoring(made, given.rounds)
        if given.part in ("loading", "all"):
            loading(made, Path(folder), given.rounds)
        if given.part in ("lookup", "all"):
            lookup(given.rounds)
        if given.part in ("onnx", "all"):
            onnx(made, Path(folder), given.rounds)


def guard() -> osk.Guard:
    """A ResNet-18 with random weights, and the features of random images."""
    torch.manual_seed(0)
    backbone = build_backbone("torchvision:resnet18", 3, 224)
    about = {"backbone": backbone.name, "method": "ce", "options": {}}
    transform = Transform(224, resize=256)
    model = Classifier(backbone, LinearHead(nn.Linear(512, 10)), transform, list("0123456789"), about).eval()
    model = model.to(memory_format=torch.channels_last)
    train = osk.Outputs(torch.rand(BANK, 512), torch.randn(BANK, 10), torch.arange(BANK) % 10)
    detector = osk.detectors.KNN(k=10).fit(train)
    scores = detector.score(osk.Outputs(torch.rand(1000, 512), torch.randn(1000, 10)))
    return osk.Guard(model, detector, Calibration.of(scores, 0.95))


def predict(made: osk.Guard, folder: Path, count: int, rounds: int) -> None:
    """Verdicts on files, beside what cannot be saved: decoding and the forward pass."""
    (folder / "photos").mkdir()
    photographs(folder / "photos", count, 500, 375)
    images, model = osk.open(folder / "photos"), made.classifier

    def alone() -> None:
        for pixels, _ in batches(images, model.transform, BATCH):
            shown = model.transform.device(pixels).contiguous(memory_format=torch.channels_last)
            model(shown)

    def verdicts() -> None:
        predict_to(made, images, folder / "verdicts.csv")
        (folder / "verdicts.csv").unlink()

    compared(f"{count:,} files", {"decoding and forward pass": alone, "predict": verdicts}, rounds)


def scoring(made: osk.Guard, rounds: int) -> None:
    images = torch.randn(BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    features, logits = torch.rand(BATCH, 512), torch.randn(BATCH, 10)
    ways: dict[str, Callable[[], object]] = {
        "forward pass": lambda: made.classifier(images),
        # Outputs remember what was derived of them, so that each round has new ones.
        "score, p-value, verdict": lambda: made.verdicts(osk.Outputs(features, logits), [""] * BATCH),
    }
    compared(f"a batch of {BATCH}, a bank of {BANK:,}", ways, rounds)


def loading(made: osk.Guard, folder: Path, rounds: int) -> None:
    kept = made.save(folder / "guard")

    def read() -> None:
        for file in kept.iterdir():
            file.read_bytes()

    compared("a guard", {"reading its files": read, "Guard.load": lambda: osk.Guard.load(kept)}, rounds)


def lookup(rounds: int) -> None:
    scores = torch.rand(1000, dtype=torch.float64)
    calibrations = {n: torch.rand(n, dtype=torch.float64).sort().values for n in (1000, 10_000, 100_000, 1_000_000)}
    ways = {f"n = {n:,}": lambda known=known: p_values(known, scores) for n, known in calibrations.items()}
    compared("1,000 p-values", ways, 20 * rounds)


def onnx(made: osk.Guard, folder: Path, rounds: int) -> None:
    """The same verdicts by torch and by ONNX Runtime."""
    draws = np.random.default_rng(0)
    several = [draws.integers(0, 256, (375, 500, 3), np.uint8) for _ in range(100)]
    made.export(folder / "guard.onnx")
    made.export(folder / "int8.onnx", int8=True, calibration=several)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    floats, whole = (
        onnxruntime.InferenceSession(folder / name, options, providers=["CPUExecutionProvider"])
        for name in ("guard.onnx", "int8.onnx")
    )
    for size in (1, 32):
        pixels = np.stack(several[:size])
        ways: dict[str, Callable[[], object]] = {
            "torch": lambda pixels=pixels: _by_torch(made, pixels),
            "ONNX Runtime": lambda pixels=pixels: floats.run(None, {"pixels": pixels}),
            "ONNX Runtime, 8 bits": lambda pixels=pixels: whole.run(None, {"pixels": pixels}),
        }
        compared(f"verdicts on a batch of {size}", ways, 5 * rounds if size == 1 else rounds)


def _by_torch(made: osk.Guard, pixels: np.ndarray) -> osk.Verdicts:
    model = made.classifier
    shown = torch.stack([model.transform.host(one) for one in torch.from_numpy(pixels).movedim(3, 1)])
    images = model.transform.device(shown).contiguous(memory_format=torch.channels_last)
    features = model.features(images)
    return made.verdicts(osk.Outputs(features, model.head(features)), [""] * len(images))


def compared(title: str, ways: dict[str, Callable[[], object]], rounds: int) -> None:
    """Print the seconds of each way, and the median ratio to the first."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - start)
    base = next(iter(taken.values()))
    print(title)
    for name, times in taken.items():
        ratio = statistics.median(t / b for b, t in zip(base, times))
        print(f"  {name:28} {1000 * statistics.median(times):10.2f} ms, {ratio:.2f} times", flush=True)


if __name__ == "__main__":
    main()
