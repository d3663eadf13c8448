"""What detectors cost beside the form in which they were published, and beside the pass that they share.

    python benchmarks/detectors.py [--part published|neighbours|catalogue|memory|all] [--scale 1.0]

``published``: each against a straightforward reimplementation of the published form, kept here; the scores are the
same to 1e-4 of their size. ``neighbours``: against faiss's exhaustive search, if it is installed. ``catalogue``: all
detectors that take no pass of their own, fitted and scored, against the pass over 50,000 training and 50,000 other
images. ``memory``: by how much each raises the peak of a process, at the shape of ImageNet-1k's outputs, scaled.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.stats
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from outskirts import Classifier, Outputs, extract
from outskirts.data.imageset import ImageSet
from outskirts.data.transform import Transform
from outskirts.detectors import (
    ASH,
    DICE,
    KNN,
    VRA,
    GradNorm,
    KLMatching,
    Mahalanobis,
    ReAct,
    ViM,
    create,
    registry,
)
from outskirts.errors import OutskirtsError
from outskirts.evaluation.evaluate import fit_detectors, lacking
from outskirts.extraction.columns import Columns
from outskirts.models.backbones import build_backbone
from outskirts.models.heads import LinearHead

BATCH = 200


def outputs(rows: int, dim: int, classes: int, seed: int = 0, of: Outputs | None = None) -> Outputs:
    """Rectified features about class means, and a head."""
    g = torch.Generator().manual_seed(seed)
    head = of.head if of is not None else (torch.randn(classes, dim, generator=g) / 8, torch.zeros(classes))
    assert head is not None
    labels = torch.arange(rows) % classes
    means = torch.rand(classes, dim, generator=torch.Generator().manual_seed(99))
    features = (means[labels] + 0.7 * torch.randn(rows, dim, generator=g)).clamp_min(0)
    return Outputs(features, features @ head[0].T + head[1], labels, head)


def fresh(of: Outputs) -> Outputs:
    """The same, with nothing derived from it yet."""
    return Outputs(of.features, of.logits, of.labels, of.head)


# As published, in a loop over batches, classes or images


def published_mahalanobis(train: Outputs, test: Outputs) -> Tensor:
    assert train.labels is not None
    features, labels = train.features.double(), train.labels
    means = [features[labels == c].mean(0) for c in range(train.classes)]
    centred = torch.cat([features[labels == c] - means[c] for c in range(train.classes)])
    precision = torch.linalg.pinv(centred.T @ centred / len(features)).float()
    scores = []
    for batch in test.features.split(BATCH):
        per_class = []
        for mean in means:
            difference = batch - mean.float()
            per_class.append((difference @ precision @ difference.T).diag())
        scores.append(torch.stack(per_class).amin(0))
    return torch.cat(scores)


def published_kl_matching(train: Outputs, test: Outputs) -> Tensor:
    p = train.logits.softmax(1).double()
    predicted = train.logits.argmax(1)
    means = [p[predicted == c].mean(0).numpy() for c in range(train.classes) if (predicted == c).any()]
    q = test.logits.softmax(1).double().numpy()
    return torch.tensor([min(scipy.stats.entropy(row, mean) for mean in means) for row in q])


def published_gradnorm(train: Outputs, test: Outputs) -> Tensor:
    assert test.head is not None
    linear = nn.Linear(*reversed(test.head.weight.shape))
    with torch.no_grad():
        linear.weight.copy_(test.head.weight), linear.bias.copy_(test.head.bias)
    norms = []
    for row in test.features:
        linear.zero_grad()
        logits = linear(row[None])
        cross_entropy(logits, torch.ones_like(logits)).backward()
        assert linear.weight.grad is not None
        norms.append(-linear.weight.grad.abs().sum())
    return torch.stack(norms)


def published_dice(train: Outputs, test: Outputs) -> Tensor:
    assert test.head is not None
    weight, bias = test.head
    contributions = train.features.mean(0) * weight
    mask = contributions > np.percentile(contributions.numpy(), 90)
    scores = []
    for batch in test.features.split(BATCH):
        votes = batch[:, None] * (weight * mask)  # [B, C, D]
        scores.append(-(votes.sum(2) + bias).logsumexp(1))
    return torch.cat(scores)


def published_vim(train: Outputs, test: Outputs, dims: tuple[int, ...]) -> list[Tensor]:
    """Each dimension from the beginning."""
    assert train.head is not None
    weight, bias = (part.double().numpy() for part in train.head)
    found = []
    for dim in dims:
        origin = -np.linalg.pinv(weight) @ bias
        features = train.features.double().numpy() - origin
        values, vectors = np.linalg.eig(features.T @ features / len(features))
        rest = np.ascontiguousarray(vectors[:, np.argsort(-values.real)[dim:]].real)
        alpha = train.logits.double().amax(1).mean().item() / np.linalg.norm(features @ rest, axis=1).mean()
        residual = np.linalg.norm((test.features.double().numpy() - origin) @ rest, axis=1)
        found.append(torch.tensor(alpha * residual) - test.logits.double().logsumexp(1))
    return found


def published_react(train: Outputs, test: Outputs) -> Tensor:
    assert test.head is not None
    clipped = test.features.clamp_max(float(np.percentile(train.features.numpy(), 90)))
    return -(clipped @ test.head.weight.T + test.head.bias).logsumexp(1)


def published_vra(train: Outputs, test: Outputs) -> Tensor:
    assert test.head is not None
    low, high = (float(np.percentile(train.features.numpy(), cut)) for cut in (10, 90))
    clipped = test.features.clamp_max(high).where(test.features >= low, 0.0)
    return -(clipped @ test.head.weight.T + test.head.bias).logsumexp(1)


def published_ash(train: Outputs, test: Outputs) -> Tensor:
    assert test.head is not None
    scores = []
    for batch in test.features.split(BATCH):
        count = batch.shape[1] - round(0.9 * batch.shape[1])
        kept = batch.topk(count, dim=1).indices
        fill = (batch.sum(1, keepdim=True) / count).expand(-1, count)
        shaped = torch.zeros_like(batch).scatter_(1, kept, fill)
        scores.append(-(shaped @ test.head.weight.T + test.head.bias).logsumexp(1))
    return torch.cat(scores)


DIMS = (64, 128, 256, 384)


def sweep(train: Outputs, test: Outputs) -> list[Tensor]:
    return [ViM(dim=dim).fit(train).score(test) for dim in DIMS]


def published(scale: float) -> None:
    train = outputs(int(20_000 * scale), 512, 100)
    few = train[:5000]
    rows: list[tuple[str, Outputs, int, Callable[..., object], Callable[..., object]]] = [
        ("Mahalanobis", few, 10_000, published_mahalanobis, lambda a, b: Mahalanobis(ridge=0).fit(a).score(b)),
        ("KL-matching", few, 1000, published_kl_matching, lambda a, b: KLMatching().fit(a).score(b)),
        ("GradNorm", few, 1000, published_gradnorm, lambda a, b: GradNorm().score(b)),
        ("DICE", few, 10_000, published_dice, lambda a, b: DICE().fit(a).score(b)),
        ("ReAct", train, 10_000, published_react, lambda a, b: ReAct().fit(a).score(b)),
        ("VRA", train, 10_000, published_vra, lambda a, b: VRA().fit(a).score(b)),
        ("ASH", train, 10_000, published_ash, lambda a, b: ASH().score(b)),
        ("ViM, 4 dimensions", train, 1000, lambda a, b: published_vim(a, b, DIMS), sweep),
    ]
    print("512 features, 100 classes; fitting and scoring")
    for name, fitted, count, theirs, ours in rows:
        test = outputs(int(count * scale), 512, 100, 1, train)
        slow, expected = timed(lambda theirs=theirs, a=fitted, b=test: theirs(a, b), 1)
        fast, found = timed(lambda ours=ours, a=fitted, b=test: ours(fresh(a), fresh(b)), 5)
        print(
            f"{name:18} {len(fitted):,} and {len(test):,} images: published {slow:7.2f} s   ours {fast:7.4f} s   "
            f"ratio {slow / fast:7.1f}   difference {difference(expected, found):.0e}"
        )


def difference(expected: object, found: object) -> float:
    """The largest, in terms of the scores' size."""
    pairs = zip(expected, found) if isinstance(expected, list) else [(expected, found)]  # type: ignore[call-overload]
    return max(((a.double() - b.double()).abs() / b.double().abs().mean()).max().item() for a, b in pairs)


