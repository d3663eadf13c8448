"""Verdicts by the workers of a cluster: every image once, whatever is killed."""

import json
import os
import signal
from pathlib import Path

import pytest

from outskirts.errors import OutskirtsError
from outskirts.guard.cluster import predict_with_ray

#: Ray warns of its own settings when it reads them.
pytestmark = pytest.mark.filterwarnings("ignore:`use_.*deprecated:DeprecationWarning:ray")

PARTS = [f"part-{number:07}.parquet" for number in range(6)]
OPTIONS = {"top": 2, "device": "cpu", "workers": 2}


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two workers on this machine."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield ray
    ray.shutdown()


class Stopped(Exception):
    pass


def stopping(what, done, total):
    raise Stopped


def workers() -> list[int]:
    """The processes that look at blocks, by the title that Ray gives them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [int(path.parent.name)] * path.read_bytes().startswith(b"ray::MapWorker")
        except OSError:  # It has just ended.
            continue
    return found


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_no_image_and_doubles_none(cluster, kept, many, alone, rows_in, chunks, tmp_path):
    said, done, killed = [], [], []

    def kill(what, images, total):
        done.append((images, total))
        if not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    out = tmp_path / "verdicts"
    summary = predict_with_ray(kept, many, out, **OPTIONS, say=said.append, progress=kill)
    assert killed and killed[0] not in workers()
    assert rows_in(out) == alone[0] and summary == alone[1]
    assert sorted(path.name for path in out.iterdir()) == ["_verdicts.json", *PARTS]
    assert sum("Could not be read" in one for one in said) == 2 and "Ray: 2 workers with 1 core each." in said
    assert done[-1] == (22, 22) and len(done) == 6 and cluster.is_initialized()
    assert json.loads((out / "_verdicts.json").read_text())["summary"]["images"] == 20
    with pytest.raises(OutskirtsError, match="is there already; choose another name"):
        predict_with_ray(kept, many, out, **OPTIONS)


@pytest.mark.slow
def test_a_call_that_was_stopped_goes_on(cluster, kept, many, alone, rows_in, chunks, tmp_path):
    out, said = tmp_path / "verdicts", []
    with pytest.raises(Stopped):
        predict_with_ray(kept, many, f"file://{out}", **OPTIONS, progress=stopping)
    for path in sorted(out.glob("*.parquet"))[3:]:  # The others may have been done meanwhile.
        path.unlink()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert before
    summary = predict_with_ray(kept, many, f"file://{out}", **OPTIONS, say=said.append)
    assert rows_in(out) == alone[0] and summary == alone[1]
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    assert any(one.startswith("Going on after") for one in said)


@pytest.mark.slow
def test_the_command_line_starts_a_cluster_of_its_own(outskirts, kept, many, alone, rows_in, chunks, tmp_path):
    ray = pytest.importorskip("ray")
    out = tmp_path / "verdicts"
    if ray.is_initialized():
        ray.shutdown()
    ended = outskirts(
        "predict", kept, many, "--engine", "ray", "--workers", 1, "--out", out, "--top", 2, "--device", "cpu"
    )
    assert ended.code == 0, ended.err
    assert f"{out}: {alone[1]}." in ended.err and not ray.is_initialized()
    assert rows_in(out) == alone[0]
