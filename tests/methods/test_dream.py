import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

import outskirts as osk
from outskirts.errors import OutskirtsError
from outskirts.methods.dream import Dream, DreamConfig
from outskirts.testing import check_method

pytest.importorskip("diffusers")


def test_contract():
    check_method("dream", DreamConfig(embedding=5, label_smoothing=0.1))


def test_the_loss_by_hand(make, batch):
    method = make(Dream, DreamConfig(embedding=5, temperature=0.2)).eval()
    head = method.classifier.head
    with torch.no_grad():
        points = normalize(head.projection(method.classifier.features(batch.images)), dim=1)
        expected = cross_entropy(points @ head.prototypes.T / 0.2, batch.labels)
    torch.testing.assert_close(method(batch)["loss"].detach(), expected)


def test_anchors_are_the_classes_vectors_and_stay(bugs, small, stable_folder, tmp_path):
    run = osk.train("dream", bugs / "train", out=tmp_path / "run", anchors=str(stable_folder), embedding=8, **small)
    from outskirts.models.diffusion.load_model import load_model

    vectors = load_model(stable_folder, ["ant", "bee"]).prompts.vectors(torch.arange(2))
    torch.testing.assert_close(osk.load(run.path).head.prototypes, normalize(vectors, dim=1))


def test_a_missing_option_is_told_before_any_work(bugs, small, tmp_path, monkeypatch):
    monkeypatch.setattr("outskirts.training.beginning._by_name", lambda *given: pytest.fail("A network was made."))
    with pytest.raises(OutskirtsError, match="pass its folder as --anchors DIR"):
        osk.train("dream", bugs / "train", out=tmp_path / "run", **small)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "pass its folder as --anchors DIR"),
        ({"anchors": "STABLE"}, "have 8 dimensions, not 128; pass --embedding 8"),
        ({"anchors": "STABLE", "embedding": 8, "words": "cat"}, "There are 2 classes and 1 --words"),
        ({"anchors": "nowhere"}, "is not a folder of a diffusion model"),
        ({"temperature": 0.0}, "temperature must be a number above 0"),
    ],
)
def test_what_will_not_do(bugs, small, stable_folder, tmp_path, options, said):
    options = {name: str(stable_folder) if value == "STABLE" else value for name, value in options.items()}
    with pytest.raises(OutskirtsError, match=said):
        osk.train("dream", bugs / "train", out=tmp_path / "run", **small, **options)
    assert not (tmp_path / "run").exists()
