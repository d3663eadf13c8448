"""Batches that are decoded ahead are those that a set in memory would be cut into."""

import threading
from contextlib import closing

import numpy as np
import pytest
import torch

import outskirts as osk
from outskirts.data.cache import cached_images, current_cache
from outskirts.data.decode import CorruptImage
from outskirts.data.loading import ahead
from outskirts.data.loading.ahead import batches
from outskirts.data.transform import Transform

TRANSFORM = Transform(8)


@pytest.fixture
def numbered():
    """Ninety images of which each is its own number in all pixels; of some none can be decoded."""

    def of(corrupt=()):
        items = [b"no image" if i in corrupt else np.full((8, 8, 3), i, np.uint8) for i in range(90)]
        return osk.ImageSet(items, torch.arange(90) % 2, ["even", "odd"], spec="numbered")

    return of


@pytest.fixture
def decoded(monkeypatch):
    """The positions of the images that are decoded."""
    positions = []
    image = osk.ImageSet.image
    monkeypatch.setattr(osk.ImageSet, "image", lambda self, i, reading: positions.append(i) or image(self, i, reading))
    return positions


def numbers(found):
    return [images[:, 0, 0, 0].tolist() for images, _ in found]


def parts(monkeypatch, images):
    """Make parts of so many images."""
    monkeypatch.setattr(ahead, "_PART", images * 3 * 8 * 8)


def cut(values, size):
    return [values[start : start + size] for start in range(0, len(values), size)]


def test_batches_are_those_of_the_set_in_memory(draw, tmp_path):
    images = osk.open(draw(tmp_path / "set", count=50))
    transform = Transform(12, resize=14, interpolation="bicubic")
    alone = torch.stack([transform.host(images.image(i)) for i in range(100)])
    for size in (1, 32, 64, 70, 100, 1000):
        found = list(batches(images, transform, size))
        assert [len(places) for _, places in found] == [len(part) for part in alone.split(size)]
        assert torch.equal(torch.cat([pixels for pixels, _ in found]), alone)
        assert torch.equal(torch.cat([places for _, places in found]), torch.arange(100))


@pytest.mark.parametrize("job", [1, 5, 1000])
@pytest.mark.parametrize("corrupt", [(), (0,), (3, 4, 41), tuple(range(20, 45)), (87, 88, 89)])
def test_batches_end_where_parts_end_and_close_up_within_them(numbered, monkeypatch, corrupt, job):
    parts(monkeypatch, 40)
    monkeypatch.setattr(ahead, "_JOB", job * 3 * 8 * 8)
    images = numbered(corrupt)
    expected = []
    for first in (0, 40, 80):
        expected += cut([i for i in range(first, min(first + 40, 90)) if i not in corrupt], 15)
    found = list(batches(images, TRANSFORM, 15, skip_corrupt=True))
    assert numbers(found) == expected
    assert torch.cat([places for _, places in found]).tolist() == [i for batch in expected for i in batch]
    assert images.skipped == [f"row {i} of numbered" for i in corrupt]


def test_of_a_set_without_a_sound_image_there_is_an_empty_batch(numbered):
    images = numbered(range(90))
    ((pixels, places),) = batches(images, TRANSFORM, 250, skip_corrupt=True)
    assert pixels.shape == (0, 3, 8, 8) and len(places) == 0 and len(images.skipped) == 90


def test_the_first_corrupt_image_is_named_after_the_batches_before_it(numbered):
    given = []
    with pytest.raises(
        CorruptImage,
        match=r"^row 47 of numbered cannot be decoded .* Mend or remove it, or leave out such images with skip_corrupt",
    ):
        for batch in batches(numbered((47, 48, 80)), TRANSFORM, 20, threads=4):
            given.append(batch)
    assert numbers(given) == [list(range(20)), list(range(20, 40))]


def test_two_batches_are_decoded_ahead_at_most(numbered, decoded):
    images = numbered()
    with closing(batches(images, TRANSFORM, 10, threads=1)) as found:
        for used, _ in enumerate(found):
            # Long enough for more, were there more to do.
            threading.Event().wait(0.02)
            assert len(decoded) <= (used + 1) * 10 + 20
    assert sorted(decoded) == list(range(90))


def test_they_are_decoded_while_earlier_ones_are_used(numbered, decoded):
    with closing(batches(numbered(), TRANSFORM, 10)) as found:
        next(found)
        for _ in range(500):
            if len(decoded) > 20:
                break
            threading.Event().wait(0.01)
        assert len(decoded) > 20


def test_threads_end_with_whoever_uses_the_batches(numbered):
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="enough"), closing(batches(numbered(), TRANSFORM, 10)) as found:
        next(found)
        assert set(threading.enumerate()) > before
        raise RuntimeError("enough")
    assert set(threading.enumerate()) == before


def test_kept_sets_are_decoded_once(numbered, monkeypatch, decoded):
    parts(monkeypatch, 40)
    alone = list(batches(numbered(), TRANSFORM, 15))
    decoded.clear()
    with cached_images():
        for _ in range(2):
            found = list(batches(numbered(), TRANSFORM, 15))
            assert all(torch.equal(*pair) for pairs in zip(found, alone, strict=True) for pair in zip(*pairs))
    assert len(decoded) == 90


def test_sets_that_will_be_kept_are_decoded_while_earlier_ones_are_used(numbered, decoded):
    with cached_images(), closing(batches(numbered(), TRANSFORM, 10, threads=1)) as found:
        for used, (images, _) in enumerate(found):
            assert images[:, 0, 0, 0].tolist() == list(range(used * 10, used * 10 + 10))
            assert len(decoded) <= (used + 1) * 10 + 20
            threading.Event().wait(0.02)  # Long enough for more, were there more to do.


def test_what_is_kept_is_what_is_resident(numbered, decoded):
    with cached_images():
        list(batches(numbered(), TRANSFORM, 15))
        assert numbers([numbered().resident(TRANSFORM)]) == [list(range(90))] and len(decoded) == 90
    with cached_images():
        numbered().resident(TRANSFORM)
        assert numbers(batches(numbered(), TRANSFORM, 40)) == cut(list(range(90)), 40) and len(decoded) == 180


def test_sets_that_are_not_read_to_their_end_or_too_large_are_not_kept(numbered, decoded):
    with cached_images(90 * 3 * 8 * 8), closing(batches(numbered(), TRANSFORM, 15)) as found:
        next(found)
        found.close()
        assert current_cache().nbytes == 0
        list(batches(numbered(), TRANSFORM, 15))
        assert current_cache().nbytes == 90 * 3 * 8 * 8
    with cached_images(90 * 3 * 8 * 8 - 1):
        list(batches(numbered(), TRANSFORM, 15))
        assert current_cache().nbytes == 0
