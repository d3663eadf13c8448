import json
import re
import shutil
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts.errors import OutskirtsError
from outskirts.evaluation.evaluate_run import evaluate_run
from outskirts.evaluation.intervals import auroc_interval
from outskirts.evaluation.metrics import auroc
from outskirts.evaluation.results import Result, Results
from outskirts.figures.diagnostics import diagnostics
from outskirts.files import save_json, write_text
from outskirts.reporting import report
from outskirts.reporting.comparison import compare
from outskirts.reporting.run_report import RunReport
from outskirts.reporting.seeds import over_seeds

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
    save_json(folder / "environment.json", {"command": "outskirts train --method ce", "torch": "2.5"})
    save_json(folder / "notes.json", ["Patches of few pictures are not independent."])
    for name in ("outliers.png", "misses/a.png"):
        Image.new("RGB", (8, 8), "red").save(folder / "gallery" / name)
    save_json(folder / "gallery" / "outliers.json", {"caption": "Each outlier below its source."})
    miss = {"dataset": "svhn", "detector": "msp", "kind": "ood accepted", "image": "misses/a.png"}
    miss |= {"score": 0.01, "predicted": "<script>alert(1)</script>", "confidence": 0.99, "label": None}
    save_json(folder / "gallery" / "misses.json", [miss])
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


def log(start: int = 10, steps: int = 40, warnings: tuple[int, int] = (0, 0)) -> list[dict[str, object]]:
    """A log of NPOS that makes outliers from step `start` on and warns from one step until before another."""
    lines: list[dict[str, object]] = []
    for step in range(1, steps + 1):
        made = step >= start
        line = {"kind": "train", "step": step, "epoch": step / 10, "loss": 1.0}
        line |= {"angle_between": 80.0 + step / 10, "angle_nearest": 60.0, "angle_own": 30.0, "ready": made * 0.5}
        # The first average with outliers is diluted by steps without them.
        share = made * (0.3 if step == start else 1)
        line |= {"kept_distance": 0.9 * share, "rejected_distance": 0.6 * share, "boundary_distance": 0.4 * share}
        line |= {"outlier_accuracy": 0.75 * share}
        if warnings[0] <= step < warnings[1]:
            line["warning"] = f"Collapsed <for> {step} steps: try a lower --lr."
        lines.append(line)
    return [*lines, {"kind": "val", "step": steps, "epoch": steps / 10, "loss": 0.5, "accuracy": 0.9}]


