import json
import shutil
from dataclasses import replace

import pytest

import outskirts as osk
from outskirts.benchmarking import run_job as module
from outskirts.benchmarking.jobs import plan
from outskirts.benchmarking.run_job import finished, record, run_job
from outskirts.data.benchmark import Benchmark, load_benchmark
from outskirts.errors import OutskirtsError
from outskirts.evaluation.evaluate_run import evaluate_run
from outskirts.training.loop import Interrupted

MADE = json.dumps({"command": "outskirts benchmark", "outskirts": "0.1.0"})


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

    assert "Mend or remove it, or leave out such images with skip_corrupt (--skip-corrupt)." in run_job(job({}))
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


@pytest.mark.parametrize("first", ["auto", "chosen"])
def test_auto_and_what_it_chose_are_the_same(first, bench, tmp_path, monkeypatch):
    def planned(out, **options):
        return plan(load_benchmark(bench), ["ce"], [0], out, detectors=["msp"], options={"epochs": 1, **options})[0]

    asked = {"precision": "auto", "device": "auto"}
    assert run_job(planned(tmp_path, **asked)) == ""
    training = osk.Run(tmp_path / "ce-s0").recipe().training
    chosen = {"precision": training.precision, "device": training.device}
    assert "auto" not in chosen.values()
    asked, again = (asked, chosen) if first == "auto" else (chosen, asked)
    out = tmp_path / "out"
    assert run_job(planned(out, **asked)) == ""
    before = record(planned(out, **asked))
    for name in ("train", "evaluate_run"):
        monkeypatch.setattr(module, name, None)
    for options in (again, {**asked, "device": again["device"]}, asked):
        job = planned(out, **options)
        assert finished(job) and run_job(job) == "" and record(job) == before
    monkeypatch.undo()
    # An unfinished one goes on, too.
    measured = replace(planned(out, **again), detectors=("energy",))
    assert not finished(measured) and run_job(measured) == "" and finished(measured)
    other = "bf16" if chosen["precision"] == "fp32" else "fp32"
    with pytest.raises(OutskirtsError, match="was trained with other options"):
        run_job(planned(out, **{**chosen, "precision": other}))


@pytest.mark.parametrize("name", ["trained", "seconds", "failure"])
def test_a_damaged_record_is_told(job, name):
    assert run_job(job) == ""
    job.record.write_text(json.dumps({**json.loads(job.record.read_text()), name: None}))
    with pytest.raises(OutskirtsError, match=f"ce-s0.json is damaged: its {name} is None, not"):
        run_job(job)


def test_ctrl_c_is_no_failure(job, monkeypatch):
    def stopped(*given, **options):
        raise Interrupted("Stopped.")

    monkeypatch.setattr(module, "train", stopped)
    with pytest.raises(Interrupted, match=r"Stopped in ce-s0. Give the same command again"):
        run_job(job)
    assert not record(job).failure and not finished(job)


def test_a_folder_that_was_hardly_begun_is_begun_anew(job):
    job.folder.mkdir()
    (job.folder / "environment.json").write_text(MADE)
    assert run_job(job) == ""


def test_a_run_that_another_process_makes_is_left_to_it(job, held):
    with held(job.folder):
        assert f"{job.folder} is being written by process" in run_job(job)
        assert not job.record.exists()
    assert run_job(job) == ""


@pytest.fixture
def own_images(bugs, tmp_path):
    """A benchmark on a copy of the bugs that a test may change, and where the copy is."""
    own = shutil.copytree(bugs, tmp_path / "bugs")
    return Benchmark("own", str(own / "train"), str(own / "test"), {"far": {"fog": str(own / "fog")}}), own


def run_all(benchmark, bench, out, seeds):
    options = load_benchmark(bench).recipes["all"]
    return osk.benchmark(benchmark, "ce", seeds=seeds, detectors="msp", out=out, options={**options, "epochs": 1})


