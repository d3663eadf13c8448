import json

import pytest

from outskirts.benchmarking.jobs import plan
from outskirts.benchmarking.matrix import Matrix
from outskirts.benchmarking.run_job import finished, run_job
from outskirts.data.benchmark import load_benchmark
from outskirts.errors import OutskirtsError


def test_runs_are_found_again_wherever_their_folder_is(bench, tmp_path):
    jobs = plan(load_benchmark(bench), ["ce"], [0, 1], tmp_path / "a", detectors=["msp"])
    Matrix("bugs", "Bugs.", "", "outskirts benchmark bugs", jobs).save(tmp_path / "a")
    run_job(jobs[0])
    assert Matrix.load(tmp_path / "a").jobs == jobs
    (tmp_path / "a").rename(tmp_path / "b")
    matrix = Matrix.load(tmp_path / "b")
    assert (matrix.title, matrix.command) == ("bugs", "outskirts benchmark bugs")
    assert [finished(job) for job in matrix.jobs] == [True, False]


def test_what_is_no_matrix(tmp_path):
    with pytest.raises(OutskirtsError, match=r"has no matrix\.json"):
        Matrix.load(tmp_path)
    for content in ([], {"title": "x"}, {"cells": [{"method": "ce"}]}):
        (tmp_path / "matrix.json").write_text(json.dumps(content))
        with pytest.raises(OutskirtsError, match="is damaged, or was written by another version"):
            Matrix.load(tmp_path)


def test_a_matrix_of_other_kinds(bench, tmp_path):
    jobs = plan(load_benchmark(bench), ["ce"], [0], tmp_path, detectors=["msp"])
    Matrix("bugs", "Bugs.", "", "outskirts benchmark bugs", jobs).save(tmp_path)
    whole = json.loads((tmp_path / "matrix.json").read_text())
    kept = whole["jobs"][0]
    wrong = [{**whole, name: ["x", 1]} for name in whole if name != "jobs"]
    wrong += [{**whole, "jobs": jobs} for jobs in (None, 3, {"x": 1}, [None], ["x"])]
    wrong += [{**whole, "jobs": [{**kept, name: value}]} for name in kept for value in (None, 0.5, [1], {"x": [1]})]
    wrong += [{**whole, "jobs": [{other: kept[other] for other in kept if other != name}]} for name in kept]
    # Of options, only the method knows the kinds.
    wrong.remove({**whole, "jobs": [{**kept, "options": {"x": [1]}}]})
    for content in wrong:
        (tmp_path / "matrix.json").write_text(json.dumps(content))
        with pytest.raises(OutskirtsError, match=r"matrix\.json is damaged, or was written by another version"):
            Matrix.load(tmp_path)
