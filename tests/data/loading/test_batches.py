import numpy as np
import pytest
import torch

from outskirts.data.imageset import ImageSet
from outskirts.data.loading.augment import Compose, parse_augmentations
from outskirts.data.loading.batches import Sampler, training_batches
from outskirts.data.loading.sampler import CyclicSampler
from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.testing.waiting import META, WithoutWaiting, pretending

TRANSFORM = Transform(8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
CPU = torch.device("cpu")
#: Memory budgets in bytes under which a set is resident or streamed.
RESIDENT, STREAMED = 2**31, 0


@pytest.fixture
def image_set():
    """23 images of different sizes; each is of one colour, which tells it apart."""
    pictures = [np.full((8 + i % 3, 9, 3), 10 * i, np.uint8) for i in range(23)]
    return ImageSet(pictures, torch.arange(23) % 3, ["a", "b", "c"])


def batches(image_set, augment=None, **options):
    options = {"batch_size": 5, "epochs": 3, "seed": 0, "device": CPU, "workers": 0} | options
    return training_batches(image_set, TRANSFORM, augment or Compose(), **options)


def shown(batch):
    """Which images a batch of unchanged ones shows."""
    value = (batch.images[:, 0, 0, 0] * TRANSFORM.std[0] + TRANSFORM.mean[0]) * 255 / 10
    return value.round().int().tolist()


def equal(one, two):
    same = all(map(torch.equal, one.views, two.views)) and torch.equal(one.labels, two.labels)
    state = torch.equal(one.generator.get_state(), two.generator.get_state())
    return same and state and (one.epoch, one.epochs) == (two.epoch, two.epochs)


def test_every_image_at_most_once_an_epoch_and_in_a_new_order_each():
    sampler = Sampler(images=23, batch_size=5, epochs=3, seed=0)
    assert sampler.steps_per_epoch == 4
    epochs = [torch.cat([sampler.indices(4 * e + k) for k in range(4)]) for e in range(3)]
    assert all(len(order.unique()) == 20 and order.max() < 23 for order in epochs)
    assert not any(torch.equal(epochs[i], epochs[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    # What is left out is not always the same.
    assert len(torch.cat(epochs).unique()) == 23
    assert not torch.equal(Sampler(23, 5, 3, seed=1).indices(0), sampler.indices(0))


def test_batches_show_the_images_with_their_labels(image_set):
    made = batches(image_set)
    everything = list(made.start(0))
    assert made.steps == len(everything) == 12
    assert [batch.epoch for batch in everything] == [1] * 4 + [2] * 4 + [3] * 4
    for step, batch in enumerate(everything):
        assert batch.epochs == 3 and batch.labels.dtype == torch.int64
        assert shown(batch) == made.sampler.indices(step).tolist()
        assert batch.labels.tolist() == [i % 3 for i in shown(batch)]
        raw = torch.stack([TRANSFORM.host(image_set.image(i)) for i in shown(batch)])
        torch.testing.assert_close(batch.images, TRANSFORM.device(raw))


@pytest.mark.parametrize("budget", [RESIDENT, STREAMED])
@pytest.mark.parametrize("start", [1, 6, 11])
def test_entering_at_a_step_is_bit_equal(image_set, budget, start):
    made = batches(image_set, parse_augmentations("flip,crop:2,jitter", 8), views=2, memory_budget=budget)
    everything = list(made.start(0))
    again = batches(image_set, parse_augmentations("flip,crop:2,jitter", 8), views=2, memory_budget=budget)
    rest = list(again.start(start))
    assert len(rest) == 12 - start
    assert all(map(equal, rest, everything[start:]))
    assert list(again.start(12)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_is_bit_equal_to_resident(image_set, workers):
    augment = parse_augmentations("flip,crop:2,grey", 8)
    resident = list(batches(image_set, augment, views=2, epochs=2).start(3))
    rng = torch.get_rng_state()
    streamed = list(batches(image_set, augment, views=2, epochs=2, memory_budget=0, workers=workers).start(3))
    assert len(streamed) == len(resident) == 5
    assert all(map(equal, streamed, resident))
    assert torch.equal(torch.get_rng_state(), rng), "streaming draws from the global generator"


def test_room_for_random_crops_is_kept(image_set):
    transform = Transform(6, resize=8)
    options = {"batch_size": 4, "epochs": 1, "seed": 0, "device": CPU, "workers": 0}
    for budget in (RESIDENT, STREAMED):
        made = training_batches(image_set, transform, Compose(), memory_budget=budget, **options)
        assert next(made.start(0)).images.shape == (4, 3, 8, 8)
        made = training_batches(
            image_set, transform, parse_augmentations("resized-crop", 6), memory_budget=budget, **options
        )
        assert next(made.start(0)).images.shape == (4, 3, 6, 6)


@pytest.mark.parametrize(("world", "batch_size"), [(2, 7), (3, 8), (2, 6)])
def test_ranks_share_out_the_global_batch_evenly(image_set, world, batch_size):
    whole = list(batches(image_set, batch_size=6).start(0))
    parts = [list(batches(image_set, batch_size=batch_size, rank=rank, world=world).start(0)) for rank in range(world)]
    assert all(len(part) == len(whole) for part in parts)
    for step, batch in enumerate(whole):
        shares = [shown(part[step]) for part in parts]
        assert sorted(i for share in shares for i in share) == sorted(shown(batch))
        assert {len(share) for share in shares} == {6 // world}


@pytest.mark.parametrize("augment", ["crop:3,flip", "jitter,grey", "resized-crop", "pixmix"])
def test_an_image_is_changed_alike_on_whatever_process(image_set, augment):
    made = {"augment": parse_augmentations(augment, 8), "batch_size": 6, "views": 2}
    whole = next(batches(image_set, **made).start(1))
    for rank in range(3):
        part = next(batches(image_set, **made, rank=rank, world=3).start(1))
        for own, every in zip(part.views, whole.views, strict=True):
            assert torch.equal(own, every[rank::3])
        assert torch.equal(part.labels, whole.labels[rank::3])
        assert torch.equal(part.generator.get_state(), whole.generator.get_state())
        assert (part.generator.rank, part.generator.world) == (rank, 3)


def test_views_steps_and_seeds_are_augmented_differently(image_set):
    same = ImageSet([np.arange(300).astype(np.uint8).reshape(10, 10, 3)] * 12, torch.arange(12) % 2)
    augment = parse_augmentations("crop:3,jitter:0.4:0:0:0:1", 8)
    one, two = list(batches(same, augment, views=2).start(0))[:2]
    other = next(batches(same, augment, views=2, seed=1).start(0))
    assert len(one.views) == 2
    assert not torch.equal(one.views[0], one.views[1])
    assert not torch.equal(one.views[0], two.views[0]) and not torch.equal(one.views[0], other.views[0])
    single = next(batches(same, augment).start(0))
    assert torch.equal(single.images, one.images), "the first view does not depend on how many there are"


def test_a_set_smaller_than_the_batch_is_one_batch(image_set):
    made = batches(image_set, batch_size=512)
    everything = list(made.start(0))
    assert len(everything) == made.steps == 3
    assert all(sorted(shown(batch)) == list(range(23)) for batch in everything)
    assert made.sampler.batch_size == 23


@pytest.mark.parametrize(("limit", "options"), [(1, {}), (23, {"batch_size": 1}), (23, {"batch_size": 5, "world": 4})])
def test_batches_too_small_for_normalisation_are_told(image_set, limit, options):
    with pytest.raises(OutskirtsError, match="fewer than 2 images each"):
        batches(image_set.limit(limit), **options)


@pytest.mark.parametrize("budget", [RESIDENT, STREAMED])
def test_corrupt_images_stop_or_are_left_out(files, budget):
    files[1].write_bytes(b"no image")
    image_set = ImageSet(files, torch.tensor([0, 0, 0, 1, 1, 1]), ["cat", "dog"])
    made = batches(image_set, batch_size=64, skip_corrupt=True, memory_budget=budget)
    assert image_set.skipped == [str(files[1])]
    batch = next(made.start(0))
    assert sorted(batch.labels.tolist()) == [0, 0, 1, 1, 1] and made.sampler.images == made.sampler.batch_size == 5
    with pytest.raises(OutskirtsError, match=r"1 a\.png"):
        list(batches(image_set, batch_size=6, memory_budget=budget).start(0))


def test_leaving_out_corrupt_images_is_bit_equal_in_memory_and_streamed(files):
    files[1].write_bytes(b"no image")
    image_set = ImageSet(files, torch.tensor([0, 0, 0, 1, 1, 1]), ["cat", "dog"])
    one, two = (
        list(
            batches(
                image_set, parse_augmentations("flip", 8), batch_size=2, skip_corrupt=True, memory_budget=budget
            ).start(0)
        )
        for budget in (RESIDENT, STREAMED)
    )
    assert len(one) == 6 and all(map(equal, one, two))


def test_too_few_sound_images_are_told(files):
    for file in files[1:]:
        file.write_bytes(b"no image")
    image_set = ImageSet(files, torch.tensor([0, 0, 0, 1, 1, 1]), ["cat", "dog"])
    with pytest.raises(OutskirtsError, match="fewer than 2 images each"):
        batches(image_set, batch_size=6, skip_corrupt=True)


def test_batches_are_channels_last(image_set):
    images = next(batches(image_set).start(0)).images
    assert images.is_contiguous(memory_format=torch.channels_last) and images.dtype == torch.float32


# Every image once, un-augmented


@pytest.mark.parametrize(("budget", "workers"), [(RESIDENT, 0), (STREAMED, 0), (STREAMED, 2)])
def test_plain_is_every_image_once_in_order_unaugmented(image_set, budget, workers):
    made = batches(
        image_set, parse_augmentations("flip,crop:2,jitter", 8), views=2, memory_budget=budget, workers=workers
    )
    rng = torch.get_rng_state()
    blocks = list(made.plain())
    assert torch.equal(torch.get_rng_state(), rng)
    assert [len(images) for images, _ in blocks] == [5, 5, 5, 5, 3]
    images, labels = (torch.cat(column) for column in zip(*blocks))
    raw = torch.stack([TRANSFORM.host(image_set.image(i)) for i in range(23)])
    torch.testing.assert_close(images, TRANSFORM.device(raw))
    assert labels.tolist() == [i % 3 for i in range(23)] and labels.dtype == torch.int64
    assert all(block.is_contiguous(memory_format=torch.channels_last) for block, _ in blocks)
    assert len(list(made.plain())) == 5, "it can be iterated again"


def test_plain_images_are_the_centre_where_there_is_room_for_crops():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    image_set = ImageSet(pixels, torch.arange(6) % 2, ["a", "b"])
    transform = Transform(6, resize=12)
    expected = transform.device(torch.from_numpy(pixels).permute(0, 3, 1, 2)[:, :, 3:9, 3:9])
    for budget in (RESIDENT, STREAMED):
        options = {"batch_size": 4, "epochs": 1, "seed": 0, "device": CPU, "workers": 0, "memory_budget": budget}
        made = training_batches(image_set, transform, parse_augmentations("resized-crop", 6), **options)
        assert torch.equal(torch.cat([images for images, _ in made.plain()]), expected)


@pytest.mark.parametrize("budget", [RESIDENT, STREAMED])
def test_plain_leaves_out_corrupt_images(files, budget):
    files[1].write_bytes(b"no image")
    image_set = ImageSet(files, torch.tensor([0, 0, 0, 1, 1, 1]), ["cat", "dog"])
    made = batches(image_set, batch_size=2, skip_corrupt=True, memory_budget=budget)
    assert torch.cat([labels for _, labels in made.plain()]).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("world", [1, 2])
def test_every_process_is_given_all_plain_images(image_set, world):
    made = batches(image_set, rank=world - 1, world=world)
    assert sum(len(labels) for _, labels in made.plain()) == 23


# Outliers beside the images


def test_a_small_set_is_gone_through_again_in_a_new_order():
    sampler = CyclicSampler(images=7, batch_size=3, epochs=2, seed=0, steps=7)
    assert sampler.steps_per_epoch == 7
    shown = torch.cat([sampler.indices(step) for step in range(14)]).view(6, 7)
    assert all(sorted(turn) == list(range(7)) for turn in shown.tolist())
    assert len({tuple(turn) for turn in shown.tolist()}) > 1
    # A batch larger than the set holds every image as often, to within one.
    large = CyclicSampler(images=3, batch_size=8, epochs=1, seed=0).indices(0)
    assert sorted(torch.bincount(large).tolist()) == [2, 3, 3]


def test_processes_share_what_accompanies_a_step():
    whole = CyclicSampler(images=7, batch_size=4, epochs=1, seed=0, steps=5)
    for step in range(5):
        parts = [CyclicSampler(7, 4, 1, 0, rank, 2, 5).indices(step) for rank in range(2)]
        assert torch.equal(torch.stack(parts, 1).flatten(), whole.indices(step))


@pytest.mark.parametrize("budget", [RESIDENT, STREAMED])
def test_outliers_go_with_every_batch(image_set, budget):
    pictures = [np.full((9, 8, 3), 255 - i, np.uint8) for i in range(4)]
    others = ImageSet(pictures)
    made = batches(image_set, outliers=others, outlier_batch=3, memory_budget=budget)
    everything = list(made.start(0))
    assert len(everything) == made.steps == 12, "as many steps as without"
    assert all(batch.outliers.shape == (3, 3, 8, 8) for batch in everything)
    values = torch.cat([batch.outliers[:, 0, 0, 0] for batch in everything])
    seen = ((values * TRANSFORM.std[0] + TRANSFORM.mean[0]) * 255).round().int()
    assert torch.bincount(255 - seen).tolist() == [9, 9, 9, 9]
    # The images are those that there are without, whatever goes with them.
    for with_them, without in zip(everything, batches(image_set).start(0)):
        assert equal(with_them, without) and without.outliers is None
    later = next(iter(made.start(7)))
    assert torch.equal(later.outliers, everything[7].outliers)
    assert len(next(iter(batches(image_set, outliers=others).start(0))).outliers) == 5


def test_no_batch_is_waited_for(monkeypatch):
    """A device without numbers can be asked for none, whether images lie there or are augmented there."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    images = ImageSet(pixels, torch.arange(64) % 2, ["a", "b"])
    augment = parse_augmentations("crop:2,flip,pixmix,jitter,grey,resized-crop", 16)
    batches = training_batches(images, Transform(16), augment, batch_size=8, epochs=1, seed=0, device=META, views=2)
    monkeypatch.setattr(batches, "_generator", lambda *path: pretending(META).manual_seed(0))
    with WithoutWaiting():
        batch = next(batches.start(3))
    assert batch.images.device == META and batch.images.shape == (8, 3, 16, 16)
    assert batch.every_label.device.type == "cpu" and len(batch.every_label) == 16
    first = training_batches(images, Transform(16), augment, batch_size=8, epochs=1, seed=0, device=torch.device("cpu"))
    assert torch.equal(batch.every_label[:8], next(first.start(3)).labels)
