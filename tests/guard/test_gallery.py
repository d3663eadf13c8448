"""The page of the images that are least like the calibration images."""

import re
import shutil
from html import unescape

import pytest

import outskirts as osk
from outskirts.extraction.forward import PassOptions
from outskirts.guard.gallery import save_gallery, short_names
from outskirts.guard.lowest import Lowest


@pytest.fixture(scope="module")
def mixed(bugs, tmp_path_factory):
    """Pictures of several kinds, one of them none, in a folder with an odd name."""
    folder = tmp_path_factory.mktemp("mixed") / "a & <b>"
    folder.mkdir()
    for file in [*(bugs / "fog").rglob("*.png"), *(bugs / "test").rglob("*.png")]:
        shutil.copy(file, folder / f"{file.parent.name} {file.name}")
    (folder / "0.png").write_text("no picture")
    return folder


def page_of(guard, images, file, n=5, **options):
    lowest = Lowest(n)
    lowest.take_all(images, guard.predict(images))
    return save_gallery(guard, images, lowest, file, PassOptions(), **options).read_text(), lowest


def test_it_shows_the_lowest_and_says_of_how_many(guard, mixed, tmp_path):
    images = osk.ImageSet(sorted(mixed.rglob("*.png")), spec="mixed")
    text, lowest = page_of(guard, images, tmp_path / "p.html", name="bugs <i>")
    assert text.count('<li class="shown') == 5 and "bugs &lt;i&gt;" in text and "<i>" not in text
    assert f"{lowest.images} images were looked at" in text and "1 more could not be read" in text
    assert "The 5 that are least like" in text
    assert str(mixed.parent) not in text and not re.search(r'(?:src|href)="(?!data:|#)', text)
    names = [unescape(name) for name in re.findall(r'<p class="name" title="[^"]*">([^<]*)</p>', text)]
    expected = sorted(guard.predict(images), key=lambda one: (one.accepted, one.p_value, -one.score))[:5]
    assert len(names) == 5 and all(one.file.endswith(name) for one, name in zip(expected, names))
    below = 81 - round(expected[0].p_value * 81)
    assert 0 <= below <= 80 and "80 calibration images" in text


def test_nearest_training_images_are_beside_each_image(guard, bugs, tmp_path):
    images = osk.open(str(bugs / "fog"))
    text, _ = page_of(guard, images, tmp_path / "p.html", train=bugs / "train")
    assert text.count('<ul class="near">') == 5 and text.count('alt="Training image') == 15
    assert str(bugs) not in text


def test_names_are_short():
    assert short_names(["/a/b/1.png"]) == ["1.png"]
    assert short_names(["/a/b/1.png", "/a/c/1.png", "x/2.png"]) == ["b/1.png", "c/1.png", "x/2.png"]
    assert short_names(["row 3 of npz:/data/sets/x.npz"]) == ["row 3 of npz:…/x.npz"]
    assert short_names([]) == []


def test_the_command(outskirts, kept, mixed, bugs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = outskirts("predict", kept, mixed, "--html", "p.html", "--html-images", 3, "--train", bugs / "train")
    assert outcome.code == 0 and "Page: p.html" in outcome.err, outcome.err
    text = (tmp_path / "p.html").read_text()
    assert text.count('<li class="shown') == 3 and str(tmp_path) not in text and str(bugs) not in text
    outcome = outskirts("predict", kept, mixed, "--html", "q.html", "--html-images", 3, "--out", "v.csv")
    assert outcome.code == 0, outcome.err
    kinds = [
        re.findall(r'<p class="name" title="([^"]*)">', (tmp_path / name).read_text()) for name in ("p.html", "q.html")
    ]
    assert kinds[0] == kinds[1] and len(kinds[0]) == 3
    for words, told in (
        (["--html", "p.html"], "p.html is there already"),
        (["--html", "p.pdf"], "ends in .html"),
        (["--train", bugs / "train"], "name it (--html FILE.html)"),
        (["--html", "r.html", "--html-images", 0], "at least 1"),
    ):
        outcome = outskirts("predict", kept, mixed, *words)
        assert outcome.code and told in outcome.err
