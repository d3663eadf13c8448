import shutil
from dataclasses import replace

import pytest

from outskirts.benchmarking import run_job as module
from outskirts.benchmarking.jobs import plan
from outskirts.benchmarking.run_job import finished, record, run_job
from outskirts.data.benchmark import load_benchmark
from outskirts.errors import OutskirtsError
from outskirts.training.loop import Interrupted


@pytest.fixture
def job(bench, tmp_path):
    return plan(load_benchmark(bench), ["ce"], [0], tmp_path, detectors=["msp", "knn:k=3"])[0]


def test_a_run_is_made_once(job, monkeypatch):
    assert run_job(job) == "" and finished(job) and record(job).seconds > 0
    table = (job.folder / "results.csv").read_text()
    monkeypatch.setattr(module, "train", None)
    monkeypatch.setattr(module, "evaluate_run", None)
    assert run_job(job) == ""
    monkeypatch.undo()
    # With other detectors it is measured again, and not trained.
    monkeypatch.setattr(module, "train", None)
    other = replace(job, detectors=("energy",))
    assert not finished(other) and run_job(other) == "" and (job.folder / "results.csv").read_text() != table


def test_a_failure_is_written_down_and_tried_again(job, monkeypatch):
    def broken(*given, **options):
        raise RuntimeError("no memory")

    monkeypatch.setattr(module, "evaluate_run", broken)
    assert run_job(job) == "RuntimeError: no memory"
    assert "in broken" in record(job).traceback and not finished(job)
    monkeypatch.undo()
    before = record(job).seconds
    assert run_job(job) == "" and not record(job).failure and record(job).seconds > before


def test_a_set_that_cannot_be_opened_is_found_before_the_training(job, monkeypatch):
    monkeypatch.setattr(module, "train", None)
    counted = replace(job, ood={"near": {"flies": job.ood["near"]["flies"] + "?expect=3"}})
    assert "instead of 3" in run_job(counted) and not job.folder.exists()


def test_corrupt_images(bench, tmp_path):
    benchmark = load_benchmark(bench)
    broken = tmp_path / "broken"
    shutil.copytree(benchmark.ood["near"]["flies"].removeprefix("folder:").partition("?")[0], broken)
    next(broken.rglob("*.png")).write_bytes(b"no image")
    benchmark = replace(benchmark, ood={"near": {"flies": f"folder:{broken}"}})

    def job(options):
        return plan(benchmark, ["ce"], [0], tmp_path / f"{len(options)}", detectors=["msp"], options=options)[0]

    assert "Mend or remove it, or leave out such images with skip_corrupt." in run_job(job({}))
    assert run_job(job({"skip_corrupt": True})) == ""


def test_a_killed_run_goes_on(job, monkeypatch):
    """With the same numbers as one that was not."""
    whole = replace(job, folder=job.folder.with_name("whole"))
    assert run_job(whole) == ""
    train = module.train

    def killed(*given, **options):
        def stop(step, steps, latest):
            if latest.get("kind") == "val":
                raise KeyboardInterrupt

        return train(*given, progress=stop, **options)

    monkeypatch.setattr(module, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        run_job(job)
    monkeypatch.undo()
    assert (job.folder / "config.yaml").is_file() and not (job.folder / "model.safetensors").is_file()
    assert not finished(job) and run_job(job) == ""
    numbers = [(each.folder / "results.csv").read_text().replace(each.folder.name, "") for each in (job, whole)]
    assert numbers[0] == numbers[1]


def test_a_run_with_other_options_is_not_taken_for_it(job, bench, tmp_path):
    assert run_job(job) == ""
    other = plan(load_benchmark(bench), ["ce"], [0], tmp_path, detectors=["msp"], options={"epochs": 1})[0]
    with pytest.raises(OutskirtsError, match=r"ce-s0 was trained with other options; choose another --out"):
        run_job(other)
    assert finished(job)


def test_ctrl_c_is_no_failure(job, monkeypatch):
    def stopped(*given, **options):
        raise Interrupted("Stopped.")

    monkeypatch.setattr(module, "train", stopped)
    with pytest.raises(Interrupted, match=r"Stopped in ce-s0. Give the same command again"):
        run_job(job)
    assert not record(job).failure and not finished(job)


def test_a_folder_that_was_hardly_begun_is_begun_anew(job):
    job.folder.mkdir()
    (job.folder / "environment.json").write_text('{"command": "outskirts benchmark", "outskirts": "0.1.0"}')
    assert run_job(job) == ""


@pytest.mark.parametrize("files", [["thesis.tex"], ["environment.json"], ["environment.json", "thesis.tex"]])
def test_a_folder_of_somebody_else_is_left_as_it_is(job, files):
    job.folder.mkdir()
    for name in files:
        (job.folder / name).write_text("mine")
    if len(files) > 1:
        (job.folder / files[0]).write_text('{"command": "outskirts benchmark", "outskirts": "0.1.0"}')
    said = run_job(job)
    assert "'thesis.tex', which is not known" in said if len(files) > 1 else "is not an empty folder" in said
    assert sorted(path.name for path in job.folder.iterdir()) == files
    assert (job.folder / files[-1]).read_text() == "mine"


def test_a_run_that_another_process_makes_is_left_to_it(job, held):
    with held(job.folder):
        assert f"{job.folder} is being written by process" in run_job(job)
        assert not job.record.exists()
    assert run_job(job) == ""
