"""Folders that version 0.1.0 wrote open, resume and evaluate; its names are read, and one line says the new ones.

`fixtures/v0_1` holds two runs on a small timm network, whose options name their images below ``FOLDER``: a finished one
of NPOS, and one of CIDER (``initial="simplex", hold=0.5``) that was stopped after 5 of 8 steps.
"""

import shutil
import warnings
from pathlib import Path

import pytest

import outskirts as osk
from outskirts.evaluation.results import Results
from outskirts.renamed import OPTIONS, RenamedWarning
from outskirts.training.train import resume

FIXTURE = Path(__file__).parent / "fixtures" / "v0_1"


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "v0_1"
    shutil.copytree(FIXTURE, copy)
    for config in copy.glob("*/config.yaml"):
        config.write_text(config.read_text().replace("FOLDER", str(copy)))
    return copy


def test_a_finished_run_opens_and_evaluates(folder, outskirts):
    before = Results.load(folder / "npos")
    found = outskirts(
        *("evaluate", folder / "npos", "--test", f"npz:{folder}/test.npz", "--far", f"fog=npz:{folder}/fog.npz"),
        *("--detectors", "msp", "risk", "knn:k=5"),
    )
    assert found.code == 0, found.err
    assert found.err.count("is now called 'ood_head'") == 1
    after = Results.load(folder / "npos")
    assert [row.detector for row in after.rows] == [row.detector.replace("risk", "ood_head") for row in before.rows]
    # No two of 16 known and 8 other images may change places, which alone would move an AUROC by 1/128. Another
    # processor's rounding moves scores by far less than the least gap between two of them: 9e-4 of the largest (msp).
    for row, old in zip(after.rows, before.rows, strict=True):
        assert (row.auroc, row.fpr95, row.id_accuracy) == pytest.approx(
            (old.auroc, old.fpr95, old.id_accuracy), abs=1e-3
        )
    assert outskirts("report", folder / "npos", "--out", folder / "report.html").code == 0


def test_the_weights_are_those_of_before(folder):
    with pytest.warns(RenamedWarning, match="'scored' is now called 'feature_space'"):
        classifier = osk.load(folder / "npos")
    outputs = osk.extract(classifier, osk.open(f"npz:{folder}/test.npz"))
    assert outputs.accuracy == 1.0 and "ood_head" in outputs.extra


def test_an_unfinished_run_goes_on(folder):
    with pytest.warns(RenamedWarning, match="'initial' is now called 'prototype_init'"):
        run = resume(folder / "cider")
    records = list(run.records())
    assert [record["step"] for record in records if record["kind"] == "train"] == list(range(1, 9))
    # As the run that was not stopped ended, up to another processor's rounding.
    assert records[-2]["loss"] == pytest.approx(4.695205, rel=1e-3)
    assert records[-1]["accuracy"] == 1.0 and records[-1]["loss"] == pytest.approx(0.158574, rel=0.01)


def test_a_configuration_trains_again_under_the_new_names(folder, outskirts, tmp_path):
    config = (folder / "cider" / "config.yaml").read_text()
    assert any(f"{name}:" in config for name in OPTIONS)
    found = outskirts("train", "--config", folder / "cider", "--out", tmp_path / "again", "--epochs", 1)
    assert found.code == 0, found.err
    assert found.err.count("'hold' is now called 'prototype_freeze'") == 1
    again = (tmp_path / "again" / "config.yaml").read_text()
    assert not any(f"\n{name}:" in again for name in OPTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        osk.load(tmp_path / "again")
