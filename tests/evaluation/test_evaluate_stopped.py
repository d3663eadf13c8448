"""An evaluation that is stopped: what was there stays, and nothing is half-written."""

import os
import signal
import subprocess
import sys

import pytest

from outskirts.evaluation.evaluate_run import evaluate_run
from outskirts.evaluation.results import Results


def test_asked_to_stop_while_it_writes_it_writes_all_and_stops(run, test, ood, monkeypatch):
    save = Results.save

    def interrupted(results, folder):
        os.kill(os.getpid(), signal.SIGINT)
        save(results, folder)

    monkeypatch.setattr(Results, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run, test, ood, ["msp"])
    assert (run.path / "results.csv").is_file() and (run.gallery / "outliers.png").is_file()


def test_sigterm_leaves_nothing_half_written(run, bugs):
    """In a process of its own, in the middle of a pass."""
    program = (
        "import os, signal, sys\nfrom outskirts.cli import main\nfrom outskirts.extraction.columns import Columns\n"
        "put = Columns.put\ndef stopped(self, batch):\n    put(self, batch)\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "Columns.put = stopped\nmain(sys.argv[1:])"
    )
    command = ["evaluate", run.path, "--test", bugs / "test", "--far", f"fog={bugs / 'fog'}", "--detectors", "msp"]
    before = {path for path in run.path.rglob("*") if path.is_file()}
    found = subprocess.run(
        [sys.executable, "-c", program, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 143 and found.stderr == "outskirts: stopped by SIGTERM. What is finished is kept.\n"
    assert {path for path in run.path.rglob("*") if path.is_file()} == before
