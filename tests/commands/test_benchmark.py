import pytest
import yaml


@pytest.fixture
def bench(bugs, tmp_path):
    """Ten lines."""
    (tmp_path / "bugs.yaml").write_text(f"""
train: {bugs / "train"}
test: {bugs / "test"}
ood:
  near:
    flies: {bugs / "flies"}
  far:
    fog: {bugs / "fog"}
recipes:
  all: {{epochs: 2, batch_size: 8, lr: 0.1, precision: fp32, augment: "flip,crop:1"}}
""")
    return tmp_path / "bugs.yaml"


def test_a_folder_of_ones_own_is_a_benchmark(outskirts, bench, tmp_path):
    asked = ("benchmark", bench, "--methods", "ce,logitnorm", "--seeds", "0-1", "--detectors", "msp", "energy")
    done = outskirts(*asked, "--out", tmp_path / "out", "--set", "epochs=1")
    assert done.code == 0 and "logitnorm" in done.out, done.err
    assert yaml.safe_load((tmp_path / "out" / "ce-s1" / "config.yaml").read_text())["epochs"] == 1
    tables = {path.suffix: path.read_text() for path in (tmp_path / "out").glob("results.*")}
    assert set(tables) == {".md", ".csv", ".tex", ".html"} and "outskirts benchmark" in tables[".md"]
    # Once more, nothing is made; the table is the same.
    again = outskirts(*asked, "--out", tmp_path / "out", "--set", "epochs=1")
    assert again.code == 0 and (tmp_path / "out" / "results.csv").read_text() == tables[".csv"]


def test_the_benchmarks_that_there_are(outskirts):
    done = outskirts("benchmark", "list")
    assert done.code == 0 and "mnist5k: Digits" in done.err


def test_bad_input(outskirts, bench, tmp_path):
    for more, match in (
        (("--methods", "cee"), "method 'cee'"),
        (("--set", "epochs"), "NAME=VALUE"),
        (("--seeds", "x"), "Seeds are written as"),
        (("--with", "sio"), "variant of the benchmark"),
        (("--engine", "raye"), "engine 'raye'"),
    ):
        done = outskirts("benchmark", bench, "--out", tmp_path / "out", *more)
        assert done.code == 2 and match in done.err, done.err
    done = outskirts("benchmark", "mnist", "--out", tmp_path / "out")
    assert done.code == 2 and "mnist5k" in done.err
