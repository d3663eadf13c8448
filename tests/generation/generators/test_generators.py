from pathlib import Path

import numpy as np
import pytest
import torch

from outskirts.data.imageset import ImageSet
from outskirts.data.sources.pool import PoolWriter
from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.generation.generators import registry
from outskirts.generation.populate import populate

TRANSFORM = Transform(8, 3)


def images(counts=(4, 3, 1)):
    """Images of one colour each; tens are the class."""
    labels = torch.repeat_interleave(torch.tensor(counts))
    rank = torch.cat([torch.arange(count) for count in counts])
    return ImageSet(
        [np.full((8, 8, 3), 50 * c + 10 * r, np.uint8) for c, r in zip(labels, rank)], labels, ["a", "b", "c"]
    )


def fitted(name, **options):
    part = registry[name]
    generator = part(part.Config(**options))
    return generator.fit(images(), TRANSFORM, Path("unused"), lambda *state: None)


@pytest.mark.parametrize("name", ["mixup", "patchmix"])
def test_an_image_depends_on_its_class_and_seed_alone(name):
    generator = fitted(name)
    labels, numbers = torch.tensor([0, 1, 0, 2]), torch.tensor([5, 6, 7, 8])
    whole = generator.sample(labels, numbers, 3)
    assert whole.dtype == torch.uint8 and whole.shape == (4, 3, 8, 8)
    apart = torch.cat([generator.sample(labels[i : i + 1], numbers[i : i + 1], 3) for i in range(4)])
    assert torch.equal(whole, apart)
    for other in (generator.sample(labels, numbers + 1, 3), generator.sample(labels, numbers, 4)):
        assert not torch.equal(whole, other)


@pytest.mark.parametrize("name", ["mixup", "patchmix"])
def test_images_stay_within_their_class(name):
    generator = fitted(name)
    for label, (low, high) in enumerate([(0, 30), (50, 70), (100, 100)]):
        made = generator.sample(torch.full((50,), label), torch.arange(50), 0)
        assert low <= made.min() and made.max() <= high
    # Of two different images, wherever there are two.
    assert len(generator.sample(torch.zeros(50, dtype=torch.int64), torch.arange(50), 0).flatten(1).unique(dim=0)) > 10


def test_mixup_is_a_mean_of_two():
    made = fitted("mixup").sample(torch.zeros(200, dtype=torch.int64), torch.arange(200), 0)
    assert (made == made[:, :1, :1, :1]).all(), "one share for all pixels"
    assert 12 < made.float().mean() < 18 and len(made.unique()) > 25


def test_patches_come_whole_and_from_both():
    made = fitted("patchmix", grid=2).sample(torch.zeros(100, dtype=torch.int64), torch.arange(100), 0)
    assert set(made.unique().tolist()) <= {0, 10, 20, 30}
    cells = made.view(100, 3, 2, 4, 2, 4)
    assert (cells == cells[:, :, :, :1, :, :1]).all() and (cells == cells[:, :1]).all()
    kinds = torch.tensor([len(image.unique()) for image in made])
    # Four cells of two images are all of one with the chance 1 / 8.
    assert 0.75 < (kinds == 2).float().mean() < 0.97 and kinds.max() == 2


@pytest.mark.parametrize(("name", "options"), [("mixup", {"beta": 0.0}), ("patchmix", {"grid": 0})])
def test_options_out_of_range(name, options):
    with pytest.raises(OutskirtsError, match=next(iter(options))):
        registry[name].Config(**options)


# Filling a pool


def pool(folder, count=11):
    return PoolWriter(folder, count, (3, 8, 8), ["a", "b", "c"], [], {"generator": {"name": "mixup"}})


def test_every_class_alike(tmp_path):
    made = pool(tmp_path / "pool")
    done = []
    populate(made, fitted("mixup"), seed=0, batch=4, progress=done.append)
    assert done == [4, 8, 11] and made.drawn.tolist() == [4, 4, 3]
    assert torch.bincount(made.written).tolist() == [4, 4, 3]
    assert made.written[:4].tolist() == [0, 1, 2, 0], "classes take turns"


