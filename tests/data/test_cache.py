import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.cache import ImageCache, cached_images, current_cache
from outskirts.data.transform import Transform


@pytest.fixture
def store():
    """A process that keeps what it decodes, for this test."""
    with cached_images():
        yield current_cache()


@pytest.fixture
def decoded(monkeypatch):
    """The names of the images that are decoded."""
    names = []
    image = osk.ImageSet.image
    monkeypatch.setattr(osk.ImageSet, "image", lambda self, i, *how: names.append(self.name(i)) or image(self, i, *how))
    return names


def test_nothing_is_kept_unless_asked(bugs, decoded):
    assert current_cache() is None
    for _ in range(2):
        osk.open(bugs / "fog").resident(Transform(8))
    assert len(decoded) == 24


def test_equal_images_are_decoded_once(bugs, store, decoded):
    first = osk.open(bugs / "test").resident(Transform(8))
    again = osk.open(bugs / "test").resident(Transform(8, mean=(0.1, 0.2, 0.3)))
    assert len(decoded) == 20 and all(torch.equal(*pair) for pair in zip(first, again))
    # Of another size, of others' labels, or of a part of them, they are not the same.
    for images, transform in (
        (osk.open(bugs / "test"), Transform(4)),
        (osk.open(bugs / "test").select_classes("bee,ant"), Transform(8)),
        (osk.open(bugs / "test").limit(5), Transform(8)),
    ):
        expected = [images.labels, torch.stack([transform.host(images.image(i)) for i in range(len(images))])]
        decoded.clear()
        pixels, labels = images.resident(transform)
        assert len(decoded) == len(images)
        assert torch.equal(labels, expected[0]) and torch.equal(pixels, expected[1])


def test_corrupt_images_are_named_each_time(draw, tmp_path, store):
    folder = draw(tmp_path / "set", count=3)
    (folder / "ant" / "1.png").write_bytes(b"no picture")
    for _ in range(2):
        images = osk.open(folder)
        assert len(images.resident(Transform(8), skip_corrupt=True)[0]) == 5 and len(images.skipped) == 1
        with pytest.raises(OutskirtsError, match=r"1\.png"):
            osk.open(folder).resident(Transform(8))


def test_the_last_ones_stay_within_the_budget():
    store = ImageCache(1000)
    made = []

    def of(name, size):
        return store.cached(name, lambda: made.append(name) or (torch.zeros(size, dtype=torch.uint8), torch.zeros(1)))

    for name, size in (("a", 400), ("b", 400), ("a", 400), ("c", 400), ("a", 400), ("b", 400), ("d", 2000)):
        of(name, size)
    assert made == ["a", "b", "c", "b", "d"] and store.nbytes == 2000


def test_too_many_for_the_budget_are_not_kept(bugs, decoded):
    with cached_images(100):
        for _ in range(2):
            osk.open(bugs / "fog").resident(Transform(8))
        assert len(decoded) == 24 and current_cache().nbytes == 0