def timed(call: Callable[[], object], times: int) -> tuple[float, object]:
    """The shortest of several times."""
    best, result = float("inf"), None
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
    return best, result


def neighbours(scale: float) -> None:
    try:
        import faiss
    except ImportError:
        print("neighbours: pip install faiss-cpu to compare with it")
        return
    faiss.omp_set_num_threads(torch.get_num_threads())
    count = int(50_000 * scale)
    bank, queries = (
        normalize(torch.randn(n, 512, generator=torch.Generator().manual_seed(n))) for n in (count, count // 5)
    )
    index = faiss.IndexFlatL2(512)
    index.add(bank.numpy())
    theirs, found = timed(lambda: index.search(queries.numpy(), 50)[0][:, -1], 2)
    train, test = Outputs(bank, bank[:, :2]), Outputs(queries, queries[:, :2])
    ours, scores = timed(lambda: KNN(50).fit(fresh(train)).score(fresh(test)), 2)
    error = difference(torch.from_numpy(found), scores)  # type: ignore[arg-type]
    print(
        f"kNN, {len(queries):,} in {count:,} x 512, k = 50: faiss flat {theirs:.2f} s   ours {ours:.2f} s   "
        f"ratio {theirs / ours:.2f}   difference {error:.0e}"
    )


def catalogue(scale: float) -> None:
    torch.manual_seed(0)
    backbone = build_backbone("fast", 3, 32)
    classifier = Classifier(backbone, LinearHead(nn.Linear(backbone.dim, 10)), Transform(32), list("0123456789"))
    random = np.random.default_rng(0)

    def images(count: int) -> ImageSet:
        pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return ImageSet(pixels, torch.arange(count) % 10, list("0123456789"))

    counts = {"train": 50_000, "val": 1000, "id": 10_000, "a": 10_000, "b": 10_000, "c": 10_000, "d": 10_000}
    sets = {name: images(int(count * scale)) for name, count in counts.items()}
    chosen = {name: one for name in registry.names() if not (one := create(name)).probes}
    passes, made = timed(lambda: {name: extract(classifier, image_set) for name, image_set in sets.items()}, 1)
    of = {name: balanced(one) for name, one in made.items()}  # type: ignore[attr-defined]
    chosen = {name: one for name, one in chosen.items() if lacking(one, of["id"]) is None}
    each = {}
    for name, one in chosen.items():

        def run(name: str = name, one: object = one) -> None:
            fit_detectors({name: one}, train=of["train"], val=of["val"])  # type: ignore[dict-item]
            for part in ("id", "a", "b", "c", "d"):
                one.score(of[part])  # type: ignore[attr-defined]

        each[name], _ = timed(run, 1)
    total = sum(each.values())
    print(
        f"the pass over {sum(map(len, sets.values())):,} images {passes:.1f} s; {len(chosen)} detectors {total:.1f} s;"
    )
    print(f"all of it in terms of the pass: {1 + total / passes:.2f}")
    print("slowest: " + ", ".join(f"{name} {each[name]:.2f} s" for name in sorted(each, key=each.__getitem__)[:-8:-1]))


def balanced(of: Outputs) -> Outputs:
    """With logits and labels as of a network that was trained: all classes are predicted, and rightly."""
    logits = (of.logits - of.logits.mean(0)) / of.logits.std(0)
    return Outputs(of.features, logits, logits.argmax(1), of.head)


def memory(scale: float) -> None:
    """Peaks of processes that see nothing but stored outputs."""
    rows, dim, classes = int(1_281_167 * scale), 2048, 1000
    with tempfile.TemporaryDirectory() as folder:
        for name, count in (("train", rows), ("test", max(1000, rows // 25))):
            columns = Columns(count, Path(folder) / f"{name}.safetensors")
            g = torch.Generator().manual_seed(0)
            for start in range(0, count, 8192):
                n = min(8192, count - start)
                labels = torch.arange(start, start + n) % classes
                features = torch.randn(n, dim, generator=g).abs().half()
                logits = torch.randn(n, classes, generator=g).scatter(1, labels[:, None], 9.0)
                columns.put({"features": features, "logits": logits, "labels": labels})
            columns.finish()
        size = rows * (2 * dim + 4 * classes + 8)
        print(f"{rows:,} training images, {dim} features (half), {classes} logits: {size / 2**30:.2f} GiB stored")
        context = multiprocessing.get_context("spawn")
        base = None
        for name in ["", *(n for n in registry.names() if not create(n).probes)]:
            with context.Pool(1) as pool:
                peak, reason = pool.apply(peak_of, (name, folder))
            base = peak if base is None else base
            if name:
                print(f"{name:22} " + (reason or f"{(peak - base) / 2**30:6.2f} GiB"))


def peak_of(name: str, folder: str) -> tuple[int, str]:
    """The most anonymous memory of this process, bytes, after a detector was fitted and has scored."""
    from outskirts.files import load_tensors

    train, test = (load_tensors(Path(folder) / f"{part}.safetensors")[0] for part in ("train", "test"))
    g = torch.Generator().manual_seed(1)
    head = (
        torch.randn(train["logits"].shape[1], train["features"].shape[1], generator=g),
        torch.zeros(train["logits"].shape[1]),
    )
    both = [Outputs(part["features"], part["logits"], part["labels"], head) for part in (train, test)]
    if name:
        detector = create(name)
        if reason := lacking(detector, both[1]):
            return 0, reason
        try:
            fit_detectors({name: detector}, train=both[0], val=both[1])
            detector.score(both[1])
        except OutskirtsError as error:
            return 0, str(error)
    return anonymous_peak(), ""


def anonymous_peak() -> int:
    """Of memory that is not of files, as far as the system tells: the peak less the files that are mapped now."""
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - int(status["RssFile"].split()[0]))


def main() -> None:
    parts = {"published": published, "neighbours": neighbours, "catalogue": catalogue, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=[*parts, "all"], default="all")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sets; use .05 for memory on a laptop")
    given = parser.parse_args()
    for name, part in parts.items():
        if given.part in (name, "all"):
            part(given.scale)


if __name__ == "__main__":
    main()