def logged(folder: Path, lines: list[dict[str, object]]) -> str:
    """The page on a run with this log."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return report([folder], folder).read_text(encoding="utf-8")


TITLES = (
    "Angles between classes",
    "Classes with outliers",
    "Distance from the class",
    "Images and outliers told apart",
)


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


def test_a_folder_receives_report_html(bare: Path, tmp_path: Path) -> None:
    assert report([bare], tmp_path / "out") == tmp_path / "out" / "report.html"
    assert (tmp_path / "out" / "report.html").exists()


def test_every_section_is_there(page: str) -> None:
    for title in ("Summary", "How to read this", "Comparison with ce"):
        assert page.count(f"<h2>{title}</h2>") == 1
    for title in ("Results", "Scores", "ROC curves", "Training", "Synthesised outliers", "Hardest misses"):
        assert page.count(f"<h3>{title}</h3>") == 2
    for text in ("outskirts train --method ce", "Each outlier below its source.", "k=50", "are not independent"):
        assert text in page
    assert 'class="missing"' not in page
    assert len(page) < 3_000_000


def test_the_page_is_well_formed_and_loads_nothing(page: str) -> None:
    parsed = Page(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "b"}
    assert all(value.startswith(("#", "data:image/")) for value in parsed.values("src", "href", "xlink:href"))
    assert "http" not in page
    assert "@import" not in page


def test_ids_are_unique_and_every_reference_resolves(page: str) -> None:
    parsed = Page(page)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    used = [value[1:] for value in parsed.values("href", "xlink:href") if value.startswith("#")]
    assert set(used) | set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_charts_take_their_colours_from_the_page_and_say_what_they_show(page: str) -> None:
    charts = [attrs for tag, attrs in Page(page).tags if tag == "svg"]
    assert len(charts) == 2 * (2 * len(GROUPS) + len(GROUPS) + 2)
    assert len({chart["aria-label"] for chart in charts}) == len(charts)
    assert "currentColor" in page
    assert "var(--series-1)" in page
    assert not re.search(r"#0102\d", page)
    assert "DejaVu" not in page


def test_names_are_escaped(page: str) -> None:
    assert "&lt;script&gt;alert(1)" in page
    assert "npos&lt;b&gt;" in page
    assert "needs &lt;gradients&gt;" in page


def test_the_same_runs_give_the_same_page(runs: list[Path], page: str, tmp_path: Path) -> None:
    assert report(runs, tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_missing_pieces_are_named(bare: Path, tmp_path: Path) -> None:
    page = report([bare], tmp_path / "page.html").read_text(encoding="utf-8")
    for piece in ("scores.safetensors", "metrics.jsonl", "outliers.png", "misses.json", "environment.json"):
        assert piece in page
    assert page.count('class="missing"') == 5
    assert "Comparison" not in page
    Page(page)


def test_the_headline_is_msp_even_where_another_detector_is_better(runs: list[Path]) -> None:
    run = RunReport.read(runs[0], "ce")
    assert run.headline == "msp"
    best = replace(run.results, rows=tuple(r for r in run.results.rows if r.detector != "msp"))
    assert replace(run, results=best).headline == "knn"


def test_the_headline_is_what_the_method_is_published_with(runs: list[Path]) -> None:
    run = RunReport.read(runs[0], "ce")
    assert replace(run, config={"method": "cider"}).headline == "knn"
    # CLIP's is not among the results, and a stranger's method is not known here.
    for method in ("npos-clip", "somebody's"):
        assert replace(run, config={"method": method}).headline == "msp"


def test_a_group_of_one_set_shows_no_mean(runs: list[Path]) -> None:
    near, far = RunReport.read(runs[0], "ce").tables
    assert near.datasets == ("mean", "cifar100", "tin")
    assert far.datasets == ("svhn",)


def test_a_comparison_subtracts_the_first_run(runs: list[Path]) -> None:
    lines = compare([RunReport.read(run, run.name) for run in runs])
    assert [(line.group, line.detector) for line in lines] == [
        (group, detector) for group in ("near", "far") for detector, _ in DETECTORS
    ]
    for line in lines:
        assert line.interval is not None
        assert line.interval[0] < line.difference < line.interval[1]
        assert line.difference > 0
        assert line.p_value is not None
        assert line.p_value < 0.05


def seeded(folder: Path, seed: int, settings: str = SETTINGS) -> Path:
    results(1.0, seed).save(folder)
    write_text(folder / "config.yaml", settings.replace("seed: 0", f"seed: {seed}"))
    return folder


def test_runs_that_differ_by_their_seed_are_averaged(tmp_path: Path) -> None:
    folders = [seeded(tmp_path / f"s{seed}", seed) for seed in (0, 1, 2)]
    other = seeded(tmp_path / "longer", 0, SETTINGS + "epochs: 9\n")
    read = [RunReport.read(folder, folder.name) for folder in [*folders, other]]
    lines = over_seeds(read)
    assert [(line.group, line.detector) for line in lines] == [
        (group, detector) for group in ("near", "far") for detector, _ in DETECTORS
    ]
    for line in lines:
        assert line.runs == ("s0", "s1", "s2") and line.auroc.n == 3
        dataset = "mean" if line.group == "near" else "svhn"
        values = [
            row.auroc
            for run in read[:3]
            for row in run.results.rows
            if (row.detector, row.group, row.dataset) == (line.detector, line.group, dataset)
        ]
        assert line.auroc.mean == pytest.approx(sum(values) / 3)
        assert line.auroc.deviation == pytest.approx(torch.tensor(values, dtype=torch.float64).std(correction=0).item())
    page = report([*folders, other], tmp_path).read_text(encoding="utf-8")
    assert "Over seeds" in page and "3 seeds: s0, s1, s2" in page
    assert "Over seeds" not in report([folders[0], other], tmp_path).read_text(encoding="utf-8")


def test_sets_that_differ_have_no_mean_over_seeds(tmp_path: Path) -> None:
    read = [RunReport.read(seeded(tmp_path / f"s{seed}", seed), f"s{seed}") for seed in (0, 1)]
    fewer = tuple(row for row in read[1].results.rows if row.dataset != "tin")
    second = replace(read[1], results=replace(read[1].results, rows=fewer))
    assert {line.group for line in over_seeds([read[0], second])} == {"far"}


def test_scores_of_different_images_are_not_paired(runs: list[Path]) -> None:
    first, second = (RunReport.read(run, run.name) for run in runs)
    fewer = {label: {**sets, "id": sets["id"][1:]} for label, sets in second.results.scores.items()}
    lines = compare([first, replace(second, results=replace(second.results, scores=fewer))])
    assert {(line.interval, line.p_value) for line in lines} == {(None, None)}


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("results.csv", "not,a,table\n1,2,3\n", "results.csv"),
        ("scores.safetensors", "no tensors", "scores.safetensors is damaged"),
        ("config.yaml", "a: [", "config.yaml is damaged"),
        ("config.yaml", "- a list", "should map"),
        ("metrics.jsonl", '{"kind": "train", "epoch": 1}\n{"kind"', "line 2 is not valid JSON"),
        ("metrics.jsonl", '{"kind": "train"}', "entry 1 lacks epoch"),
        ("environment.json", "{", "environment.json is damaged"),
        ("gallery/misses.json", "[3]", "entry 1 lacks dataset"),
    ],
)
def test_damaged_files_are_clear_errors(bare: Path, file: str, content: str, sentence: str) -> None:
    write_text(bare / file, content)
    with pytest.raises(OutskirtsError, match=re.escape(sentence)):
        report([bare], bare / "report.html")


def test_the_page_of_one_run_lies_in_its_folder(bare: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = report(bare)
    assert page == bare / "report.html" and page.read_text() == report([bare], tmp_path / "a.html").read_text()
    monkeypatch.chdir(tmp_path)
    assert report([bare]) == Path("report.html") and Path("report.html").is_file()


def test_a_folder_without_results_settings_or_runs_is_a_clear_error(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(OutskirtsError, match="at least one run"):
        report([], tmp_path)
    with pytest.raises(OutskirtsError, match="given twice"):
        report([bare, bare], tmp_path)
    (bare / "config.yaml").unlink()
    with pytest.raises(OutskirtsError, match="is not a run folder"):
        report([bare], tmp_path)
    Results(()).save(bare)
    with pytest.raises(OutskirtsError, match="holds no results"):
        report([bare], tmp_path)


def test_runs_of_the_same_name_are_told_apart(runs: list[Path], tmp_path: Path) -> None:
    for parent in ("first", "second"):
        fill(tmp_path / parent / "run", 1.0)
    path = report([tmp_path / "first" / "run", tmp_path / "second" / "run"], tmp_path)
    assert "<h2>first/run</h2>" in path.read_text(encoding="utf-8")


def test_the_diagnostics_in_the_log_are_drawn_and_explained(bare: Path) -> None:
    page = logged(bare, log())
    labels = [attrs["aria-label"] for tag, attrs in Page(page).tags if tag == "svg"]
    assert labels[2:] == [f"{title} against the epoch, run bare" for title in TITLES]
    for chart in diagnostics(log()):
        assert page.count(f"<strong>{chart.title}</strong>") == 1
        assert page.count(chart.explanation) == 1
        for name in chart.curves if len(chart.curves) > 1 else ():
            assert page.count(f">{name}</text>") == 1, name
    assert 'role="note"' not in page


def test_without_diagnostics_in_the_log_there_is_nothing_of_them(page: str) -> None:
    assert not [title for title in TITLES if title in page]
    assert 'role="note"' not in page


def test_steps_without_outliers_are_no_distances() -> None:
    charts = {chart.title: chart.curves for chart in diagnostics(log(start=10, steps=40))}
    assert list(charts) == list(TITLES)
    distances = charts["Distance from the class"]
    assert distances.keys() == {"candidates kept", "candidates rejected", "images at the boundary"}
    assert distances["candidates kept"] == [(step / 10, 0.9) for step in range(11, 41)]
    assert charts["Images and outliers told apart"]["accuracy"][0] == (1.1, 75.0)
    assert charts["Classes with outliers"]["classes ready"][8:10] == [(0.9, 0.0), (1.0, 50.0)]
    assert len(charts["Angles between classes"]["nearest two prototypes"]) == 40


def test_a_training_without_outliers_or_without_distances_has_fewer_charts(bare: Path) -> None:
    assert [chart.title for chart in diagnostics(log(start=99))] == list(TITLES[:2])
    # Outliers of pixels lie at no distance, and no class has to be ready.
    keys = ("kind", "step", "epoch", "loss", "outlier_accuracy")
    pixels = [{key: line[key] for key in keys if key in line} for line in log(start=10)]
    (chart,) = diagnostics(pixels)
    assert chart.title == TITLES[3]
    assert {value for _, value in chart.curves["accuracy"]} == {75.0}
    assert logged(bare, pixels).count("<svg") == 2


def test_a_drawing_follows_the_scheme_of_the_page_and_a_photograph_does_not(bare: Path) -> None:
    (bare / "gallery").mkdir()
    Image.new("RGB", (8, 8), "white").save(bare / "gallery" / "outliers.png")
    for about, classes in (({"drawing": True}, ["drawing"]), ({}, [])):
        save_json(bare / "gallery" / "outliers.json", {"caption": "Here.", **about})
        page = report([bare], bare).read_text(encoding="utf-8")
        assert [attrs["class"] for tag, attrs in Page(page).tags if tag == "img" and "class" in attrs] == classes


def test_a_log_of_one_line_is_drawn(bare: Path) -> None:
    assert logged(bare, log(steps=1)).count("<svg") == 4


@pytest.mark.parametrize(
    ("when", "text", "latest"),
    [
        ((5, 21), "epochs 0.5 to 2.0, gone afterwards.", 20),
        ((5, 41), "epochs 0.5 to 4.0.", 40),
        ((40, 41), "epoch 4.0.", 40),
    ],
)
def test_a_warning_is_shown_once_with_its_time(bare: Path, when: tuple[int, int], text: str, latest: int) -> None:
    page = logged(bare, log(warnings=when))
    Page(page)
    assert page.count('role="note"') == page.count("Collapsed &lt;for&gt;") == 1
    assert f"<strong>Warning of the training, {text}</strong>\nCollapsed &lt;for&gt; {latest} steps: " in page
    assert 'try a lower <span class="option">--lr</span>.</p>' in page
    assert page.index('role="note"') < page.index('id="how-to-read"')


def test_chosen_parameters_are_shown(tmp_path: Path, finished: Path, bugs: Path) -> None:
    run = osk.Run.open(shutil.copytree(finished, tmp_path / "run"))
    ood = {"near": {"flies": osk.open(bugs / "flies")}}
    evaluate_run(run, osk.open(bugs / "test"), ood, ["msp", "react"], tune="own")
    page = report([run.path], tmp_path / "report.html").read_text()
    assert "5 points of 2 detectors" in page and "own outliers" in page
    assert page.count("percentile=85.0, scorer=energy") >= 1
