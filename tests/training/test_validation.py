"""Which images are set aside for validation: no copy of a training image, and no group that is trained on."""

import json
import shutil

import numpy as np
import pytest
import torch

import outskirts as osk
from outskirts import ImageSet, OutskirtsError, Run
from outskirts.data.leakage import overlap, shared_groups
from outskirts.data.set_record import SetRecord
from outskirts.files import load_json
from outskirts.training.config import TrainConfig
from outskirts.training.validation import require_apart, training_sets, with_validation

OPTIONS = {"epochs": 0, "batch_size": 8, "precision": "fp32", "device": "cpu"}


def numbered(numbers):
    """Images that each show a number, of two classes by turns."""
    pixels = np.broadcast_to(np.array(numbers, np.uint8)[:, None, None], (len(numbers), 4, 4))
    return ImageSet(pixels, torch.arange(len(numbers)) % 2)


def split(images, recorded=None, **options):
    return with_validation(images, None, TrainConfig(**options), recorded)


def as_before(images, fraction, seed):
    """The split of earlier versions, which left copies where they fell."""
    cut = f"{100 * (1 - fraction):g}"
    return images.part(f"0-{cut}%", seed), images.part(f"{cut}-100%", seed)


def records(sets):
    return dict(zip(("training", "validation"), map(SetRecord.of, sets)))


@pytest.mark.parametrize("seed", range(3))
def test_copies_are_on_one_side(seed):
    images = numbered([*range(60), *range(0, 60, 2)])
    train, val = split(images, val_fraction=0.3, seed=seed)
    assert not overlap(train, val) and len(train) + len(val) == 90 and 20 < len(val) < 35
    assert overlap(*as_before(images, 0.3, seed)) > 0


@pytest.mark.parametrize("seed", range(3))
def test_without_copies_the_split_is_that_of_earlier_versions(seed):
    images = numbered(range(100))
    for now, before in zip(split(images, val_fraction=0.3, seed=seed), as_before(images, 0.3, seed)):
        assert torch.equal(now.index, before.index)


def test_a_run_of_an_earlier_version_has_copies_where_they_were():
    images = numbered([*range(60), *range(0, 60, 2)])
    before, now = as_before(images, 0.3, 0), split(images, val_fraction=0.3)
    assert not torch.equal(now[0].index, before[0].index)
    for recorded, expected in (
        (records(before), before),
        (records(now), now),
        ({}, before),  # Version 0.1 kept no record.
        (records(split(images, val_fraction=0.3, seed=1)), now),  # Its images have changed, which will be told.
    ):
        for own, other in zip(split(images, recorded, val_fraction=0.3), expected):
            assert torch.equal(own.index, other.index)


def test_where_all_images_are_copies_they_are_on_both_sides_and_refused():
    images = numbered([7] * 40)
    train, val = split(images, val_fraction=0.3)
    assert torch.equal(val.index, as_before(images, 0.3, 0)[1].index)
    with pytest.raises(OutskirtsError, match=r"1 of the 12 validation images .* is also training images"):
        require_apart(train, val.subset(range(12)))