def test_what_is_not_kept_is_made_up_for(tmp_path):
    # Of the second class, only every third image is kept.
    seen = []

    def keep(images):
        kept = torch.ones(len(images), dtype=torch.bool)
        for place in (images.labels == 1).nonzero().flatten().tolist():
            seen.append(place)
            kept[place] = len(seen) % 3 == 0
        return kept

    made = pool(tmp_path / "pool")
    populate(made, fitted("mixup"), seed=0, batch=4, keep=keep)
    assert torch.bincount(made.written).tolist() == [4, 4, 3] and made.drawn.tolist() == [4, 12, 3]


def test_a_stopped_pool_ends_as_a_whole_one(tmp_path):
    whole, stopped = pool(tmp_path / "whole"), pool(tmp_path / "stopped")
    populate(whole, fitted("mixup"), seed=1, batch=3)

    def stop(done):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        populate(stopped, fitted("mixup"), seed=1, batch=3, progress=stop)
    again = pool(tmp_path / "stopped")
    assert again.done == 6
    populate(again, fitted("mixup"), seed=1, batch=3)
    assert np.array_equal(whole.images, again.images) and np.array_equal(whole.labels, again.labels)


def test_a_stopped_pool_of_other_labels_does_not_go_on(tmp_path):
    made = pool(tmp_path / "pool")

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        populate(made, fitted("mixup"), seed=1, batch=9, progress=stop)
    made.labels[:9] = 0
    with pytest.raises(
        OutskirtsError, match=r"more images of a class than it was to have, so its labels\.npy is damaged"
    ):
        populate(pool(tmp_path / "pool"), fitted("mixup"), seed=1, batch=9)


def test_hopeless_classes_are_named(tmp_path):
    made = pool(tmp_path / "pool")
    with pytest.raises(OutskirtsError, match=r"8 were kept. 3 images of 'c' are still missing"):
        populate(made, fitted("mixup"), seed=0, batch=4, keep=lambda images: images.labels != 2)


# Made elsewhere


@pytest.fixture
def elsewhere(tmp_path):
    """An array of images of the classes, each of its own colour."""
    np.save(tmp_path / "x.npy", np.repeat(np.arange(12, dtype=np.uint8), 8 * 8 * 3).reshape(12, 8, 8, 3))
    np.save(tmp_path / "y.npy", np.arange(12) % 3)
    return f"npy:{tmp_path / 'x.npy'}?labels={tmp_path / 'y.npy'}"


def numbered():
    labels = torch.arange(6) % 3
    return ImageSet([np.full((8, 8, 3), 9, np.uint8)] * 6, labels, ["0", "1", "2"])


def test_images_made_elsewhere_come_once_each(elsewhere):
    part = registry["folder"]
    generator = part(part.Config(source=elsewhere)).fit(numbered(), TRANSFORM, Path("unused"), lambda *state: None)
    labels, numbers = torch.arange(12) % 3, torch.arange(12) // 3
    made = generator.sample(labels, numbers, 0)[:, 0, 0, 0]
    assert sorted(made.tolist()) == list(range(12)) and torch.equal(made.long() % 3, labels)
    assert made.tolist() != list(range(12)) and torch.equal(generator.sample(labels, numbers, 0)[:, 0, 0, 0], made)
    with pytest.raises(OutskirtsError, match="has 4 images of the class '1', but more are needed"):
        generator.sample(torch.tensor([1]), torch.tensor([4]), 0)


def test_images_of_other_classes_are_refused(elsewhere):
    part = registry["folder"]
    with pytest.raises(OutskirtsError, match="has classes that the training set lacks"):
        part(part.Config(source=elsewhere)).fit(images(), TRANSFORM, Path("unused"), lambda *state: None)
    with pytest.raises(OutskirtsError, match="Say where the images are"):
        part(part.Config()).fit(images(), TRANSFORM, Path("unused"), lambda *state: None)
