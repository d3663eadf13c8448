"""Runs that were measured on different images are not compared."""

import shutil

import pytest

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.evaluation.evaluate_run import evaluate_run


def test_runs_of_different_images_are_not_compared(finished, bugs, draw, tmp_path):
    runs = [shutil.copytree(finished, tmp_path / name) for name in ("one", "two", "three")]
    for run, fog in zip(runs, (bugs / "fog", draw(tmp_path / "fog", (), count=12, seed=77), bugs / "fog")):
        evaluate_run(run, bugs / "test", {"far": {"fog": fog}}, ["msp"])
    osk.report([runs[0], runs[2]], tmp_path)
    with pytest.raises(OutskirtsError, match=r"The runs one and two were measured on different images of 'fog'"):
        osk.report(runs[:2], tmp_path)
    # Version 0.1 did not say on which.
    (runs[1] / "measured.json").unlink()
    osk.report(runs[:2], tmp_path)
