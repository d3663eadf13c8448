import json

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import outskirts as osk
from outskirts import ImageSet, OutskirtsError
from outskirts.commands.data import main
from outskirts.data.attribute import Attribute
from outskirts.renamed import RenamedWarning
from outskirts.synthesis.backgrounds import backgrounds, imagenet_sight, save_backgrounds, windows


def test_windows_lie_along_the_border_and_apart_from_the_middle():
    for height, width, side in ((96, 130, 38), (50, 50, 25), (20, 90, 8)):
        places = windows(height, width, side)
        assert len(set(places)) == 8
        for top, left in places:
            assert 0 <= top <= height - side and 0 <= left <= width - side
            assert top in (0, height - side) or left in (0, width - side)


def red(image):
    """Sees red, at every fourth pixel."""
    return (image[0, 0] - image[0, 1]).clamp_min(0)[::4, ::4]


@pytest.fixture
def berries():
    """Grey images with a red square somewhere, the last of them everywhere."""
    pixels = np.random.default_rng(0).integers(90, 110, (6, 40, 56, 1), np.uint8).repeat(3, 3)
    for i, (top, left) in enumerate(((0, 0), (0, 28), (12, 20), (20, 0), (20, 36))):
        pixels[i, top : top + 20, left : left + 20] = (250, 0, 0)
    pixels[5] = (250, 0, 0)
    place = Attribute("place", ("land", "water"), torch.arange(6) % 2)
    return ImageSet(pixels, torch.zeros(6), ["berry"], "npy:berries.npy", attribute=place)


def test_the_window_with_least_of_the_object(berries):
    found = list(backgrounds(berries, red, share=0.4, max_probability=0.1))
    assert [window.image for window, _ in found] == [0, 1, 2, 3, 4]
    for window, pixels in found:
        assert pixels.shape == (3, 16, 16) and window.seen <= 0.1 and int(pixels.max()) < 110
        top, left, side = window.top, window.left, window.side
        assert torch.equal(pixels, berries.image(window.image)[:, top : top + side, left : left + side])
    assert len(list(backgrounds(berries, red, max_probability=1.0))) == 6


def test_grey_images_stay_grey(berries):
    grey = ImageSet(berries.items[..., 1], berries.labels, ["berry"])
    assert next(iter(backgrounds(grey, red)))[1].shape[0] == 1


def test_they_are_written_all_or_none(berries, tmp_path):
    out = tmp_path / "sets" / "surroundings"
    assert save_backgrounds(berries, backgrounds(berries, red), out, {"objects": "berries"}) == 5
    images = osk.open(out)
    assert images.classes == ["land", "water"] and images.labels.tolist() == [0, 0, 0, 1, 1]
    about = json.loads((out / "backgrounds.json").read_text())
    assert about["images"] == "npy:berries.npy" and about["objects"] == "berries"
    first = about["windows"][0]
    side = first["side"]
    expected = berries.items[0][first["top"] : first["top"] + side, first["left"] : first["left"] + side]
    assert np.array_equal(np.array(Image.open(out / "land" / "000000.png")), expected)
    with pytest.raises(OutskirtsError, match="is not an empty folder"):
        save_backgrounds(berries, backgrounds(berries, red), out, {})
    with pytest.raises(OutskirtsError, match="seen in every window of the 1 image; raise max_probability"):
        save_backgrounds(berries.subset([5]), backgrounds(berries.subset([5]), red), tmp_path / "none", {})

    def broken():
        yield next(backgrounds(berries, red))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_backgrounds(berries, broken(), tmp_path / "none", {})
    assert not (tmp_path / "none").exists()


@pytest.fixture
def untrained(monkeypatch):
    """torchvision's networks with random weights in the place of published ones."""
    build = torchvision.models.get_model

    def get_model(name, weights=None, **options):
        assert weights == "IMAGENET1K_V1"
        torch.manual_seed(0)
        return build(name, **options)

    monkeypatch.setattr("torchvision.models.get_model", get_model)
    return get_model


def test_sight_is_the_head_at_every_place(untrained):
    sight = imagenet_sight("1,tench", "mobilenet_v2", "IMAGENET1K_V1", size=96)
    image = torch.rand(1, 3, 48, 72, generator=torch.Generator().manual_seed(0))
    model = untrained("mobilenet_v2", "IMAGENET1K_V1").eval()
    seen = sight(image)
    assert seen.shape == (3, 5)
    resized = torch.nn.functional.interpolate(
        image, scale_factor=2, mode="bilinear", antialias=True, align_corners=False
    )
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    maps = model.features((resized - mean) / std)[0].detach()
    for row in range(3):
        for column in range(5):
            chances = model.classifier(maps[:, row, column]).softmax(0).detach()
            assert seen[row, column].item() == pytest.approx(float(chances[0] + chances[1]), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("1", "mobilenet_v9", "IMAGENET1K_V1"), "mobilenet_v9"),
        (
            ("1", "mobilenet_v2", "IMAGENET1K_V8"),
            "no set of weights 'IMAGENET1K_V8' of mobilenet_v2; did you mean 'IMAGENET1K_V",
        ),
        (("tensh", "mobilenet_v2", "IMAGENET1K_V1"), "'tensh' in the categories of mobilenet_v2; did you mean 'tench'"),
    ],
)
def test_wrong_names(untrained, arguments, match):
    with pytest.raises(OutskirtsError, match=match):
        imagenet_sight(*arguments)


def test_wrong_numbers(berries):
    with pytest.raises(OutskirtsError, match=r"at most 0.5.*not 0.6"):
        next(backgrounds(berries, red, share=0.6))
    with pytest.raises(OutskirtsError, match="max_probability must be from 0 to 1, not 2"):
        next(backgrounds(berries, red, max_probability=2))


def test_the_command(untrained, bugs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    arguments = ["backgrounds", "--data", str(bugs / "test"), "--objects", "0-9", "--out"]
    main([*arguments, "surroundings", "--max-probability", "1"])
    assert "20 of 20 images gave a background" in capsys.readouterr().err
    assert len(osk.open("surroundings")) == 20
    with pytest.raises(SystemExit):
        main(["backgrounds", "--data", str(bugs / "test")])
    assert "--objects" in capsys.readouterr().err
    with pytest.warns(RenamedWarning, match="'--most' is now called '--max-probability'"):
        main([*arguments, "again", "--most", "1"])
    assert len(osk.open("again")) == 20
    # The call does the same.
    said = []
    cut = osk.cut_backgrounds(bugs / "test", tmp_path / "called", "0-9", max_probability=1, say=said.append)
    assert cut.fingerprint == osk.open("surroundings").fingerprint
    assert said == [f"20 of 20 images gave a background: {tmp_path / 'called'}"]
    assert json.loads((tmp_path / "called" / "backgrounds.json").read_text()) == json.loads(
        (tmp_path / "surroundings" / "backgrounds.json").read_text()
    )
