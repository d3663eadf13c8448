import csv
import random
import subprocess
import sys
import time

import pytest
import yaml

import outskirts as osk


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
    again = outskirts("-q", *asked, "--out", tmp_path / "out", "--set", "epochs=1")
    assert again.out == done.out and again.err == ""
    assert again.code == 0 and (tmp_path / "out" / "results.csv").read_text() == tables[".csv"]


def test_runs_that_failed_and_the_time_that_others_took(bench, tmp_path):
    (tmp_path / "out" / "ce-s1").mkdir(parents=True)
    (tmp_path / "out" / "ce-s1" / "config.yaml").write_text("[")
    told = {}
    matrix = osk.benchmark(
        bench,
        seeds=[0, 1],
        detectors=["msp"],
        out=tmp_path / "out",
        options={"epochs": 1},
        told=lambda job, record: told.update({job.folder.name: record}),
    )
    assert told["ce-s0"].seconds > 0 and not told["ce-s0"].failure
    assert matrix.failures == {"ce-s1": told["ce-s1"].failure} and "not valid YAML" in matrix.failures["ce-s1"]


def test_the_benchmarks_that_there_are(outskirts):
    done = outskirts("benchmark", "list")
    assert done.code == 0 and "mnist5k: Digits" in done.out and "imagenet1k: " in done.out


def test_what_a_benchmark_consists_of(outskirts, bench, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    (tmp_path / "openood" / "images_classic" / "svhn").mkdir(parents=True)
    done = outskirts("benchmark", "show", "cifar10")
    said = " ".join(done.out.split())
    assert done.code == 0 and "near: tin: imglist:openood/" in said and "source: OpenOOD v1.5" in said
    assert "needs: openood-svhn, there" in said and "needs: openood-tin, not fetched yet" in said and "Terms:" in said
    assert osk.describe_benchmark("cifar10")["fetched"] == ("openood-svhn",)
    assert "flies" in outskirts("benchmark", "show", bench).out
    done = outskirts("benchmark", "show", "cifar1O")
    assert done.code == 2 and "did you mean 'cifar10'" in done.err


def test_a_page_of_several(outskirts, bench, tmp_path):
    for out in ("one", "two"):
        asked = ("--methods", "ce,logitnorm", "--seeds", "0-1", "--detectors", "msp", "energy", "--set", "epochs=1")
        done = outskirts("benchmark", bench, *asked, "--out", tmp_path / out)
        assert done.code == 0, done.err
    # The folders may have moved since.
    (tmp_path / "two").rename(tmp_path / "three")
    done = outskirts("benchmark", "page", tmp_path / "one", tmp_path / "three", "--out", tmp_path / "page.md")
    assert done.code == 0, done.err
    page = (tmp_path / "page.md").read_text()
    assert page.count("## bugs") == 2 and page.count("### Each detector") == 2 and "outskirts benchmark page" in page
    table = [line for line in page.splitlines() if line.startswith("| near | flies | 12 |")]
    assert len(table) == 2 and table[0] == table[1]
    assert (
        "outskirts train ce --data" in page
        and "for seed in 0 1; do" in page
        and "outskirts evaluate repeated/bugs/ce-s$seed --benchmark" in page
    )
    done = outskirts("benchmark", "page", tmp_path, "--out", tmp_path / "page.md")
    assert done.code == 2 and "is not the folder of a benchmark's runs" in done.err
    assert "Required options" in outskirts("benchmark", "page").err
    for results in (tmp_path / "one").glob("*/results.csv"):
        results.unlink()
    done = outskirts("benchmark", "page", tmp_path / "one", "--out", tmp_path / "none.md")
    assert done.code == 2 and "No run of 'bugs' is finished" in done.err and not (tmp_path / "none.md").exists()


def test_bad_input(outskirts, bench, tmp_path):
    for more, match in (
        (("--methods", "cee"), "method 'cee'"),
        (("--set", "epochs"), "NAME=VALUE"),
        (("--seeds", "x"), "Seeds are written as"),
        (("--with", "sio"), "There is no variant 'sio' of the benchmark 'bugs'"),
        (("--engine", "raye"), "executor 'raye'"),
    ):
        done = outskirts("benchmark", bench, "--out", tmp_path / "out", *more)
        assert done.code == 2 and match in done.err, done.err
    done = outskirts("benchmark", "mnist", "--out", tmp_path / "out")
    assert done.code == 2 and "mnist5k" in done.err
    (tmp_path / "file").touch()
    done = outskirts("benchmark", bench, "--out", tmp_path / "file")
    assert done.code == 2 and "file is a file, not a folder; choose another name" in done.err
    (tmp_path / "odd.yaml").write_text("train: a\ntest: b\nood: {far: x}\n")
    done = outskirts("benchmark", "show", tmp_path / "odd.yaml")
    assert done.code == 2 and "ood.far is 'x'; it must be names with values" in done.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"executor": "raye"}, "no executor 'raye'; did you mean 'ray'"),
        ({"detectors": ["msq"]}, "no detector 'msq'; did you mean 'msp'"),
        ({"detectors": ["knn:k=0"]}, "k of the detector 'knn' must be a whole number of at least 1, not 0"),
        ({"methods": ["ce", "cee"]}, "no method 'cee'; did you mean 'ce'"),
        ({"variants": ["sio"]}, "no variant 'sio'"),
        ({"options": {"seed": 3}}, "A benchmark sets seed itself"),
        ({"options": {"epochz": 3}}, "no option 'epochz'"),
        ({"methods": ["ce", "dream"]}, "In a benchmark, name it under 'recipes'"),
        ({"methods": ["ce", "ncis"]}, "trains with images of outliers"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_refused_leaves_nothing_behind(bench, tmp_path, given, said):
    with pytest.raises(osk.OutskirtsError, match=said):
        osk.benchmark(bench, out=tmp_path / "out" / "runs", begun=lambda *about: pytest.fail("it began"), **given)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_at_any_moment_the_table_is_the_same(bench, tmp_path):
    """The processes are killed, as by a power cut, at moments that differ from one time to the next."""
    seed = random.SystemRandom().randrange(2**32)
    moments = random.Random(seed)

    def command(out):
        asked = ["--methods", "ce,ascood,cider", "--seeds", "0-1", "--detectors", "msp", "energy", "--set", "epochs=20"]
        return [sys.executable, "-m", "outskirts.cli", "benchmark", str(bench), *asked, "--out", str(out)]

    def lines():
        """But for the minutes that runs took, and the commands' folders."""
        for out in ("whole", "killed"):
            with (tmp_path / out / "results.csv").open() as file:
                yield [{k: v for k, v in row.items() if k != "minutes a run"} for row in csv.DictReader(file)]

    began = time.monotonic()
    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    usual = time.monotonic() - began
    for _ in range(4):
        process = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(0.2, 0.5) * usual)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    done = subprocess.run(command(tmp_path / "killed"), capture_output=True, text=True)
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    whole, killed = lines()
    assert whole == killed and len(whole) == 3, f"seed {seed}"
