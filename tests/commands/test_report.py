"""``outskirts report``."""

import shutil

import pytest


@pytest.fixture
def measured(outskirts, finished, bugs, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    sets = ["--test", bugs / "test", "--far", f"fog={bugs / 'fog'}", "--detectors", "msp"]
    assert outskirts("evaluate", run, *sets).code == 0
    return run


def test_runs_on_one_page(outskirts, measured, tmp_path):
    other = shutil.copytree(measured, tmp_path / "other")
    outcome = outskirts("report", measured, other, "--out", tmp_path / "page.html")
    assert outcome.code == 0, outcome.err
    assert outcome.err == f"Report: {tmp_path / 'page.html'}\n"
    assert "Comparison with run" in (tmp_path / "page.html").read_text()


def test_the_table_alone_suffices(outskirts, measured, tmp_path):
    (measured / "scores.safetensors").unlink()
    assert outskirts("report", measured, "--out", tmp_path / "page.html").code == 0


def test_a_run_is_required(outskirts, tmp_path):
    found = outskirts("report", "--out", tmp_path / "page.html")
    assert found.code == 2 and "Required options" in found.err and not (tmp_path / "page.html").exists()


def test_bad_input_is_one_sentence(refused, measured, finished, tmp_path):
    out = tmp_path / "page.html"
    assert "does not exist" in refused("report", tmp_path / "nowhere", "--out", out)
    unmeasured = refused("report", finished, "--out", out)
    assert "results.csv is missing" in unmeasured and "has not been evaluated" in unmeasured
    assert f"Evaluate it first: outskirts evaluate {finished} --test SPEC" in unmeasured
    (measured / "results.csv").write_text("damaged")
    assert "results.csv" in refused("report", measured, "--out", out)
    assert not out.exists()


def test_what_is_shared_names_no_folder_unless_asked(outskirts, measured, tmp_path):
    page = tmp_path / "page.html"
    assert outskirts("report", measured, "--out", page).code == 0
    assert str(tmp_path.parent) not in page.read_text()
    assert str(tmp_path) not in (measured / "results.csv").read_text() + (measured / "notes.json").read_text()
    assert outskirts("report", measured, "--out", page, "--full-environment").code == 0
    assert str(tmp_path.parent) in page.read_text()
