"""From a run folder to results: what is written, what is refused."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import ImageSet, OutskirtsError
from outskirts.data.attribute import Attribute
from outskirts.detectors import ODIN
from outskirts.evaluation.evaluate_run import evaluate_run
from outskirts.evaluation.results import COLUMNS, Results
from outskirts.files import load_json
from outskirts.reporting import report


@pytest.fixture
def corrupted(bugs, tmp_path):
    """A copy of one of the sets with corrupt images."""

    def copy(name, *images):
        folder = shutil.copytree(bugs / name, tmp_path / name)
        for image in images:
            (folder / image).write_bytes(b"no image")
        return folder

    return copy


def steady(sentences):
    """Those that do not depend on how a training is rounded, and so on its threads: how far it got in a few steps."""
    return [sentence for sentence in sentences if not sentence.startswith("The accuracy of classes differs much")]


def test_everything_is_written(run, test, ood):
    said = []
    results = evaluate_run(run, test, ood, ["msp", "mahalanobis", "temperature", "odin"], say=said.append)
    assert [line.split(":")[0] for line in steady(said)] == ["id", "flies", "fog", "train", "val"]
    assert said[0] == "id: 20 images went through the network"
    with (run.path / "results.csv").open() as file:
        header, *rows = list(csv.reader(file))
    assert header == COLUMNS
    assert len(rows) == 4 * 4
    assert {row[header.index("n_id")] for row in rows} == {"20"}
    assert rows[0][:3] == ["run", "ascood", "0"]
    gallery = {path.name for path in run.gallery.iterdir()}
    assert gallery == {"misses", "misses.json", "outliers.png", "outliers.json"}
    assert {entry["dataset"] for entry in load_json(run.gallery / "misses.json")} == {"id", "flies", "fog"}
    assert steady(load_json(run.path / "notes.json")) == []
    assert osk.Results.load(run.path).rows == results.rows
    assert results.rows[0].id_accuracy >= 0.5


def test_a_second_time_no_image_is_forwarded(run, test, ood):
    first = evaluate_run(run, test, ood, ["msp", "mahalanobis"])
    forwarded, said = [], []
    second = evaluate_run(
        run,
        test,
        ood,
        ["msp", "mahalanobis"],
        say=said.append,
        progress=lambda name, done, total: forwarded.append(name),
    )
    assert second.rows == first.rows
    assert forwarded == []
    assert all(line.endswith("images, taken from the store") for line in steady(said))


def test_raw_features_are_another_method(run, test, ood):
    results = evaluate_run(run, test, ood, ["mahalanobis"], features="raw")
    assert {row.method for row in results.rows} == {"ascood (raw features)"}


@pytest.mark.parametrize("name", ["train", "test"])
def test_ood_images_that_are_id_images_are_refused(run, test, bugs, tmp_path, name):
    elsewhere = shutil.copytree(bugs / name, tmp_path / "elsewhere")
    other = {"train": "training", "test": "ID test"}[name]
    with pytest.raises(OutskirtsError, match=f"of the .* images of 'copy' .*elsewhere.* are also among the {other}"):
        evaluate_run(run, test, {"far": {"copy": osk.open(elsewhere)}})
    assert not (run.path / "results.csv").exists()


def test_test_images_that_were_trained_on_are_refused(run, ood, bugs):
    with pytest.raises(OutskirtsError, match=r"images of 'id' .* are also among the training images"):
        evaluate_run(run, osk.open(bugs / "train"), ood)


def test_few_shared_images_are_a_note(run, test, bugs, draw, tmp_path):
    folder = draw(tmp_path / "mixed", (), count=120, seed=9)
    shutil.copy(bugs / "test" / "ant" / "0.png", folder / "shared.png")
    evaluate_run(run, test, {"far": {"mixed": osk.open(folder)}}, ["msp"])
    assert load_json(run.path / "notes.json") == ["1 of the 121 images of mixed is also among the ID test images."]


def test_what_sets_share_is_said(run, test, bugs, draw, tmp_path):
    fog = draw(tmp_path / "fog", (), count=10, seed=9)
    shutil.copy(fog / "0.png", fog / "again.png")
    ood = {"near": {"fog": osk.open(fog)}, "far": {"same": osk.open(fog)}}
    evaluate_run(run, test, ood, ["msp"])
    copies = "Of the 11 images of {}, 1 is a copy of another. Intervals take images for independent"
    notes = load_json(run.path / "notes.json")
    assert [note.partition(", so")[0] for note in notes] == [
        copies.format("fog"),
        copies.format("same"),
        "10 of the 11 images of fog are also in same.",
    ]


def test_images_that_validate_are_said_and_nothing_is_chosen_on_them(bugs, small, tmp_path):
    run = osk.train("ce", bugs / "train", bugs / "test", out=tmp_path / "run", **{**small, "epochs": 1})
    ood = {"far": {"fog": bugs / "fog"}}
    evaluate_run(run, bugs / "test", ood, ["msp"])
    notes = load_json(run.path / "notes.json")
    # A network of one epoch may know one class alone, which is another note.
    assert [note for note in notes if "never predicts" not in note] == [
        "20 of the 20 images of id are also among the validation images, on which detectors are calibrated."
    ]
    with pytest.raises(OutskirtsError, match=r"20 of the 20 images of 'id' are also validation images \(folder:.*test"):
        evaluate_run(run, bugs / "test", ood, ["msp"], tune="own")


def test_notes_of_sets_are_kept(run, test, bugs):
    fog = osk.open(bugs / "fog")
    fog.note = "All of one morning."
    evaluate_run(run, test, {"far": {"fog": fog}}, ["msp"])
    assert load_json(run.path / "notes.json") == ["fog: All of one morning."]


def test_strange_classes_are_refused(run, ood, draw, tmp_path):
    with pytest.raises(OutskirtsError, match=r"classes that the training set lacks: fly; .* ant, bee"):
        evaluate_run(run, osk.open(draw(tmp_path / "test", ("ant", "fly"), seed=5)), ood)


def test_classes_go_by_name(run, ood, draw, tmp_path):
    bees = osk.open(draw(tmp_path / "test", ("bee",), seed=5))
    results = evaluate_run(run, bees, ood, ["msp"])
    predicted = osk.extract(osk.load(run.path), bees).logits.argmax(1)
    assert results.rows[0].id_accuracy == (predicted == 1).double().mean().item()


def test_unlabelled_test_images_have_no_accuracy(run, ood, draw, tmp_path):
    said = []
    results = evaluate_run(run, osk.open(draw(tmp_path / "test", (), seed=5)), ood, ["msp"], say=said.append)
    assert results.rows[0].id_accuracy is None
    assert any("its accuracy is not known" in line for line in said)


@pytest.mark.parametrize("name", ["id", "train", "mean", "a/b", "a b", ""])
def test_names_that_cannot_be_are_refused(run, test, bugs, name):
    with pytest.raises(OutskirtsError, match=f"cannot be called '{name}'"):
        evaluate_run(run, test, {"far": {name: osk.open(bugs / "fog")}})


def test_where_no_detector_can_be_computed_earlier_results_stay(run, test, ood):
    evaluate_run(run, test, ood, ["msp"])
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    with pytest.raises(OutskirtsError, match="No detector can be computed, and nothing was written: ood_head needs"):
        evaluate_run(run, test, {"far": ood["far"]}, ["ood_head"])
    assert {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("group", ["tuning", "a/b", "", "a b"])
def test_groups_that_cannot_be_are_refused(run, test, bugs, group):
    with pytest.raises(OutskirtsError, match=f"A group of OOD sets cannot be called '{group}'"):
        evaluate_run(run, test, {group: {"fog": bugs / "fog"}})


def test_one_name_in_two_groups_is_refused(run, test, bugs):
    fog = osk.open(bugs / "fog")
    with pytest.raises(OutskirtsError, match="Two OOD sets are called 'fog'"):
        evaluate_run(run, test, {"near": {"fog": fog}, "far": {"fog": fog}})


def test_no_set_and_empty_sets_are_refused(run, test, bugs):
    with pytest.raises(OutskirtsError, match="no OOD set to evaluate on"):
        evaluate_run(run, test, {})
    with pytest.raises(OutskirtsError, match=r"set 'fog' \(.*\) holds no images"):
        evaluate_run(run, test, {"far": {"fog": osk.open(bugs / "fog").subset([])}})


def test_a_corrupt_image_is_named(run, test, corrupted):
    with pytest.raises(OutskirtsError, match=r"fog/3\.png cannot be decoded"):
        evaluate_run(run, test, {"far": {"fog": osk.open(corrupted("fog", "3.png"))}}, ["msp"])
    assert not (run.path / "results.csv").exists()


def test_corrupt_images_are_left_out_said_and_not_shown(run, corrupted):
    folders = corrupted("test", "ant/0.png"), corrupted("fog", "0.png", "1.png")
    for store in (False, True):
        test, fog = map(osk.open, folders)
        said = []
        results = evaluate_run(run, test, {"far": {"fog": fog}}, ["msp"], skip_corrupt=True, say=said.append)
        assert ("from the store" in said[0]) is store
        assert (results.rows[0].n_id, results.rows[0].n_ood) == (19, 10)
        notes = load_json(run.path / "notes.json")
        assert set(notes) <= set(said)
        assert "1 of the 20 images of id could not be decoded and was left out, such as" in notes[0]
        assert "2 of the 12 images of fog could not be decoded" in notes[1]
    sound = fog.decodable()
    scores = results.scores["msp"]["fog"]
    for entry, index in zip(_misses(run, "fog"), scores.argsort().tolist()):
        shown = np.asarray(Image.open(run.gallery / entry["image"]))
        assert np.array_equal(shown, sound[index][0].permute(1, 2, 0).numpy())


def _misses(run, dataset):
    return [entry for entry in load_json(run.gallery / "misses.json") if entry["dataset"] == dataset]


def test_empty_files_in_both_sets_are_no_shared_images(run, bugs, corrupted):
    test, fog = osk.open(corrupted("test", "ant/0.png")), osk.open(corrupted("fog", "0.png"))
    evaluate_run(run, test, {"far": {"fog": fog}}, ["msp"], skip_corrupt=True)


def test_corrupt_training_images_can_be_left_out(small, corrupted, bugs, ood, tmp_path):
    train = corrupted("train", "ant/0.png", "bee/3.png")
    run = osk.train("ascood", train, out=tmp_path / "new", skip_corrupt=True, outliers="shuffle", **small)
    said = []
    evaluate_run(run, osk.open(bugs / "test"), ood, ["mahalanobis"], skip_corrupt=True, say=said.append)
    assert any("images of train could not be decoded" in line for line in said)
    with pytest.raises(OutskirtsError, match="cannot be decoded"):
        evaluate_run(run, osk.open(bugs / "test"), ood, ["mahalanobis"])


def test_an_unknown_detector_is_told_before_any_pass(run, test, ood):
    with pytest.raises(OutskirtsError, match="no detector 'knm'; did you mean 'knn'"):
        evaluate_run(run, test, ood, ["knm"], progress=lambda *done: pytest.fail("a pass was made"))


def test_what_cannot_be_fitted_is_left_out_and_refused_alone(run, test, ood):
    with pytest.raises(OutskirtsError, match="neighbour 50 among 38 training images"):
        evaluate_run(run, test, ood, ["knn"])
    results = evaluate_run(run, test, ood, ["knn", "msp"])
    assert "cannot be fitted" in results.skipped["knn"] and {row.detector for row in results.rows} == {"msp"}
    results = evaluate_run(run, test, ood)
    assert "cannot be fitted" in results.skipped["knn"]
    assert {"msp", "iodin", "mahalanobis"} <= {row.detector for row in results.rows}


def test_grey_ood_images_are_taken(run, test, tmp_path):
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 256, (9, 20, 24), dtype=np.uint8))
    results = evaluate_run(run, test, {"far": {"grey": osk.open(tmp_path / "grey.npy")}}, ["msp"])
    assert results.rows[0].n_ood == 9


def test_numbers_are_json_that_other_tools_read(run, test, ood):
    evaluate_run(run, test, ood, ["msp"])
    for path in run.path.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("name", ["vos", "npos"])
def test_outliers_made_of_features_are_shown(bugs, ood, small, test, tmp_path, name):
    few = {"queue": 10, "start": 0.5, **({"k": 3, "boundary": 5, "views": 1} if name == "npos" else {})}
    run = osk.train(name, bugs / "train", out=tmp_path / name, **few, **small)
    said = []
    evaluate_run(run, test, ood, ["msp"], say=said.append)
    assert [line.split(":")[0] for line in said] == ["id", "flies", "fog", "train"]
    assert f"'{name}'" in load_json(run.gallery / "outliers.json")["caption"]
    with Image.open(run.gallery / "outliers.png") as picture:
        assert min(picture.size) > 300
    page = report([run.path], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Features of training images" in page and "Distance from the class" in page


def test_an_untrained_network_has_no_outliers_made_of_features(bugs, ood, small, test, tmp_path):
    run = osk.train("vos", bugs / "train", out=tmp_path / "vos", **{**small, "epochs": 0})
    said = []
    evaluate_run(run, test, ood, ["msp"], say=said.append)
    assert [line.split(":")[0] for line in said] == ["id", "flies", "fog"]
    assert not (run.gallery / "outliers.png").exists()


def test_parameters_are_chosen_without_a_look_at_the_test(run, test, ood, bugs):
    said = []
    results = evaluate_run(run, test, ood, ["msp", "react", "knn:k=3"], tune="own", say=said.append)
    chosen = [row for row in results.tuning if row.detector == "react"]
    assert len(chosen) == 4 and {row.dataset for row in chosen} == {"own outliers"}
    # What was asked for, or has no grid, has one point.
    assert [row.detector for row in results.tuning if row.detector != "react"] == ["msp", "knn"]
    best = max(chosen, key=lambda row: row.auroc)
    assert {row.params for row in results.rows if row.detector == "react"} == {best.params}
    assert said[-1] == "Parameters chosen at 6 points on validation images and own outliers."
    # In the table, and apart from the results when it is read again.
    again = Results.load(run.path)
    assert again.tuning == results.tuning and again.rows == results.rows
    for taken in (bugs / "fog", bugs / "test"):
        with pytest.raises(OutskirtsError, match=r"images to choose parameters on .* are also in the set"):
            evaluate_run(run, test, ood, ["react"], tune=osk.open(taken))
        with pytest.raises(OutskirtsError, match=r"images to choose parameters on .* are also in the set"):
            evaluate_run(run, test, ood, ["react"], tune=taken)


def test_parameters_that_take_a_pass_are_chosen_if_asked_for(run, test, ood, monkeypatch):
    monkeypatch.setattr(ODIN, "pass_grid", {"temperature": (1.0, 1000.0), "epsilon": (0.0014, 0.02)})
    without = evaluate_run(run, test, ood, ["odin"], tune="own")
    assert len(without.tuning) == 1
    results = evaluate_run(run, test, ood, ["odin", "iodin:epsilon=0.01,temperature=10"], tune="own", tune_passes=True)
    points = [row for row in results.tuning if row.detector == "odin"]
    assert len(points) == 4 and len({row.params for row in points}) == 4
    assert [row.params for row in results.tuning if row.detector == "iodin"] == ['{"epsilon": 0.01, "temperature": 10}']
    best = max(points, key=lambda row: row.auroc)
    rows = [row for row in results.rows if row.detector == "odin"]
    assert {row.params for row in rows} == {best.params}
    # What was chosen is what is measured.
    alone = evaluate_run(run, test, ood, [{"name": "odin", **json.loads(best.params)}])
    assert [row.auroc for row in alone.rows] == [row.auroc for row in rows]
    with pytest.raises(OutskirtsError, match="need images to choose on"):
        evaluate_run(run, test, ood, ["odin"], tune_passes=True)


def test_what_a_network_cannot_serve_is_left_out_of_all(bugs, small, test, ood, tmp_path):
    transformer = {"backbone": "timm:vit_tiny_patch16_224", "size": 32, "epochs": 0}
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", **{**small, **transformer})
    with pytest.raises(
        OutskirtsError, match=r"No detector can be computed.*: gram cannot be computed: This network has 1"
    ):
        evaluate_run(run, test, ood, ["gram"], progress=lambda *done: pytest.fail("a pass was made"))
    results = evaluate_run(run, test, ood, ["msp", "gram"])
    assert results.skipped.keys() == {"gram"} and results.scores.keys() == {"msp"}
    results = evaluate_run(run, test, ood)
    assert {"gram", "mahalanobis_ensemble", "rankfeat"} <= results.skipped.keys()
    assert "odin" in results.scores and results.skipped["gram"].startswith("cannot be computed: This network has 1")


def test_accuracy_by_group(run, test, ood, tmp_path):
    place = Attribute("place", ("land", "water"), torch.arange(20) % 2)
    known = ImageSet(test.items, test.labels, test.classes, test.spec, attribute=place)
    results = evaluate_run(run, known, ood, ["msp"])
    groups = load_json(run.path / "groups.json")
    assert [(one["label"], one["value"], one["n"]) for one in groups] == [
        (label, value, 5) for label in ("ant", "bee") for value in ("land", "water")
    ]
    assert sum(5 * one["accuracy"] for one in groups) == pytest.approx(20 * results.rows[0].id_accuracy)
    page = report([run.path], tmp_path / "report.html").read_text()
    assert "Accuracy by group" in page and "water" in page
    # Of a test set of which nothing more is known, nothing old stays.
    evaluate_run(run, test, ood, ["msp"])
    assert not (run.path / "groups.json").exists()
    assert "Accuracy by group" not in report([run.path], tmp_path / "report.html").read_text()


def test_groups_leave_out_corrupt_images(run, ood, corrupted):
    broken = osk.open(corrupted("test", "ant/0.png", "bee/3.png"))
    place = Attribute("place", ("land", "water"), torch.arange(20) % 2)
    known = ImageSet(broken.items, broken.labels, broken.classes, broken.spec, attribute=place)
    evaluate_run(run, known, ood, ["msp"], skip_corrupt=True)
    assert [one["n"] for one in load_json(run.path / "groups.json")] == [4, 5, 5, 4]


def test_shifted_images_are_labelled_by_name(run, test, ood, bugs, tmp_path):
    dusk = osk.open(f"{bugs / 'test'}?contrast=60").select_classes("bee,ant")
    results = evaluate_run(run, test, {**ood, "shifted": {"dusk": dusk}}, ["msp"])
    classifier = osk.load(run.path)
    right = [
        (osk.extract(classifier, images).logits.argmax(1) == images.align(classifier.classes).labels).tolist()
        for images in (test, dusk)
    ]
    row = next(row for row in results.rows if row.group == "near (full-spectrum)")
    assert row.id_accuracy == sum(map(sum, right)) / 40 and row.n_id == 40
    page = report([run.path], tmp_path / "report.html").read_text()
    assert "near (full-spectrum)" in page


def test_folders_and_specs_are_taken_as_runs_and_image_sets_are(bugs, small, tmp_path):
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", **{**small, "epochs": 1})
    specs = osk.evaluate_run(run.path, f"{bugs / 'test'}", {"far": {"fog": f"{bugs / 'fog'}"}}, ["msp"])
    sets = osk.evaluate_run(
        run, osk.open(bugs / "test"), {"far": {"fog": osk.open(bugs / "fog")}}, ["msp"], device="cpu"
    )
    assert [row.auroc for row in specs.rows] == [row.auroc for row in sets.rows]
    bench = osk.Benchmark("bugs", f"{bugs / 'train'}", f"{bugs / 'test'}", {"far": {"fog": f"{bugs / 'fog'}"}})
    assert osk.evaluate_run(run, benchmark=bench, detectors=["msp"]).rows == specs.rows
    assert osk.report(run) == run.path / "report.html" and "fog" in (run.path / "report.html").read_text()


def test_sets_or_a_benchmark(run, test, ood):
    with pytest.raises(OutskirtsError, match=r"either a benchmark or a test set.*--benchmark or --test"):
        evaluate_run(run, test, ood, benchmark="mnist5k")
    with pytest.raises(OutskirtsError, match="Pass the in-distribution test images"):
        evaluate_run(run, ood=ood)
