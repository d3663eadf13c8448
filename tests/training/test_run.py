"""Run folders that are damaged, foreign, unfinished, or on a full disk."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError, Run
from outskirts.files import load_tensors, save_tensors
from outskirts.training.run import read_options
from outskirts.training.train import resume


@pytest.fixture
def run(finished, tmp_path):
    """A finished run to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_loading_gives_the_classifier_back(finished):
    classifier = osk.load(finished)
    assert classifier.classes == ["ant", "bee"]
    assert not classifier.training
    assert classifier.fingerprint() == osk.load(str(finished)).fingerprint()


def test_a_fingerprint_is_that_of_the_weights(finished):
    classifier = osk.load(finished)
    before = classifier.fingerprint()
    with torch.no_grad():
        next(classifier.parameters()).view(-1)[0] += 1e-6
    assert classifier.fingerprint() != before


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path):
    path.write_bytes(bytes(range(128, 256)) * 4)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, garbage, empty])
def test_a_damaged_model_is_told(run, damage):
    damage(run / "model.safetensors")
    with pytest.raises(OutskirtsError, match=r"model\.safetensors is damaged"):
        osk.load(run)


@pytest.mark.parametrize(("damage", "sentence"), [(garbage, "not valid YAML"), (empty, "holds no mapping")])
def test_a_damaged_config_is_told(run, damage, sentence):
    damage(run / "config.yaml")
    with pytest.raises(OutskirtsError, match=rf"config\.yaml is damaged.*{sentence}"):
        Run.open(run)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("format: 1", "format: 7", r"written in format 7.*reads 1\. Train again, or use the version"),
        ("method: ascood", "", "names no method"),
        ("method: ascood", "method: ascod", "no method 'ascod'; did you mean 'ascood'"),
        ("epochs: 2", "epoch: 2", "option 'epoch' of the method 'ascood'; did you mean 'epochs'"),
        ("epochs: 2", "epochs: two", "epochs must be a whole number, not 'two'"),
        ("epochs: 2", "epochs: [", "not valid YAML"),
    ],
)
def test_a_foreign_config_is_told(run, old, new, sentence):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(OutskirtsError, match=sentence):
        Run.open(run).recipe()


def test_what_is_no_run_folder_is_told(tmp_path):
    with pytest.raises(OutskirtsError, match="does not exist"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(OutskirtsError, match=r"is not a run folder: it has no config\.yaml"):
        Run.open(tmp_path)


def test_an_unfinished_run_says_how_to_go_on(run):
    (run / "model.safetensors").unlink()
    with pytest.raises(OutskirtsError, match=f"not finished; continue with: outskirts train --resume {run}"):
        osk.load(run)
    resume(run)
    osk.load(run)


def test_foreign_weights_are_told(run):
    tensors, about = load_tensors(run / "model.safetensors")
    save_tensors(run / "model.safetensors", tensors)
    with pytest.raises(OutskirtsError, match="not a classifier written by outskirts: it lacks 'transform'"):
        osk.load(run)
    save_tensors(run / "model.safetensors", dict(list(tensors.items())[1:]), about)
    with pytest.raises(OutskirtsError, match="does not fit the network") as error:
        osk.load(run)
    assert "\n" not in str(error.value)


def test_options_without_a_format_are_one_s_own(tmp_path):
    (tmp_path / "mine.yaml").write_text("method: ce\nlr: 1e-3\n")
    assert read_options(tmp_path / "mine.yaml") == {"method": "ce", "lr": "1e-3"}
    with pytest.raises(OutskirtsError, match="does not exist"):
        read_options(tmp_path / "yours.yaml")


# Full disks


@pytest.fixture
def full(monkeypatch):
    """Fails the renaming of a file of this name as a full disk would."""

    def fill(name, code=errno.ENOSPC):
        replace = os.replace

        def failing(source, target):
            if Path(target).name == name:
                raise OSError(code, os.strerror(code))
            replace(source, target)

        monkeypatch.setattr(os, "replace", failing)

    return fill


def leftovers(folder):
    return [path.name for path in folder.rglob(".*")]


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "metrics.jsonl", "model.safetensors"])
def test_a_full_disk_is_one_sentence_and_no_half_file(bugs, small, tmp_path, full, name):
    full(name)
    with pytest.raises(OutskirtsError, match=rf"^The disk is full: \S*{name} was not written; free some space\.$"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", **small)
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "run" / name).exists()


def test_a_disk_full_in_mid_training_leaves_what_can_be_resumed(bugs, small, tmp_path):
    run = tmp_path / "run"

    def fill(step, steps, latest):
        if step == 6:
            (run / "metrics.jsonl").rename(run / "kept")
            (run / "metrics.jsonl").symlink_to("/dev/full")

    with pytest.raises(OutskirtsError, match=r"^The disk is full: \S*metrics\.jsonl was not written"):
        osk.train("ce", bugs / "train", out=run, progress=fill, **small)
    (run / "kept").replace(run / "metrics.jsonl")
    assert resume(run).model.is_file()


def test_a_disk_full_at_a_checkpoint_keeps_the_last_one(bugs, small, tmp_path, full):
    state = tmp_path / "run" / "checkpoint" / "state.safetensors"

    def fill(step, steps, latest):
        if step == 5:
            full(state.name)

    with pytest.raises(OutskirtsError, match=r"^The disk is full: \S*state\.safetensors was not written"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", progress=fill, **{**small, "epochs": 3})
    assert load_tensors(state)[1]["step"] == 4
    assert leftovers(tmp_path) == []


def test_what_may_not_be_written_is_one_sentence(bugs, small, tmp_path, full):
    full("config.yaml", errno.EACCES)
    with pytest.raises(OutskirtsError, match=r"config\.yaml cannot be written.*Permission denied"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", **small)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutskirtsError, match="cannot be written"):
        osk.train("ce", bugs / "train", out=tmp_path / "file" / "run", **small)


def test_in_a_line_and_in_a_notebook(run, tmp_path):
    run = Run(run)
    spec = run.options()["data"]
    assert repr(run) == f"Run({str(run.path)!r}, ascood, {spec}, finished)"
    run.model.unlink()
    steps = max(record["step"] for record in run.records())
    assert repr(run) == f"Run({str(run.path)!r}, ascood, {spec}, at step {steps})"
    (run.path / "results.csv").touch()
    assert "evaluated" in run._repr_html_()
    run.config.write_text("a: [")
    assert repr(run).endswith(", damaged)")
    assert repr(Run(tmp_path / "<b>")).endswith(", not begun)") and "&lt;b&gt;" in Run(tmp_path / "<b>")._repr_html_()


def test_its_training_is_drawn(run, tmp_path):
    figure = Run(run).plot_training()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["Losses", "Validation accuracy"]
    assert figure.axes[0].get_xlabel() == "epoch" and figure.axes[1].get_ylabel() == "validation accuracy, %"
    assert figure._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(OutskirtsError, match="no records of a training"):
        Run(tmp_path / "none").plot_training()


def test_lines_of_its_log_are_numbers_by_name(tmp_path):
    log = Run(tmp_path).metrics
    line = {"kind": "val", "step": 1, "epoch": 1.0}
    log.write_text(json.dumps(line) + "\n")
    assert list(Run(tmp_path).records()) == [line], "what trains a generator has no accuracy"
    for wrong in ({"accuracy": "high"}, {"loss_ce": [1]}, {"skipped": 3}):
        log.write_text(json.dumps(line | wrong) + "\n")
        with pytest.raises(OutskirtsError, match=f"line 1 is no record .its {next(iter(wrong))} is "):
            list(Run(tmp_path).records())
