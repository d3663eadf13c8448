import pytest

from outskirts import OutskirtsError
from outskirts.commands.console import merged, pairs, say, training_progress


def test_sets_are_opened_by_name(bugs):
    sets = pairs("far", [f"fog={bugs / 'fog'}", f"flies={bugs / 'flies'}?limit=3"])
    assert {name: len(image_set) for name, image_set in sets.items()} == {"fog": 12, "flies": 3}


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


def test_remarks_are_printed_as_they_are(capsys):
    sentence = f"folder:/a [subset] :smile: [red]x[/] {'long ' * 40}end"
    say(sentence)
    assert capsys.readouterr().err == sentence + "\n"


def test_progress_is_a_line_for_each_validation(capsys):
    with training_progress("ce") as progress:
        for step in range(1, 5):
            kind = "val" if step % 2 == 0 else "train"
            progress(step, 4, {"kind": kind, "step": step, "epoch": step / 2, "accuracy": 0.5})
    assert capsys.readouterr().err.splitlines() == [
        "ce: step 2 of 4  epoch 1.0  accuracy 0.500",
        "ce: step 4 of 4  epoch 2.0  accuracy 0.500",
    ]
