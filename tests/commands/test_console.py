import importlib

import pytest
from rich.progress import Progress

import outskirts as osk
from outskirts import OutskirtsError, bars
from outskirts.commands.console import console, current_flags, merged, pairs, say, training_progress
from outskirts.generation.diffusion_options import NCIS
from outskirts.renamed import RenamedWarning
from outskirts.training.config import TrainConfig


def test_sets_are_given_by_name(bugs):
    sets = pairs("far", [f"fog={bugs / 'fog'}", f"flies={bugs / 'flies'}?limit=3"])
    assert {name: len(osk.open(spec)) for name, spec in sets.items()} == {"fog": 12, "flies": 3}


@pytest.mark.parametrize("entry", ["fog", "=fog", "fog=", ""])
def test_what_is_no_pair_is_told(entry):
    with pytest.raises(OutskirtsError, match=f"--far takes NAME=SPEC.*not '{entry}'"):
        pairs("far", [entry])


def test_a_name_given_twice_is_told(bugs):
    with pytest.raises(OutskirtsError, match="--far names the set 'fog' twice"):
        pairs("far", [f"fog={bugs / 'fog'}", f"fog={bugs / 'flies'}"])


def test_repeated_flags_are_put_together():
    assert merged(["--far=a=1", "r", "--skip", "--far", "b=2"], "--far") == ["--skip", "--far", "a=1", "r", "b=2"]
    assert merged([], "--far") == []
    assert merged(["--far"], "--far") == ["--far"]


@pytest.mark.parametrize(
    "options",
    ["--lr 1 --lr 2", "--lr=1 --lr 2", "--batch_size 1 --batch-size 2", "--compile --no-compile", "--seed 1 --seed 1"],
)
def test_an_option_given_twice_is_told(refused, options):
    name = options.split()[0].partition("=")[0].replace("_", "-")
    assert f"{name} is given twice; give it once." in refused("train", "ce", "--data", "x", *options.split())
    assert "--out is given twice" in refused("report", "run", "--out", "a", "--out", "b")


@pytest.mark.parametrize(
    "line",
    [
        *("train ce --data x", "import openood x --data x", "synthesize id --data x", "synthesize boundary --run x"),
        *("synthesize ncis embed --run x", "synthesize gaussian --run x", "synthesize ascood --run x"),
        *("benchmark cifar10", "benchmark page x", "report x", "demo"),
        *("extract x --model x", "data pack --data x", "data extract --backbone clip:x --data x"),
    ],
)
def test_an_empty_path_to_write_to_is_told(refused, line):
    for out in (["--out", ""], ["--out="]):
        assert "--out has an empty value" in refused(*line.split(), *out)


def test_remarks_are_printed_as_they_are(capsys):
    sentence = f"folder:/a [subset] :smile: [red]x[/] {'long ' * 40}end"
    say(sentence)
    assert capsys.readouterr().err == sentence + "\n"


def test_flags_have_the_names_of_today_where_they_are_known():
    both = ["--batch-size=8", "--batch", "4", "--together", "2"]
    with pytest.warns(RenamedWarning, match="is now called"):
        found = current_flags(both, NCIS)
    assert found == ["--embedding-batch-size=8", "--generation-batch-size", "4", "--embedding-batch-size", "2"]
    # A training has a batch size of its own.
    assert current_flags(both, TrainConfig) == both


def test_progress_is_a_line_for_each_validation(capsys):
    with training_progress("ce") as progress:
        for step in range(1, 5):
            kind = "val" if step % 2 == 0 else "train"
            progress(step, 4, {"kind": kind, "step": step, "epoch": step / 2, "accuracy": 0.5})
    assert capsys.readouterr().err.splitlines() == [
        "ce: step 2 of 4  epoch 1.0  accuracy 0.500",
        "ce: step 4 of 4  epoch 2.0  accuracy 0.500",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_warning_is_printed_once_whenever_it_begins(capsys, monkeypatch, terminal):
    monkeypatch.setattr(console, "_force_terminal", terminal)
    texts = ["", "collapsed for 10 steps", "collapsed for 20 steps", "", "collapsed for 5 steps"]
    with training_progress("cider") as progress:
        progress(1, 7, {"loss": 1.0})
        for step, text in enumerate(texts, start=2):
            progress(step, 7, {"loss": 1.0, "warning": text})
        progress(7, 7, {"loss": 1.0, "warning": texts[-1]})
    warnings = [line for line in capsys.readouterr().err.splitlines() if "collapsed" in line]
    assert len(warnings) == 2
    assert "cider: warning at step 3 of 7: collapsed for 10 steps" in warnings[0]
    assert "cider: warning at step 6 of 7: collapsed for 5 steps" in warnings[1]


@pytest.mark.parametrize(
    ("command", "title", "arguments"),
    [("demo", "training", []), ("synthesize_id", "mixup", ["--data", "mnist5k", "--out", "pool"])],
)
def test_a_terminal_shows_one_display_at_a_time(monkeypatch, command, title, arguments):
    """Not every rich that is supported can show two."""
    module = importlib.import_module(f"outskirts.commands.{command}")
    displays = []

    def work(*_, progress, learning, **options):
        progress("making", 1, 2)
        learning(1, 2, {"kind": "train", "step": 1, "loss": 0.5})
        (display,) = displays
        assert {task.description for task in display.tasks if task.visible} == {"making", title}

    def bar(*_, **options):
        displays.append(Progress(disable=True))
        return displays[-1]

    monkeypatch.setattr(bars, "bar", bar)
    monkeypatch.setattr(module, command, work)
    module.main(arguments)
