"""``outskirts train``."""

import os
import shutil
import signal
from dataclasses import fields

import pytest
import yaml

import outskirts as osk
from outskirts.errors import OutskirtsError
from outskirts.files import load_tensors
from outskirts.methods import registry
from outskirts.renamed import RenamedWarning
from outskirts.training import schedule
from outskirts.training.config import TrainConfig

FLAGS = ["--epochs=2", "--batch-size=8", "--lr=0.1", "--precision=fp32", "--device=cpu", "--augment=crop:1"]


@pytest.fixture
def train(outskirts, bugs, tmp_path):
    def train(method, out, *more):
        return outskirts("train", method, "--data", bugs / "train", "--out", tmp_path / out, *FLAGS, *more)

    return train


def config(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


def assert_equal(one, two):
    """Two runs left the same weights, to the bit, and the same records."""
    assert (one / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()
    (a, about), (b, about_too) = (load_tensors(run / "model.safetensors") for run in (one, two))
    assert about == about_too
    assert a.keys() == b.keys() and all(a[key].equal(b[key]) for key in a)


def test_a_run_says_what_comes_next(train, tmp_path):
    outcome = train("ce", "run")
    assert outcome.code == 0
    assert "validation accuracy" in outcome.err
    assert f"Next: outskirts evaluate {tmp_path / 'run'} --test SPEC" in outcome.err


def test_a_config_repeats_the_run_bit_equal(train, outskirts, tmp_path):
    train("ascood", "one", "--outliers", "gradient", "--seed", "3")
    for given in ("config.yaml", ""):
        out = tmp_path / f"again{given}"
        assert outskirts("train", "--config", tmp_path / "one" / given, "--out", out).code == 0
        assert config(tmp_path / "one") == config(out)
        assert_equal(tmp_path / "one", out)


def test_the_call_takes_a_config_as_the_command_does(train, outskirts, bugs, tmp_path):
    train("npos", "one", "--outlier-weight", "0.3")
    file = tmp_path / "one" / "config.yaml"
    # Version 0.1 named an option otherwise.
    file.write_text(file.read_text().replace("ood_head_lr_factor: 1.0", "risk_lr_factor: 0.5"))
    with pytest.warns(RenamedWarning):
        again = osk.train(config=tmp_path / "one", out=tmp_path / "again", epochs=1)
        outskirts("train", "--config", tmp_path / "one", "--out", tmp_path / "command", "--epochs", "1")
    assert config(again.path) == config(tmp_path / "command")
    assert config(again.path)["ood_head_lr_factor"] == 0.5 and config(again.path)["epochs"] == 1
    assert_equal(again.path, tmp_path / "command")
    with pytest.warns(RenamedWarning):
        over = {"ood_head_lr_factor": 2.0, "val": bugs / "test"}
        run = osk.train(config=file, data=osk.open(bugs / "train"), out=tmp_path / "over", epochs=1, **over)
    found = config(run.path)
    assert found["ood_head_lr_factor"] == 2.0 and str(bugs / "test") in found["val"]


def test_what_a_call_lacks_is_told(bugs, tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 1\n")
    with pytest.raises(OutskirtsError, match="Name a method"):
        osk.train(data=bugs / "train", config=tmp_path / "mine.yaml")
    with pytest.raises(OutskirtsError, match="Pass training images, or a configuration that names some"):
        osk.train("ce", config=tmp_path / "mine.yaml", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_go_over_a_config(train, outskirts, tmp_path):
    train("ce", "one")
    outskirts("train", "ce", f"--config={tmp_path / 'one' / 'config.yaml'}", "--out", tmp_path / "two", "--seed", "5")
    one, two = config(tmp_path / "one"), config(tmp_path / "two")
    assert two == {**one, "seed": 5}


def test_a_preset_goes_over_a_config_and_options_over_both(train, outskirts, tmp_path):
    train("ascood", "one", "--outlier-weight", "0.3", "--sigma", "0.7")
    arguments = ["--config", tmp_path / "one" / "config.yaml", "--preset", "cifar100", "--out", tmp_path / "two"]
    outskirts("train", *arguments, *FLAGS, "--backbone", "fast", "--p-inv", "0.3")
    found = config(tmp_path / "two")
    assert (found["outlier_weight"], found["p_inv"], found["sigma"], found["epochs"]) == (5.0, 0.3, 0.7, 2)


def test_a_preset_and_options_over_it(train, tmp_path):
    train("ascood", "run", "--preset", "cifar10-released", "--backbone", "fast", "--p-inv", "0.3")
    found = config(tmp_path / "run")
    assert (found["outliers"], found["p_inv"], found["warmup"], found["epochs"]) == ("random-shuffle", 0.3, 0.0, 2)


def test_a_switch_can_be_turned_either_way_over_a_config(train, outskirts, tmp_path):
    train("ascood", "one", "--skip-corrupt", "--no-signed-saliency")
    arguments = ["--config", tmp_path / "one", "--out", tmp_path / "two"]
    assert outskirts("train", *arguments, "--skip-corrupt", "--signed-saliency").code == 0
    found = config(tmp_path / "two")
    assert found["skip_corrupt"] and found["signed_saliency"]


def test_a_file_of_one_s_own(outskirts, bugs, tmp_path):
    mine = {"method": "ce", "data": str(bugs / "train"), "epochs": 1, "batch_size": 8, "precision": "fp32"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    assert outskirts("train", "--config", tmp_path / "mine.yaml", "--out", tmp_path / "run").code == 0
    assert config(tmp_path / "run")["epochs"] == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("method: ce\nepoch: 3\n", "option 'epoch' of the method 'ce'; did you mean 'epochs'"),
        ("method: cee\n", "no method 'cee'; did you mean 'ce'"),
        ("epochs: 3\n", "Name a method"),
        ("format: 9\nmethod: ce\n", "written in format 9"),
        ("method: [\n", "not valid YAML"),
        ("- ce\n", "holds no mapping"),
    ],
)
def test_a_wrong_file_is_told(refused, tmp_path, content, sentence):
    (tmp_path / "mine.yaml").write_text(content)
    assert sentence in refused("train", "--config", tmp_path / "mine.yaml", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_to_train_on_are_required(outskirts, tmp_path):
    (tmp_path / "mine.yaml").write_text("method: ce\n")
    for arguments in (["ce"], ["--config", tmp_path / "mine.yaml"]):
        found = outskirts("train", *arguments)
        assert found.code == 2 and "Required options" in found.err and "--data STR" in found.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ascod", "--data", "DATA"], "no method 'ascod'; did you mean 'ascood'"),
        (["--data", "DATA"], "Methods: ascood, ce"),
        (["ascood", "--data", "DATA", "--preset", "cifar1"], "did you mean 'cifar10"),
        (["ce", "--data", "DATA", "--backbone", "resnet-18"], "no backbone 'resnet-18'; did you mean 'resnet18'"),
        (["ce", "--data", "DATA", "--tracker", "tensorbord"], "did you mean 'tensorboard'"),
        (["ce", "--data", "DATA", "--device", "gpu"], "no device 'gpu'"),
        (["ce", "--data", "DATA?clases=1"], "did you mean 'classes'"),
        (["ce", "--data", "nowhere/at/all"], "nowhere/at/all"),
        (["ce", "--data", "DATA", "--lr", "-1"], "lr must be a number above 0"),
        (["--config", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--resume", "nowhere"], "run folder nowhere does not exist"),
        (["--resume", "nowhere", "--epochs", "3"], "--resume takes a run folder and no other option"),
        (["ce", "--resume=nowhere"], "--resume takes a run folder and no other option"),
        (["--resume"], "--resume takes a run folder and no other option"),
    ],
)
def test_bad_input_is_one_sentence(refused, bugs, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    found = refused("train", *(argument.replace("DATA", str(bugs / "train")) for argument in arguments))
    assert sentence in found
    assert len(found) < 1000
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused(refused, bugs, finished):
    assert "not an empty folder" in refused("train", "ce", "--data", bugs / "train", "--out", finished)


def test_a_finished_run_is_not_resumed(refused, finished):
    assert "finished; there is nothing to resume" in refused("train", "--resume", finished)


def test_an_interrupt_says_how_to_go_on(train, outskirts, tmp_path, monkeypatch):
    train("ce", "whole")
    factor = schedule.cosine_factor

    def interrupting(step, *rest, **options):
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return factor(step, *rest, **options)

    monkeypatch.setattr(schedule, "cosine_factor", interrupting)
    outcome = train("ce", "run")
    assert outcome.code == 130
    command = f"outskirts train --resume {tmp_path / 'run'}"
    assert outcome.err.count("outskirts: Stopped after step 6 of 8") == outcome.err.count(command) == 1
    monkeypatch.setattr(schedule, "cosine_factor", factor)
    assert outskirts(*command.split()[1:]).code == 0
    assert_equal(tmp_path / "run", tmp_path / "whole")


def test_corrupt_images_are_named_or_counted(train, refused, outskirts, bugs, tmp_path):
    folder = shutil.copytree(bugs / "train", tmp_path / "holed")
    (folder / "ant" / "5.png").write_bytes(b"no image")
    arguments = ["train", "ce", "--data", folder, "--out", tmp_path / "run", *FLAGS]
    assert "ant/5.png cannot be decoded" in refused(*arguments)
    assert not (tmp_path / "run").exists()
    outcome = outskirts(*arguments, "--skip-corrupt")
    assert outcome.code == 0
    assert "1 image could not be decoded and was left out, such as" in outcome.err


@pytest.mark.parametrize("method", registry.names())
def test_help_shows_every_option_with_its_help(outskirts, method):
    outcome = outskirts("train", method, "--help")
    assert outcome.code == 0
    blocks = _blocks(outcome.out)
    for field in [*fields(TrainConfig), *fields(registry[method].Config)]:
        flag = f"--{field.name.replace('_', '-')}"
        assert flag in blocks, flag
        assert len(blocks[flag].split()) >= 3, flag


def _blocks(text):
    """What stands between one option and the next, without frames and defaults."""
    blocks, flag = {}, ""
    for line in text.splitlines():
        line = line.strip("│ ")
        if line.startswith("--"):
            flag, _, line = line.partition(" ")
            flag = flag.rstrip(",")
        blocks[flag] = f"{blocks.get(flag, '')} {line}".partition("(default")[0]
    return blocks


def test_help_without_a_method_names_them(outskirts):
    for arguments in ([], ["--help"]):
        outcome = outskirts("train", *arguments)
        assert outcome.code == 0 and "Methods: ascood, ce" in outcome.out


def test_a_training_of_few_steps_is_told(train):
    said = train("ce", "run").err
    assert "This training has only " in said and "--batch-size 16 --lr 0.05 --epochs 60" in said


def test_a_finished_run_is_not_to_be_resumed(train, refused, bugs, tmp_path):
    train("ce", "run")
    told = refused("train", "ce", "--data", bugs / "train", "--out", tmp_path / "run")
    assert "is finished. Choose another folder" in told and "--resume" not in told
