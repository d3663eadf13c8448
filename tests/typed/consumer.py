"""How a program uses the public names; `tests/test_typed.py` checks its types. It is never run."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

import outskirts as osk


def train(folder: Path) -> osk.Run:
    images: osk.ImageSet = osk.open("cifar10:train?limit=1000")
    known = images.select_classes(["cat", "dog"])
    pixels, label = known[0]
    print(len(known), known.classes, pixels.shape, label + 1, known.fingerprint.upper())
    with osk.progress("training") as told:
        run = osk.train("ascood", known, val=folder / "val", out=folder / "run", epochs=2, progress=told)
    run.plot_training().savefig(folder / "training.png")
    return run


def gather(run: osk.Run, images: osk.ImageSet) -> osk.Outputs:
    classifier: osk.Classifier = osk.load(run.path)
    logits: torch.Tensor = classifier(torch.zeros(1, 3, 32, 32))
    detector = osk.detectors.KNN(k=5)
    with osk.progress() as told:
        outputs = osk.extract(classifier, images, probes=detector.probes, device="cpu", progress=told)
    print(classifier.classes[int(logits.argmax())], outputs.features.shape, outputs.accuracy)
    return outputs[:10]


def prepare(folder: Path) -> osk.ImageSet:
    images = osk.open(osk.open(folder / "photos"))
    packed: osk.ImageSet = osk.pack(images, folder / "photos.parquet", side=64, quality=90, say=print)
    cut: osk.ImageSet = osk.cut_backgrounds(packed, folder / "cut", "7-24", max_probability=0.1)
    with osk.progress("extracting") as told:
        tokens: osk.ImageSet = osk.extract_tokens("clip:clip", cut, folder / "tokens", dtype="bfloat16", progress=told)
    print(osk.verify("isun", say=print)["files"], osk.catalogue()["isun"].licence, len(cut), tokens.spec)
    return tokens


def measure_run(run: osk.Run, folder: Path) -> Path:
    results: osk.Results = osk.evaluate_run(run, benchmark="mnist5k", detectors=["msp", "knn:k=5"], tune="own")
    results += osk.evaluate_run(run.path, folder / "test", {"far": {"fog": folder / "fog"}}, tune=folder / "val")
    page: Path = osk.report(run)
    imported: osk.Run = osk.import_checkpoint("openood", folder / "a.ckpt", "mnist5k", folder / "imported", size=None)
    shown: dict[str, osk.Results] = osk.demo(folder / "demo", quick=True, measured=lambda one: print(one.rows))
    print(osk.report([run, imported], folder), shown["ce"].rows, page.name, len(results.rows))
    return osk.benchmark_page([folder / "benchmark"], folder / "results.md", command="me")


def synthesize(run: osk.Run, folder: Path) -> Path:
    with osk.progress("synthesising") as told:
        pictures: osk.synthesis.Outliers = osk.synthesize_images(run, folder / "pictures", method="ascood", count=12)
        features: osk.synthesis.Outliers = osk.synthesize_features(run.path, folder / "edge", count=12, seed=1)
        pool: Path = osk.synthesize_id(folder / "pool", "mixup", run=run, count=12, size=None, lam=0.5, say=print)
        near: Path = osk.synthesize_ncis(folder / "ncis", model=pool / "generator", run=run, draws=2, say=print)
        dream: Path = osk.synthesize_dream(folder / "dream", model="sd", run=run, stage="sample", preset="cifar100")
    print(pictures.values.shape, features.labels, told, dream.name)
    return near


def many(folder: Path) -> osk.Run:
    matrix = osk.benchmark(
        "mnist5k",
        ["ce", "ascood"],
        seeds=[0, 1],
        out=folder / "benchmark",
        options={"epochs": 1},
        told=lambda job, record: print(job.folder.name, record.seconds / 60, record.failure),
    )
    fetched: list[Path] = osk.fetch("isun", say=print)
    print(matrix.failures, [row.auroc for row in matrix.leaderboard], len(fetched))
    osk.train(config=folder / "config.yaml", seed=1)
    return osk.resume(matrix.jobs[0].folder)


def known() -> list[str]:
    print(osk.describe_benchmark("cifar10")["needs"], osk.available("methods")["methods"][0][0])
    return osk.benchmarks()


def own() -> osk.Outputs:
    head = osk.Head(torch.zeros(4, 3), torch.zeros(4))
    return osk.Outputs(torch.zeros(2, 3), torch.zeros(2, 4), labels=torch.zeros(2, dtype=torch.long), head=head)


def detect(train: osk.Outputs, known: osk.Outputs, far: osk.Outputs) -> float:
    detector: osk.detectors.KNN = osk.detectors.KNN(k=5, space="features").fit(train)
    scores: torch.Tensor = detector.score(known)
    detector.save("knn.safetensors")
    again: osk.detectors.Detector = osk.detectors.Detector.load("knn.safetensors")
    also = osk.detectors.create({"name": "react", "percentile": 90})
    print(
        osk.detectors.registry.names(), also.params, osk.detectors.Energy().score(far), osk.detectors.ViM().fit(train)
    )
    interval: osk.metrics.Interval = osk.metrics.auroc_interval(scores, again.score(far))
    rate = osk.metrics.fpr_at_tpr(scores, again.score(far), tpr=0.95, positive="id")
    return osk.metrics.auroc(scores, again.score(far)) + interval.lo + rate


def measure(train: osk.Outputs, known: osk.Outputs, far: osk.Outputs, folder: Path) -> osk.Results:
    with osk.progress("detectors") as told:
        results = osk.evaluate(
            known,
            {"svhn": far},
            ["msp", osk.detectors.Mahalanobis(), {"name": "knn", "k": 10}],
            train=train,
            groups={"svhn": "far"},
            progress=told,
        )
    results += osk.evaluate(known, {"svhn": far}, "all", train=train, run="other")
    results.save(folder)
    best: float = max(row.auroc for row in osk.Results.load(folder).rows)
    accuracy: float | None = results.rows[0].id_accuracy
    figures: list[Figure] = [results.plot_roc("knn", group="far"), results.plot_scores(["msp", "knn"])]
    results.to_dataframe(tuning=True).to_csv(folder / "table.csv")
    print(best, accuracy, len(figures), results.table().row_count, results.skipped)
    return results


def benchmark() -> str:
    try:
        found: osk.Benchmark = osk.load_benchmark("mnist5k")
    except osk.OutskirtsError as error:
        return str(error)
    return found.train


def outliers(features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    made: osk.synthesis.Outliers = osk.synthesis.BoundarySynthesizer()(features, mask, torch.Generator())
    return made.values