def test_a_run_is_measured_anew_where_images_changed(own_images, bench, tmp_path, draw):
    benchmark, own = own_images
    run_all(benchmark, bench, tmp_path / "out", [0])
    before = (tmp_path / "out" / "ce-s0" / "results.csv").read_text()
    shutil.rmtree(own / "fog")
    draw(own / "fog", (), count=9, seed=5)
    # A second seed is not averaged with what was measured on other images.
    matrix = run_all(benchmark, bench, tmp_path / "out", [0, 1])
    assert (tmp_path / "out" / "ce-s0" / "results.csv").read_text() != before
    (method,) = matrix.all_method_runs
    assert {row.n_ood for run in method.runs.values() for row in run.results.rows} == {9}


def test_results_stay_where_images_are_gone(own_images, bench, tmp_path):
    benchmark, own = own_images
    before = run_all(benchmark, bench, tmp_path / "out", [0]).leaderboard
    shutil.rmtree(own / "fog")
    assert run_all(benchmark, bench, tmp_path / "out", [0]).leaderboard == before


def test_shifted_images_of_some_classes_are_measured_once(own_images, bench, tmp_path, monkeypatch):
    benchmark, own = own_images
    shifted = {"faint": f"{own / 'test'}?classes=bee&contrast=50"}
    benchmark = replace(benchmark, ood={**benchmark.ood, "shifted": shifted})
    run_all(benchmark, bench, tmp_path / "out", [0])
    monkeypatch.setattr(module, "evaluate_run", None)
    assert run_all(benchmark, bench, tmp_path / "out", [0]).failures == {}


def test_runs_of_different_images_are_not_averaged(own_images, bench, tmp_path, draw):
    benchmark, own = own_images
    run_all(benchmark, bench, tmp_path / "out", [0, 1])
    shutil.rmtree(own / "fog")
    draw(own / "fog", (), count=9, seed=5)
    run = tmp_path / "out" / "ce-s1"
    evaluate_run(run, own / "test", {"far": {"fog": own / "fog"}}, ["msp"])
    with pytest.raises(OutskirtsError, match=r"ce-s0 and ce-s1 were measured on different images of 'fog'"):
        osk.benchmark_page([tmp_path / "out"], tmp_path / "page.md")


def test_a_run_of_other_training_images_fails(own_images, bench, tmp_path):
    benchmark, own = own_images
    run_all(benchmark, bench, tmp_path / "out", [0])
    (own / "train" / "ant" / "0.png").unlink()
    with pytest.raises(OutskirtsError, match="No run of the benchmark succeeded"):
        run_all(benchmark, bench, tmp_path / "out", [0])
    (failed,) = plan(
        benchmark, ["ce"], [0], tmp_path / "out", detectors=["msp"], options=load_benchmark(bench).recipes["all"]
    )
    assert "was trained on other training images" in record(failed).failure


@pytest.mark.parametrize("begun", [{}, {"environment.json": MADE}])
@pytest.mark.parametrize("name", ["thesis.tex", "metrics.jsonl", "environment.json", ".environment.json"])
def test_files_of_others_are_not_removed(job, name, begun):
    if name == "metrics.jsonl":
        begun = {}
    job.folder.mkdir(parents=True)
    files = {**begun, name: '{"torch": "2.6"}'}
    for file, text in files.items():
        (job.folder / file).write_text(text)
    assert f"holds files that outskirts has not made, such as {name}. Move them" in run_job(job)
    assert {path.name: path.read_text() for path in job.folder.iterdir()} == files


def test_a_folder_that_is_a_file_stays(job):
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    job.folder.write_text("mine")
    assert "exists and is not an empty folder" in run_job(job)
    assert job.folder.read_text() == "mine"


def test_a_run_that_was_killed_while_it_began_is_begun_again(job, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("outskirts.training.run.yaml.safe_dump", lambda *given, **options: 1 / 0)
        assert "ZeroDivisionError" in run_job(job)
    left = {path.name for path in job.folder.iterdir()}
    assert left == {"environment.json", "data.json", "likeness.safetensors", "metrics.jsonl"}
    assert run_job(job) == ""
