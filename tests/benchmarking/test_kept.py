"""A benchmark's folder keeps what its tables have, and the files of others."""

import shutil
from dataclasses import replace

import pytest

import outskirts as osk
from outskirts.benchmarking import run_job as module
from outskirts.benchmarking.matrix import Matrix, require_kept
from outskirts.benchmarking.render import render
from outskirts.errors import OutskirtsError
from outskirts.files import load_json, save_json


@pytest.fixture
def done(shifted, tmp_path):
    """A copy of two finished runs and their matrix."""
    folder = shutil.copytree(shifted[0].folder.parent, tmp_path / "out")
    jobs = [replace(job, folder=folder / job.folder.name) for job in shifted]
    Matrix("bugs", "", "", "outskirts benchmark bugs", jobs).save(folder)
    return folder, jobs


def test_tables_may_have_more_than_before(done):
    folder, jobs = done
    require_kept(folder, "bugs", jobs)
    require_kept(folder, "bugs", [*jobs, replace(jobs[0], seed=1, folder=folder / "ce-s1")])
    require_kept(folder, "bugs", [replace(job, detectors=("all",)) for job in jobs])
    # What is not there yet is not lost.
    (folder / "ascood-s0" / "results.csv").unlink()
    require_kept(folder, "bugs", jobs[:1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda jobs: jobs[:1], "would lose what they have of the run ascood-s0. Ask for that as well"),
        (lambda jobs: [replace(job, detectors=("energy",)) for job in jobs], "have of the detector msp."),
        (lambda jobs: [replace(job, ood={"shifted": job.ood["shifted"]}) for job in jobs], "of the set near/flies."),
    ],
)
def test_what_would_vanish_is_told(done, change, said):
    folder, jobs = done
    with pytest.raises(OutskirtsError) as error:
        require_kept(folder, "bugs", change(jobs))
    assert said in str(error.value)


def test_another_benchmark_has_another_folder(done):
    with pytest.raises(OutskirtsError, match="holds the results of the benchmark 'bugs'; choose another --out"):
        require_kept(done[0], "moths", done[1])


def test_nothing_is_trained_where_results_would_vanish_or_another_process_writes(bench, tmp_path, monkeypatch, held):
    out = tmp_path / "out"
    asked = {"seeds": [0], "detectors": "msp", "options": {"epochs": 1}, "out": out}
    osk.benchmark(bench, "ce", **asked)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    monkeypatch.setattr(module, "train", None)
    with pytest.raises(OutskirtsError, match="would lose what they have of the run ce-s0"):
        osk.benchmark(bench, "logitnorm", **asked)
    with held(out) as process, pytest.raises(OutskirtsError, match=f"is being written by process {process} on "):
        osk.benchmark(bench, "ce", **asked)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("name", ["results.md", "results.csv", "results.tex", "results.html"])
def test_files_of_others_stay(bench, tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "train", None)
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutskirtsError, match=f"{name} is there already; choose another name, or remove it"):
        osk.benchmark(bench, seeds=[0], out=tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_pages_are_made_again_and_files_of_others_stay(done, tmp_path):
    folder, page = done[0], tmp_path / "page.md"
    first = osk.benchmark_page(folder, page).read_text()
    assert osk.benchmark_page(folder, page).read_text() == first
    page.write_text("mine")
    with pytest.raises(OutskirtsError, match=r"page\.md is there already, and it is no page that outskirts has made"):
        osk.benchmark_page(folder, page)
    report = osk.report(folder / "ce-s0", tmp_path)
    assert osk.report(folder / "ce-s0", tmp_path) == report
    report.write_text("<html>mine</html>")
    with pytest.raises(OutskirtsError, match=r"report\.html is there already, and it is no page"):
        osk.report(folder / "ce-s0", tmp_path)
    assert (page.read_text(), report.read_text()) == ("mine", "<html>mine</html>")
    with pytest.raises(OutskirtsError, match=r"page.md is a file; choose a folder, or a page whose name ends in .html"):
        osk.report(folder / "ce-s0", page)


def test_notes_of_runs_are_on_the_pages(done):
    folder, jobs = done
    own = {job.folder.name: load_json(job.folder / "notes.json") for job in jobs}
    for name, notes in own.items():
        save_json(folder / name / "notes.json", [*notes, "All have <this>.", f"One has {name}."])
    matrix = Matrix.load(folder)
    assert matrix.run_notes.count("All have <this>.") == 1
    assert "One has ce-s0. (ce-s0)" in matrix.run_notes
    page = osk.benchmark_page(folder, folder / "results.md").read_text()
    assert "\n- All have <this>." in page.replace("\\", "") and page.count("One has ") == 2
    html = render(matrix.leaderboard, "html", notes=matrix.run_notes)
    assert "<li>All have &lt;this&gt;.</li>" in html
