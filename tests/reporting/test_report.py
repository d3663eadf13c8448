import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts.errors import OutskirtsError
from outskirts.evaluation.evaluate_run import evaluate_run
from outskirts.evaluation.results import Results
from outskirts.files import save_json, write_text
from outskirts.reporting import report
from outskirts.reporting.comparison import compare
from outskirts.reporting.run_report import RunReport
from outskirts.reporting.seeds import over_seeds


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


def test_the_page_is_well_formed_and_loads_nothing(page: str, parsed: Any) -> None:
    parsed = parsed(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "b"}
    assert all(value.startswith(("#", "data:image/")) for value in parsed.values("src", "href", "xlink:href"))
    assert "http" not in page
    assert "@import" not in page


def test_ids_are_unique_and_every_reference_resolves(page: str, parsed: Any) -> None:
    parsed = parsed(page)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    used = [value[1:] for value in parsed.values("href", "xlink:href") if value.startswith("#")]
    assert set(used) | set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_charts_take_their_colours_from_the_page_and_say_what_they_show(page: str, parsed: Any, made: Any) -> None:
    charts = [attrs for tag, attrs in parsed(page).tags if tag == "svg"]
    assert len(charts) == 2 * (2 * len(made.groups) + len(made.groups) + 2)
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


def test_missing_pieces_are_named(bare: Path, tmp_path: Path, parsed: Any) -> None:
    page = report([bare], tmp_path / "page.html").read_text(encoding="utf-8")
    pieces = "scores.safetensors", "metrics.jsonl", "outliers.png", "misses.json", "environment.json", "transform.json"
    for piece in pieces:
        assert piece in page
    assert page.count('class="missing"') == 6
    assert "Comparison" not in page
    parsed(page)


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


def test_a_comparison_subtracts_the_first_run(runs: list[Path], made: Any) -> None:
    lines = compare([RunReport.read(run, run.name) for run in runs])
    assert [(line.group, line.detector) for line in lines] == [
        (group, detector) for group in ("near", "far") for detector, _ in made.detectors
    ]
    for line in lines:
        assert line.interval is not None
        assert line.interval[0] < line.difference < line.interval[1]
        assert line.difference > 0
        assert line.p_value is not None
        assert line.p_value < 0.05


def test_runs_that_differ_by_their_seed_are_averaged(tmp_path: Path, made: Any) -> None:
    folders = [made.seeded(tmp_path / f"s{seed}", seed) for seed in (0, 1, 2)]
    other = made.seeded(tmp_path / "longer", 0, made.settings + "epochs: 9\n")
    read = [RunReport.read(folder, folder.name) for folder in [*folders, other]]
    lines = over_seeds(read)
    assert [(line.group, line.detector) for line in lines] == [
        (group, detector) for group in ("near", "far") for detector, _ in made.detectors
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
        assert line.auroc.deviation == pytest.approx(torch.tensor(values, dtype=torch.float64).std(correction=1).item())
    page = report([*folders, other], tmp_path).read_text(encoding="utf-8")
    assert "Over seeds" in page and "3 seeds: s0, s1, s2" in page
    assert "Over seeds" not in report([folders[0], other], tmp_path).read_text(encoding="utf-8")


def test_sets_that_differ_have_no_mean_over_seeds(tmp_path: Path, made: Any) -> None:
    read = [RunReport.read(made.seeded(tmp_path / f"s{seed}", seed), f"s{seed}") for seed in (0, 1)]
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
        ("config.yaml", "epochs: many", "but its epochs is 'many', not a whole number"),
        ("config.yaml", "- a list", "should map"),
        ("metrics.jsonl", '{"kind": "train", "epoch": 1}\n{"kind"', "line 2 is not valid JSON"),
        ("metrics.jsonl", '{"kind": "train"}', "entry 1 lacks epoch"),
        ("metrics.jsonl", '{"kind": "data", "epoch": 0, "images": []}', "metrics.jsonl is damaged: "),
        ("environment.json", "{", "environment.json is damaged"),
        ("transform.json", '{"size": 0, "mean": null, "std": null}', "transform.json is damaged: size must be"),
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


def test_runs_of_the_same_name_are_told_apart(runs: list[Path], tmp_path: Path, made: Any) -> None:
    for parent in ("first", "second"):
        made.fill(tmp_path / parent / "run", 1.0)
    path = report([tmp_path / "first" / "run", tmp_path / "second" / "run"], tmp_path)
    assert "<h2>first/run</h2>" in path.read_text(encoding="utf-8")


def test_a_drawing_follows_the_scheme_of_the_page_and_a_photograph_does_not(bare: Path, parsed: Any) -> None:
    (bare / "gallery").mkdir()
    Image.new("RGB", (8, 8), "white").save(bare / "gallery" / "outliers.png")
    for about, classes in (({"drawing": True}, ["drawing"]), ({}, [])):
        save_json(bare / "gallery" / "outliers.json", {"caption": "Here.", **about})
        page = report([bare], bare).read_text(encoding="utf-8")
        assert [attrs["class"] for tag, attrs in parsed(page).tags if tag == "img" and "class" in attrs] == classes


def test_chosen_parameters_are_shown(tmp_path: Path, finished: Path, bugs: Path) -> None:
    run = osk.Run.open(shutil.copytree(finished, tmp_path / "run"))
    ood = {"near": {"flies": osk.open(bugs / "flies")}}
    evaluate_run(run, osk.open(bugs / "test"), ood, ["msp", "react"], tune="own")
    page = report([run.path], tmp_path / "report.html").read_text()
    assert "5 points of 2 detectors" in page and "own outliers" in page
    assert page.count("percentile=85.0, scorer=energy") >= 1
