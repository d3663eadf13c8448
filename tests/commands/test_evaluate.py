"""``outskirts evaluate``."""

import csv
import shutil
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def run(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def sets(bugs):
    return ["--test", bugs / "test", "--near", f"flies={bugs / 'flies'}", "--far", f"fog={bugs / 'fog'}"]


def rows(run):
    with (run / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_everything_is_measured_and_reported(outskirts, run, sets):
    outcome = outskirts("evaluate", run, *sets)
    assert outcome.code == 0, outcome.err
    assert "flies: 12 images went through the network" in outcome.err
    assert f"Report: {run / 'report.html'}" in outcome.err
    for text in ("detector", "msp", "mahalanobis", "±", "flies", "fog", "AUROC"):
        assert text in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert "accuracy on 20 ID images" in " ".join(outcome.out.split())
    header = (run / "results.csv").read_text().splitlines()[0]
    assert header.startswith(
        "run,method,seed,detector,params,group,dataset,n_id,n_ood,auroc,auroc_lo,auroc_hi,aupr_in,aupr_out,"
        "fpr95,fpr95_ood_positive,id_accuracy,"
    )
    assert {(row["group"], row["dataset"]) for row in rows(run)} == {
        ("near", "flies"),
        ("near", "mean"),
        ("far", "fog"),
        ("far", "mean"),
    }
    page = (run / "report.html").read_text()
    assert "data:image/png" in page and "fog" in page
    assert (run / "gallery" / "outliers.png").is_file()
    again = outskirts("evaluate", run, *sets)
    assert "went through the network" not in again.err
    assert again.err.count("taken from the store") == 5
    assert again.out == outcome.out


def test_a_flag_given_twice_adds(outskirts, run, bugs):
    fog, flies = f"fog={bugs / 'fog'}", f"flies={bugs / 'flies'}"
    outskirts("evaluate", run, "--test", bugs / "test", "--ood", fog, "--ood", flies, "--detectors", "msp")
    assert {row["dataset"] for row in rows(run)} == {"fog", "flies", "mean"}
    outskirts("evaluate", run, "--test", bugs / "test", "--ood", fog, flies, "--detectors", "msp", "max_logit")
    assert {row["detector"] for row in rows(run)} == {"msp", "max_logit"}


def test_a_benchmark_file(outskirts, run, bugs, tmp_path):
    benchmark = {
        "train": str(bugs / "train"),
        "test": str(bugs / "test"),
        "ood": {"spurious": {"fog": str(bugs / "fog")}},
    }
    (tmp_path / "bugs.yaml").write_text(yaml.safe_dump(benchmark))
    assert outskirts("evaluate", run, "--benchmark", tmp_path / "bugs.yaml", "--detectors", "msp").code == 0
    assert {row["group"] for row in rows(run)} == {"spurious"}


def test_shifts_and_controls(outskirts, run, sets, bugs):
    shifts = ["--shifted", f"faint={bugs / 'test'}?contrast=60", "--control", f"jpeg={bugs / 'test'}?jpeg=75"]
    outcome = outskirts("evaluate", run, *sets, *shifts, "--detectors", "msp")
    assert outcome.code == 0, outcome.err
    groups = dict.fromkeys(row["group"] for row in rows(run))
    assert list(groups) == ["near", "far", "shifted", "control", "near (full-spectrum)", "far (full-spectrum)"]


def test_raw_features(outskirts, run, sets):
    assert outskirts("evaluate", run, *sets, "--features", "raw", "--detectors", "mahalanobis").code == 0
    assert rows(run)[0]["method"] == "ascood (raw features)"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--test", "BUGS/test"], "no OOD set to evaluate on"),
        (["--far", "fog=BUGS/fog"], "Pass the in-distribution test images, or a benchmark (--test or --benchmark)"),
        (["--test", "BUGS/test", "--far", "BUGS/fog"], "--far takes NAME=SPEC"),
        (["--test", "BUGS/test", "--far", "a=BUGS/fog", "a=BUGS/flies"], "names the set 'a' twice"),
        (["--test", "BUGS/test", "--far", "a=BUGS/fog", "--near", "a=BUGS/flies"], "Two OOD sets are called 'a'"),
        (["--test", "BUGS/test", "--near", f"{'k' * 300}=BUGS/fog"], "An OOD set cannot be called 'kkk"),
        (["--test", "BUGS/test", "--ood", f"{'k' * 300}/fog=nowhere/"], "A group of OOD sets cannot be called 'kkk"),
        (["--test", "BUGS/test", "--ood", "..=BUGS/fog"], "An OOD set cannot be called '..'"),
        (["--test", "BUGS/test", "--far", "fog=nowhere/"], "nowhere"),
        (["--test", "BUGS/test", "--far", "copy=BUGS/test"], "also among the ID test images"),
        (["--test", "BUGS/test", "--far", "copy=BUGS/train"], "also among the training images"),
        (["--test", "BUGS/flies", "--far", "fog=BUGS/fog"], "classes that the training set lacks: fly"),
        (["--test", "BUGS/test", "--far", "fog=BUGS/fog", "--detectors", "knm"], "did you mean 'knn'"),
        (["--test", "BUGS/test", "--far", "fog=BUGS/fog", "--device", "gpu"], "no device 'gpu'"),
        (["--test", "BUGS/test", "--benchmark", "mnist5k"], "either a benchmark or a test set"),
        (["--benchmark", "mnist5l"], "did you mean 'mnist5k'"),
        (["--benchmark", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(refused, run, bugs, arguments, sentence):
    assert sentence in refused("evaluate", run, *(argument.replace("BUGS", str(bugs)) for argument in arguments))
    assert not (run / "results.csv").exists()
    assert not (run / "report.html").exists()


def test_an_empty_ood_folder_is_told(refused, run, bugs, tmp_path):
    (tmp_path / "empty").mkdir()
    found = refused("evaluate", run, "--test", bugs / "test", "--far", f"empty={tmp_path / 'empty'}")
    assert f"The folder {tmp_path / 'empty'} holds no images" in found


def test_runs_that_cannot_be_read_are_told(refused, run, sets):
    assert "does not exist" in refused("evaluate", run / "nowhere", *sets)
    (run / "model.safetensors").write_bytes(b"damaged")
    assert "model.safetensors is damaged" in refused("evaluate", run, *sets)
    (run / "model.safetensors").unlink()
    assert f"not finished; continue with: outskirts train --resume {run}" in refused("evaluate", run, *sets)
    (run / "config.yaml").write_text("format: 99\nmethod: ce\n")
    assert "written in format 99" in refused("evaluate", run, *sets)


def test_a_damaged_store_says_to_delete_it(outskirts, run, sets):
    outskirts("evaluate", run, *sets, "--detectors", "msp")
    advice = {
        "likeness": "Delete the file; then only images of equal bytes are found to be the same.",
        "pass": "Delete the file, and it is made again.",
    }
    for name, remedy in advice.items():
        for file in (run / "outputs").rglob(f"{name}.safetensors"):
            file.write_bytes(file.read_bytes()[:100])
        outcome = outskirts("evaluate", run, *sets, "--detectors", "msp")
        assert outcome.code == 2
        assert remedy in outcome.err
        for file in (run / "outputs").rglob(f"{name}.safetensors"):
            file.unlink()
        assert outskirts("evaluate", run, *sets, "--detectors", "msp").code == 0


def test_corrupt_images_are_named_or_counted(refused, outskirts, run, bugs, tmp_path):
    fog = shutil.copytree(bugs / "fog", tmp_path / "fog")
    (fog / "4.png").write_bytes(b"no image")
    arguments = ["evaluate", run, "--test", bugs / "test", "--far", f"fog={fog}", "--detectors", "msp"]
    failed = outskirts(*arguments)
    assert failed.code == 2 and failed.err.splitlines()[-1].startswith("outskirts: ")
    assert "4.png cannot be decoded" in failed.err
    outcome = outskirts(*arguments, "--skip-corrupt")
    assert outcome.code == 0
    assert "1 of the 12 images of fog could not be decoded and was left out" in outcome.err
    assert "1 of the 12 images of fog could not be decoded" in (run / "report.html").read_text()
    assert {row["n_ood"] for row in rows(run)} == {"11"}


def test_rows_that_are_replaced_are_told(outskirts, run, sets):
    first = outskirts("evaluate", run, *sets, "--detectors", "msp")
    assert "The new results replace" not in first.err and "Run run" in first.out
    second = outskirts("evaluate", run, *sets, "--detectors", "energy")
    assert f"replace the 4 rows of {run / 'results.csv'}; 4 of them are not measured again" in second.err
    assert "The new results replace" not in outskirts("evaluate", run, *sets, "--detectors", "energy", "msp").err


def test_two_sets_of_one_name_are_refused(refused, run, bugs):
    sets = ["--near", f"fog={bugs / 'fog'}", "--far", f"fog={bugs / 'flies'}"]
    assert "Two OOD sets are called 'fog'." in refused("evaluate", run, "--test", bugs / "test", *sets)
