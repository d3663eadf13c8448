import json

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.transform import Transform
from outskirts.methods import registry
from outskirts.synthesis.gallery import contact_sheet, pixels, save_png, synthesise


@pytest.fixture
def method(finished):
    run = osk.Run.open(finished)
    return registry["ascood"](run.recipe().settings, osk.load(finished))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_undo_the_transform(channels):
    images = torch.randint(0, 256, (3, channels, 5, 5), dtype=torch.uint8)
    transform = Transform(5, channels, (0.3,) * channels, (0.2,) * channels)
    assert torch.equal(pixels(transform.device(images), transform), images)
    assert pixels(torch.full((1, channels, 2, 2), 99.0), transform).unique().tolist() == [255]


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
    outliers = synthesise(method, osk.open(bugs / "test"), tmp_path, epoch=2, epochs=2)
    assert outliers.values.shape == (20, 3, 16, 16)
    about = json.loads((tmp_path / "outliers.json").read_text())
    assert about["change"] > 0 and "test above the outliers that 'ascood'" in about["caption"]
    with Image.open(tmp_path / "outliers.png") as sheet:
        assert sheet.size[0] == 12 * (64 + 2)


def test_outliers_repeat_with_their_seed(method, bugs, tmp_path):
    a, b, c = (synthesise(method, osk.open(bugs / "test"), tmp_path, seed=seed).values for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_images_without_a_label_are_refused(method, bugs, tmp_path):
    with pytest.raises(OutskirtsError, match="without a label"):
        synthesise(method, osk.open(bugs / "fog"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_method_without_outliers_writes_nothing(bugs, finished, tmp_path):
    method = registry["ce"](registry["ce"].Config(), osk.load(finished))
    assert synthesise(method, osk.open(bugs / "test"), tmp_path) is None
    assert list(tmp_path.iterdir()) == []
