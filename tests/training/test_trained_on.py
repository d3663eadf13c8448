"""A run knows the images that it was trained on, and tells others from them."""

import shutil

import pytest

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.evaluation.evaluate_run import evaluate_run
from outskirts.files import load_json
from outskirts.training.loop import Interrupted
from outskirts.training.train import resume


@pytest.fixture
def own(bugs, tmp_path):
    """A copy of the bugs that a test may change."""
    return shutil.copytree(bugs, tmp_path / "bugs")


def trained(own, small, tmp_path, **options):
    return osk.train("ce", own / "train", out=tmp_path / "run", **{**small, "epochs": 1, **options})


def another_class(own, draw):
    draw(own / "train", ("fly",), count=8)


def fewer_images(own, draw):
    (own / "train" / "ant" / "0.png").unlink()


def swapped_classes(own, draw):
    (own / "train" / "ant").rename(own / "train" / "x")
    (own / "train" / "bee").rename(own / "train" / "ant")
    (own / "train" / "x").rename(own / "train" / "bee")


def another_image(own, draw):
    shutil.copy(own / "flies" / "fly" / "0.png", own / "train" / "ant" / "0.png")


CHANGES = [
    (another_class, "the class 'fly' is new"),
    (fewer_images, "it had 19 images of the class 'ant', and has 18"),
    (swapped_classes, "it has as many images, but others"),
    (another_image, "it has as many images, but others"),
]


def test_the_record_says_what_it_was(own, small, tmp_path):
    about = load_json(trained(own, small, tmp_path).data)
    assert about["training"]["counts"] == {"ant": 19, "bee": 19} and about["validation"]["counts"] == {
        "ant": 1,
        "bee": 1,
    }
    assert about["training"]["spec"].startswith(f"folder:{own / 'train'}")


@pytest.mark.parametrize(("change", "clause"), CHANGES)
def test_other_images_are_not_evaluated_on(own, small, tmp_path, draw, change, clause):
    run = trained(own, small, tmp_path)
    change(own, draw)
    sentence = f"was trained on other (training|validation) images than .* holds now: {clause}. Put back"
    with pytest.raises(OutskirtsError, match=sentence):
        evaluate_run(run, own / "test", {"far": {"fog": own / "fog"}}, ["knn:k=2"])
    assert not (run.path / "results.csv").exists()


@pytest.mark.parametrize(("change", "clause"), CHANGES)
def test_a_training_does_not_go_on_with_other_images(own, small, tmp_path, draw, change, clause):
    def stop(step, steps, latest):
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        trained(own, small, tmp_path, progress=stop)
    change(own, draw)
    with pytest.raises(OutskirtsError, match=f"holds now: {clause}"):
        resume(tmp_path / "run")


def test_training_images_that_moved_to_the_test_images_are_found(own, small, tmp_path):
    run = trained(own, small, tmp_path)
    for i in range(5):
        shutil.move(own / "train" / "ant" / f"{i}.png", own / "test" / "ant" / f"moved{i}.png")
    with pytest.raises(OutskirtsError, match="was trained on other training images"):
        evaluate_run(run, own / "test", {"far": {"fog": own / "fog"}}, ["msp"])


def test_a_run_that_moved_with_its_images_is_the_same(own, small, tmp_path):
    run = trained(own, small, tmp_path)
    shutil.copytree(own / "train", tmp_path / "again")
    config = run.config.read_text().replace(str(own / "train"), str(tmp_path / "again"))
    run.config.write_text(config)
    evaluate_run(run, own / "test", {"far": {"fog": own / "fog"}}, ["msp"])


def test_a_run_of_version_0_1_is_compared_by_its_classes(own, small, tmp_path, draw):
    run = trained(own, small, tmp_path)
    run.data.unlink()
    evaluate_run(run, own / "test", {"far": {"fog": own / "fog"}}, ["msp"])
    another_class(own, draw)
    with pytest.raises(OutskirtsError, match=r"has the classes ant, bee, and .* now holds ant, bee, fly"):
        evaluate_run(run, own / "test", {"far": {"fog": own / "fog"}}, ["msp"])


def test_training_images_do_not_validate(own, small, tmp_path):
    with pytest.raises(OutskirtsError, match=r"40 of the 40 validation images .* are also training images"):
        trained(own, small, tmp_path, val=own / "train")
    assert not (tmp_path / "run").exists()


def test_equal_runs_give_equal_files(own, small, tmp_path):
    for name in ("one", "two"):
        osk.train("ascood", own / "train", out=tmp_path / name, **{**small, "epochs": 1, "outliers": "shuffle"})
    for name in ("model.safetensors", "data.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
