import pytest

from outskirts import renamed
from outskirts.commands.console import current_flags
from outskirts.training.config import resolve_recipe
from outskirts.training.run import Run


def test_options_of_a_training_as_version_0_1_wrote_them():
    now = {"batch_size": 8, "draws": 9, "prototype_init": "simplex", "exposure": "features", "val": None, "size": None}
    before = {"batch_size": 8, "draws": 9, "initial": "simplex", "exposure": "risk", "val": "", "size": 0}
    assert renamed.as_before(now) == before


def test_what_was_not_given():
    now = {"val": None, "size": None, "real_weight": None, "clip_norm": None, "preset": None, "epochs": 0}
    before = {"val": "", "size": 0, "real_weight": -1.0, "clip_norm": 0.0, "preset": None, "epochs": 0}
    assert renamed.unset_as_before(now) == before
    assert renamed.unset_as_now(before) == now


def test_a_value_by_its_name_of_version_0_1():
    with pytest.warns(renamed.RenamedWarning, match=r"^Exposure values .*: 'risk' is now called 'features'\.$") as told:
        recipe = resolve_recipe("oe", {"exposure": "risk"})
    assert recipe.flat()["exposure"] == "features" and len(told) == 1


@pytest.mark.parametrize("flags", [["--exposure", "risk"], ["--exposure=risk"]])
def test_a_value_on_the_command_line(flags):
    with pytest.warns(renamed.RenamedWarning, match="'risk' is now called 'features'"):
        assert current_flags(["--lr", "0.1", *flags]) == [
            "--lr",
            "0.1",
            *[word.replace("risk", "features") for word in flags],
        ]
    assert current_flags(["--out", "risk", "risk"]) == ["--out", "risk", "risk"]


def test_the_outliers_of_a_run(tmp_path):
    with pytest.warns(renamed.RenamedWarning, match="'exposed' is now called 'seen_as_outliers'"):
        assert Run(tmp_path).exposed is None
