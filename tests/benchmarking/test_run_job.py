import shutil
from dataclasses import replace

import pytest

from outskirts.benchmarking import run_job as module
from outskirts.benchmarking.jobs import plan
from outskirts.benchmarking.run_job import finished, record, run_cell
from outskirts.data.benchmark import load_benchmark
from outskirts.errors import OutskirtsError
from outskirts.training.loop import Interrupted


@pytest.fixture
def cell(bench, tmp_path):
    return plan(load_benchmark(bench), ["ce"], [0], tmp_path, detectors=["msp", "knn:k=3"])[0]


def test_a_run_is_made_once(cell, monkeypatch):
    assert run_cell(cell) == "" and finished(cell) and record(cell).seconds > 0
    table = (cell.folder / "results.csv").read_text()
    monkeypatch.setattr(module, "train", None)
    monkeypatch.setattr(module, "assess", None)
    assert run_cell(cell) == ""
    monkeypatch.undo()
    # With other detectors it is measured again, and not trained.
    monkeypatch.setattr(module, "train", None)
    other = replace(cell, detectors=("energy",))
    assert not finished(other) and run_cell(other) == "" and (cell.folder / "results.csv").read_text() != table


def test_a_failure_is_written_down_and_tried_again(cell, monkeypatch):
    def broken(*given, **options):
        raise RuntimeError("no memory")

    monkeypatch.setattr(module, "assess", broken)
    assert run_cell(cell) == "RuntimeError: no memory"
    assert "in broken" in record(cell).traceback and not finished(cell)
    monkeypatch.undo()
    before = record(cell).seconds
    assert run_cell(cell) == "" and not record(cell).failure and record(cell).seconds > before


def test_a_set_that_cannot_be_opened_is_found_before_the_training(cell, monkeypatch):
    monkeypatch.setattr(module, "train", None)
    counted = replace(cell, ood={"near": {"flies": cell.ood["near"]["flies"] + "?expect=3"}})
    assert "instead of 3" in run_cell(counted) and not cell.folder.exists()


def test_corrupt_images(bench, tmp_path):
    benchmark = load_benchmark(bench)
    broken = tmp_path / "broken"
    shutil.copytree(benchmark.ood["near"]["flies"].removeprefix("folder:").partition("?")[0], broken)
    next(broken.rglob("*.png")).write_bytes(b"no image")
    benchmark = replace(benchmark, ood={"near": {"flies": f"folder:{broken}"}})

    def cell(options):
        return plan(benchmark, ["ce"], [0], tmp_path / f"{len(options)}", detectors=["msp"], options=options)[0]

    assert "Mend or remove it; skip_corrupt leaves such images out." in run_cell(cell({}))
    assert run_cell(cell({"skip_corrupt": True})) == ""


def test_a_killed_run_goes_on(cell, monkeypatch):
    """With the same numbers as one that was not."""
    whole = replace(cell, folder=cell.folder.with_name("whole"))
    assert run_cell(whole) == ""
    train = module.train

    def killed(*given, **options):
        def stop(step, steps, latest):
            if latest.get("kind") == "val":
                raise KeyboardInterrupt

        return train(*given, progress=stop, **options)

    monkeypatch.setattr(module, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell)
    monkeypatch.undo()
    assert (cell.folder / "config.yaml").is_file() and not (cell.folder / "model.safetensors").is_file()
    assert not finished(cell) and run_cell(cell) == ""
    numbers = [(each.folder / "results.csv").read_text().replace(each.folder.name, "") for each in (cell, whole)]
    assert numbers[0] == numbers[1]


def test_a_run_with_other_options_is_not_taken_for_it(cell, bench, tmp_path):
    assert run_cell(cell) == ""
    other = plan(load_benchmark(bench), ["ce"], [0], tmp_path, detectors=["msp"], options={"epochs": 1})[0]
    with pytest.raises(OutskirtsError, match=r"ce-s0 was trained with other options; choose another --out"):
        run_cell(other)
    assert finished(cell)


def test_ctrl_c_is_no_failure(cell, monkeypatch):
    def stopped(*given, **options):
        raise Interrupted("Stopped.")

    monkeypatch.setattr(module, "train", stopped)
    with pytest.raises(Interrupted, match=r"Stopped in ce-s0; go on by the same command"):
        run_cell(cell)
    assert not record(cell).failure and not finished(cell)


def test_a_folder_that_was_hardly_begun_is_begun_anew(cell):
    cell.folder.mkdir()
    (cell.folder / "environment.json").write_text("{}")
    assert run_cell(cell) == ""
