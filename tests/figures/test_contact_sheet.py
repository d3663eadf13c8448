import json

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.transform import Transform
from outskirts.figures.contact_sheet import contact_sheet, denormalized, save_png
from outskirts.methods import preview, registry
from outskirts.methods.preview import synthesize


@pytest.fixture
def method(finished):
    run = osk.Run.open(finished)
    return registry["ascood"](run.recipe().settings, osk.load(finished))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_undo_the_transform(channels):
    images = torch.randint(0, 256, (3, channels, 5, 5), dtype=torch.uint8)
    transform = Transform(5, channels, (0.3,) * channels, (0.2,) * channels)
    assert torch.equal(denormalized(transform.device(images), transform), images)
    assert denormalized(torch.full((1, channels, 2, 2), 99.0), transform).unique().tolist() == [255]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_shows_sources_above_outliers(channels):
    above = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, channels, 4, 4)
    sheet = np.asarray(contact_sheet([above, above + 100], columns=3, side=8))
    assert sheet.ndim == (3 if channels == 3 else 2)
    corner = sheet[..., 0] if channels == 3 else sheet
    step, line = 8 + 2, 2 * 10 + 3 * 2
    assert [int(corner[0, k * step]) for k in range(3)] == [0, 1, 2]
    assert [int(corner[10, k * step]) for k in range(3)] == [100, 101, 102]
    assert [int(corner[line, k * step]) for k in range(3)] == [3, 4, 255]


def test_pictures_are_written_without_loss(tmp_path):
    image = torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8)
    save_png(tmp_path / "new" / "a.png", image)
    assert torch.equal(torch.from_numpy(np.array(Image.open(tmp_path / "new" / "a.png"))).permute(2, 0, 1), image)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_outliers_are_shown_with_their_sources(method, bugs, tmp_path):
    outliers = synthesize(method, osk.open(bugs / "test"), tmp_path, epoch=2, epochs=2)
    assert outliers.values.shape == (20, 3, 16, 16)
    about = json.loads((tmp_path / "outliers.json").read_text())
    assert (
        "drawing" not in about and about["change"] > 0 and "test above the outliers that 'ascood'" in about["caption"]
    )
    with Image.open(tmp_path / "outliers.png") as sheet:
        assert sheet.size[0] == 12 * (64 + 2)


def test_outliers_repeat_with_their_seed(method, bugs, tmp_path):
    a, b, c = (synthesize(method, osk.open(bugs / "test"), tmp_path, seed=seed).values for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_images_without_a_label_are_refused(method, bugs, tmp_path):
    with pytest.raises(OutskirtsError, match="without a label"):
        synthesize(method, osk.open(bugs / "fog"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_method_without_outliers_writes_nothing(bugs, finished, tmp_path):
    method = registry["ce"](registry["ce"].Config(), osk.load(finished))
    assert synthesize(method, osk.open(bugs / "test"), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def recalling(finished):
    """Makes a method whose outliers are features, anew on a trained classifier."""

    def make(name, **settings):
        few = {"queue": 15, "start": 0.5, **({"k": 3, "boundary": 5, "sigma": 1e-4} if name != "vos" else {})}
        return registry[name](registry[name].Config(**few, **settings), osk.load(finished))

    return make


@pytest.fixture
def features(finished):
    """More of them than a queue of 15 holds, the classes mixed."""
    labels = torch.arange(60) % 2
    dim = osk.load(finished).dim
    return torch.randn(60, dim, generator=torch.Generator().manual_seed(0)) + 3 * labels[:, None], labels


@pytest.mark.parametrize("name, settings", [("vos", {}), ("npos", {}), ("oe", {"outliers": "boundary"})])
def test_outliers_that_are_features_are_shown_among_features(recalling, features, bugs, tmp_path, name, settings):
    method = recalling(name, **settings)
    outliers = synthesize(method, osk.open(bugs / "test"), tmp_path, features=features, epoch=2, epochs=2)
    assert len(outliers) >= 200
    assert len(outliers.values) == len(outliers.labels) == len(outliers.info["distance"])
    assert outliers.values.shape[1] == features[0].shape[1]
    about = json.loads((tmp_path / "outliers.json").read_text())
    assert about["caption"].startswith("Features of training images") and f"'{name}'" in about["caption"]
    assert about["drawing"] is True and about["ready"] == 1 and about["kept_distance"] > 0
    with Image.open(tmp_path / "outliers.png") as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(2**20)) > 10


def test_the_boundary_in_the_picture_is_what_outliers_were_made_of(recalling, features, bugs, tmp_path, monkeypatch):
    drawn = {}
    draw = preview.plane

    def spy(features, labels, outliers, classes):
        drawn.update(features=features, labels=labels, outliers=outliers, classes=classes)
        return draw(features, labels, outliers, classes)

    monkeypatch.setattr(preview, "plane", spy)
    synthesize(recalling("npos"), osk.open(bugs / "test"), tmp_path, features=features, epoch=2, epochs=2)
    rows = drawn["outliers"].info["boundary"]
    assert drawn["labels"].bincount().tolist() == [15, 15]
    assert len(rows.unique()) == 10
    assert torch.equal(drawn["labels"][rows], drawn["outliers"].labels)
    # With hardly any noise, outliers are where they were made.
    assert torch.allclose(drawn["features"][rows], drawn["outliers"].values, atol=0.05)
    latest = torch.cat([features[0][features[1] == c][-15:] for c in (0, 1)])
    assert torch.equal(drawn["features"], latest)


def test_features_before_the_start_or_too_few_of_them_give_no_picture(recalling, features, bugs, tmp_path):
    test = osk.open(bugs / "test")
    assert synthesize(recalling("npos"), test, tmp_path, features=features, epoch=1, epochs=2) is None
    few = tuple(part[:4] for part in features)
    assert synthesize(recalling("npos"), test, tmp_path, features=few, epoch=2, epochs=2) is None
    assert synthesize(recalling("npos"), test, tmp_path, epoch=2, epochs=2) is None
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_features_says_so(recalling, method):
    assert method.queue_size == recalling("oe", outliers="shuffle").queue_size == 0
    assert recalling("vos").queue_size == recalling("oe", outliers="gaussian").queue_size == 15
