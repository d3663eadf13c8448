import pytest

import outskirts as osk
from outskirts.commands.train import _recipe
from outskirts.generation.next_command import next_command
from outskirts.training.validation import training_sets

#: Options that change which images are trained on, and which are set aside.
SETS = {"part": {"val_fraction": 0.25, "seed": 3}, "given": {"val": "test"}, "usual": {}}


@pytest.fixture(params=SETS)
def run(request, bugs, small, tmp_path):
    options = {**small, "epochs": 0, **SETS[request.param]}
    if "val" in options:
        options["val"] = bugs / options["val"]
    return osk.train("ce", bugs / "train", out=tmp_path / "it's a run", **options)


def test_the_images_of_a_run_are_trained_on_and_set_aside_again(run, in_shell, tmp_path):
    images, _ = training_sets(run)
    pool = tmp_path / "anna's pool"
    line = next_command("ncis", "outlier-images", pool, images, run).removeprefix("Next: ")
    ((_, *words),) = in_shell(line)
    recipe, _ = _recipe(words)
    assert recipe.training.outlier_images == f"pool:{pool}"
    options = {"data": recipe.training.data, "val": recipe.training.val, "epochs": 0, "device": "cpu"}
    options |= {"val_fraction": recipe.training.val_fraction, "seed": recipe.training.seed, "batch_size": 8}
    other = osk.train("ce", out=tmp_path / "other", **options)
    assert other.data.read_bytes() == run.data.read_bytes()


def test_images_that_were_given(bugs, tmp_path):
    images = osk.open(f"{bugs / 'train'}?limit=8")
    said = next_command("ce", "synthetic", tmp_path, images, None)
    assert said == f"Next: outskirts train ce --data 'folder:{bugs / 'train'}?limit=8' --synthetic pool:{tmp_path}"
    assert " --data SPEC " in next_command("ce", "synthetic", tmp_path, images.limit(4), None)