@pytest.fixture
def patients(bugs, tmp_path):
    """The training images of the bugs, four of a patient, whose name is in the files' names; a table says it, too."""
    folder = shutil.copytree(bugs / "train", tmp_path / "patients")
    lines = ["image,label,patient,split"]
    for file in sorted(folder.rglob("*.png")):
        number, name = int(file.stem), file.parent.name
        renamed = file.rename(file.with_name(f"p{number // 4}_{number}.png"))
        lines.append(f"{renamed.relative_to(folder)},{name},{name}{number // 4},{number % 4}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return folder


def test_groups_are_set_aside_as_a_whole(patients, tmp_path):
    spec = f"{patients}?group=path:^(.*)_"
    run = osk.train("ce", spec, out=tmp_path / "run", val_fraction=0.3, **OPTIONS)
    train, val = training_sets(run)
    assert not shared_groups(train, val) and len(val) in (8, 12, 16) and len(val) % 4 == 0
    assert len(train.group.index.unique()) + len(val.group.index.unique()) == 10
    assert val.spec == f"folder:{patients}?group=path:^(.*)_ [subset]"


def test_validation_images_of_a_group_that_is_trained_on_are_refused(patients, tmp_path):
    table = f"csv:{tmp_path / 'table.csv'}@{patients}?group=patient&rows=split:"
    match = (
        r"The validation images \(csv:.*split:1\) and the training images \(csv:.*split:0\) both have images of 10 "
        r"groups by patient: ant0, ant1, ant2 and 7 more\. Put all images of a group on one side"
    )
    with pytest.raises(OutskirtsError, match=match):
        osk.train("ce", f"{table}0", f"{table}1", out=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def half(patients, tmp_path):
    """A run on the patients 0 and 1 of both classes, with 2 for validation."""
    low, middle = tmp_path / "low", tmp_path / "middle"
    for file in patients.rglob("*.png"):
        number = int(file.name[1])
        target = low if number < 2 else middle if number == 2 else None
        if target:
            (target / file.parent.name).mkdir(parents=True, exist_ok=True)
            file.rename(target / file.parent.name / file.name)
    options = "?group=path:(p[0-9]+)_"
    return osk.train("ce", f"{low}{options}", f"{middle}{options}", out=tmp_path / "run", **OPTIONS)


def test_sets_of_an_evaluation_by_group(half, patients, draw, tmp_path):
    def notes(test, fog="?group=path:(p[0-9]+)_"):
        ood = {"far": {"fog": f"{tmp_path / 'fog'}{fog}"}}
        osk.evaluate_run(half, test, ood, ["msp"], device="cpu")
        return [note for note in load_json(Run(half.path).path / "notes.json") if "never predicts" not in note]

    for number, file in enumerate(sorted(draw(tmp_path / "fog", (), count=4, seed=8).glob("*.png"))):
        file.rename(file.with_name(f"p{number}_{number}.png"))
    whole = f"{patients}?group=path:(p[0-9]+)_"
    assert notes(whole) == [
        "1 group of fog (p3) has images among the ID test images, too.",
        "1 group of fog (p2) has images among the validation images, too.",
        "2 groups of fog (p0, p1) have images among the training images, too.",
    ]
    assert notes(patients, fog="") == [
        "The training images have groups (path:(p[0-9]+)_), and the ID test images have none. Whether they share any "
        "is not known; name them with ?group=."
    ]
    again = shutil.copytree(patients, tmp_path / "again")
    draw(again, count=1, seed=5)
    (again / "ant" / "0.png").rename(again / "ant" / "p1_99.png")
    (again / "bee" / "0.png").rename(again / "bee" / "p2_99.png")
    with pytest.raises(OutskirtsError, match=r"The ID test images .* 1 group by path:\(p\[0-9\]\+\)_: p1\. Put all"):
        notes(f"{again}?group=path:(p[0-9]+)_")


def test_validation_images_beside_the_training_images_have_their_groups(draw, tmp_path):
    root = tmp_path / "photos"
    draw(root / "train", count=4, seed=0)
    draw(root / "val", count=3, seed=1)
    (root / "val" / "bee" / "2.png").rename(root / "val" / "bee" / "9.png")
    with pytest.raises(OutskirtsError, match=r"groups by path:\(\.\*\)\.png: ant/0, ant/1, ant/2 and 2 more"):
        osk.train("ce", f"{root}?group=path:(.*).png", out=tmp_path / "run", epochs=1)
    assert not (tmp_path / "run").exists()


def test_few_validation_images_are_said(bugs, draw, outskirts, tmp_path):
    sentence = (
        "There are 2 validation images, too few to rely on: the accuracy on them can be off by 69 points, and what is "
        "chosen on them is uncertain. More are better (--val-fraction 0.2, or --val SPEC)."
    )
    run, train = tmp_path / "run", ["train", "ce", "--data", bugs / "train", "--epochs=0", "--size=16", "--device=cpu"]
    assert outskirts(*train, "--out", run).err.count(sentence) == 1
    assert sentence in load_json_line(run / "metrics.jsonl")["notes"]
    sets = ["--test", bugs / "test", "--far", f"fog={bugs / 'fog'}", "--device=cpu", "--detectors", "msp", "knn:k=5"]
    assert sentence not in outskirts("evaluate", run, *sets).err
    assert outskirts("evaluate", run, *sets, "--tune").err.count(sentence) == 1
    assert sentence in load_json(run / "notes.json")
    # The training said it, and the choice is a matter of the evaluation; the page has it once.
    assert (run / "report.html").read_text().count("too few to rely on") == 1
    told = outskirts(*train, "--val", bugs / "test", "--out", tmp_path / "named").err
    assert "There are 20 validation images" in told and "More are better (--val SPEC)." in told
    many = draw(tmp_path / "many", count=30)
    assert "too few to rely on" not in outskirts(*train, "--val", many, "--out", tmp_path / "many-run").err


def load_json_line(file):
    return json.loads(file.read_text().splitlines()[0])
