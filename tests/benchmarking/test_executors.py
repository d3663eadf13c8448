import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from outskirts.benchmarking.executors import _gpus, run_all
from outskirts.benchmarking.jobs import plan
from outskirts.benchmarking.run_job import finished, record
from outskirts.data.benchmark import load_benchmark
from outskirts.errors import OutskirtsError
from outskirts.training.run import Run


def test_runs_that_fail_stop_no_other(bench, tmp_path):
    jobs = plan(load_benchmark(bench), ["ce", "npos"], [0], tmp_path, detectors=["msp"], options={"lr": 0.1})
    jobs[0].folder.write_text("a file where a folder is due")
    told = []
    run_all(jobs, told=lambda job, failure: told.append((job.method, bool(failure))))
    assert told == [("ce", True), ("npos", False)] and record(jobs[0]).failure and finished(jobs[1])


def test_an_engine_that_is_none():
    with pytest.raises(OutskirtsError, match="executor 'rai'"):
        run_all([], "rai")


def test_runs_ask_for_a_gpu_where_there_are_some(bench, tmp_path):
    (job,) = plan(load_benchmark(bench), ["ce"], [0], tmp_path)
    assert job.options["device"] == "cpu"
    anywhere = replace(job, options={**job.options, "device": "auto"})
    assert [_gpus(one, there) for one in (job, anywhere) for there in (False, True)] == [0, 0, 0, 1]


def working() -> list[int]:
    """The processes that make a run for Ray, by the title it gives them."""
    commands = {int(path.parent.name): path for path in Path("/proc").glob("[0-9]*/cmdline")}
    found = []
    for pid, path in commands.items():
        try:
            found += [pid] * path.read_bytes().startswith(b"ray::_kept_run")
        except OSError:  # It has just ended.
            continue
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_two_workers_one_of_which_is_killed(bench, tmp_path):
    ray = pytest.importorskip("ray")
    asked = {"detectors": ["msp"], "options": {"epochs": 60}}
    jobs = plan(load_benchmark(bench), ["ce"], [0, 1, 2], tmp_path / "a", **asked)
    killed: list[int] = []

    def kill() -> None:
        """Once a run has left a checkpoint, but before it has ended."""
        while not killed and not all(map(finished, jobs)):
            begun = any(Run(job.folder).checkpoint.is_file() and not Run(job.folder).model.is_file() for job in jobs)
            for pid in working() if begun else []:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                break
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    try:
        thread.start()
        run_all(jobs, "ray")
        thread.join()
    finally:
        ray.shutdown()
    assert killed and all(finished(job) for job in jobs)
    alone = plan(load_benchmark(bench), ["ce"], [0, 1, 2], tmp_path / "b", **asked)
    run_all(alone)
    for one, other in zip(jobs, alone):
        assert (one.folder / "results.csv").read_text() == (other.folder / "results.csv").read_text()
