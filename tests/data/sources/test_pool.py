import errno
import json
import time

import numpy as np
import pytest
import torch

from outskirts.data.imageset import ImageSet
from outskirts.data.keyset import KeySet
from outskirts.data.leakage import describe, require_unseen, seen
from outskirts.data.sources import open as open_images
from outskirts.data.sources.pool import PoolWriter, verify_pool
from outskirts.errors import OutskirtsError
from outskirts.files import load_json

ABOUT = {"generator": {"name": "painter"}, "seed": 3}
KEYS = [f"{i:032x}" for i in (5, 2, 2, 9)]


def colours(count, start=0, channels=3):
    """Images of one value each, and their labels."""
    values = torch.arange(start, start + count, dtype=torch.uint8)
    return values[:, None, None, None].expand(-1, channels, 8, 8).contiguous(), torch.arange(start, start + count) % 2


def writer(folder, count=6, channels=3, **about):
    return PoolWriter(folder, count, (channels, 8, 8), ["ant", "bee"], KEYS, ABOUT | about)


def filled(folder, channels=3):
    pool = writer(folder, channels=channels)
    pool.add(*colours(4, channels=channels), torch.tensor([0, 0, 0, 1, 1, 1, 1]))
    pool.add(*colours(2, 4, channels), torch.tensor([0, 1, 1]))
    pool.finish(quality={"agreement": 0.5})
    return folder


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read(tmp_path, channels):
    folder = filled(tmp_path / "pool", channels)
    for spec in (f"pool:{folder}", str(folder)):
        images = open_images(spec)
        assert len(images) == 6 and images.classes == ["ant", "bee"] and images.spec == f"pool:{folder}"
        assert images.labels.tolist() == [0, 1] * 3
        for i, (image, _) in enumerate(images):
            assert image.shape == (channels, 8, 8) and (image == i).all()
    assert isinstance(images.items, np.memmap)
    about = verify_pool(folder)
    assert about["counts"] == {"ant": 3, "bee": 3} and about["drawn"] == {"ant": 4, "bee": 6} and about["seed"] == 3
    assert about["quality"] == {"agreement": 0.5} and about["generator"]["name"] == "painter"
    keys = seen(f"pool:{folder}")
    assert keys is not None and KeySet.load(keys).keys == set(KEYS)
    assert not (folder / "state.json").exists()


def test_an_unfinished_pool_goes_on(tmp_path):
    whole = filled(tmp_path / "whole")
    pool = writer(tmp_path / "pool")
    pool.add(*colours(4), torch.tensor([0, 0, 0, 1, 1, 1, 1]))
    with pytest.raises(OutskirtsError, match=r"is not finished\. To continue, give the command"):
        open_images(f"pool:{tmp_path / 'pool'}")
    again = writer(tmp_path / "pool")
    assert (again.done, again.drawn.tolist()) == (4, [3, 4]) and again.written.tolist() == [0, 1, 0, 1]
    again.add(*colours(2, 4), torch.tensor([0, 1, 1]))
    again.finish()
    for name in ("images.npy", "labels.npy", "keys.npy"):
        assert (tmp_path / "pool" / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(OutskirtsError, match="holds a finished pool"):
        writer(tmp_path / "pool")


def test_a_batch_that_was_cut_off_is_written_again(tmp_path):
    pool = writer(tmp_path / "pool")
    pool.add(*colours(2), colours(2)[1])
    pool.images[2:4] = 77  # Killed before it was counted.
    again = writer(tmp_path / "pool")
    assert again.done == 2
    again.add(*colours(4, 2), colours(4)[1])
    again.finish()
    assert verify_pool(tmp_path / "pool")["count"] == 6


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("images.npy", lambda file: file.write_bytes(b"\0" + file.read_bytes()[1:]), "images.npy is damaged"),
        ("images.npy", lambda file: np.save(file, np.zeros((2, 8, 8, 3), np.uint8)), "images.npy is damaged: it is of"),
        ("labels.npy", lambda file: np.save(file, np.zeros(6, np.float32)), "labels.npy is damaged: it is of"),
        ("labels.npy", lambda file: np.save(file, np.full(6, 7)), "labels.npy is damaged: it has labels of no class"),
        ("state.json", {"done": 9}, "state.json is damaged: its counts"),
        ("state.json", {"done": -1}, "state.json is damaged: its counts"),
        ("state.json", {"drawn": [1]}, "state.json is damaged: its counts"),
        ("state.json", {"drawn": [1, 2**70]}, "state.json is damaged: its counts"),
        ("state.json", {"drawn": [0, 0]}, "state.json is damaged: its counts"),
    ],
)
def test_what_is_damaged_does_not_go_on(tmp_path, file, change, said):
    begun = writer(tmp_path / "pool")
    begun.add(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), torch.tensor([0, 1]))
    path = tmp_path / "pool" / file
    if isinstance(change, dict):
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    else:
        change(path)
    with pytest.raises(OutskirtsError, match=said):
        writer(tmp_path / "pool")


@pytest.mark.parametrize("other", [{"seed": 4}, {"generator": {"name": "sculptor"}}, {"count": 5}])
def test_a_pool_begun_otherwise_is_refused(tmp_path, other):
    writer(tmp_path / "pool").add(*colours(2), colours(2)[1])
    with pytest.raises(OutskirtsError, match=f"was begun with the {next(iter(other))}"):
        writer(tmp_path / "pool", **other)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OutskirtsError, match="not an empty folder"):
        writer(tmp_path)
    with pytest.raises(OutskirtsError, match=r"is not a pool: it has no manifest\.json"):
        open_images(f"pool:{tmp_path}")
    with pytest.raises(OutskirtsError, match="There is no folder"):
        open_images(f"pool:{tmp_path / 'nowhere'}")


def changed(folder, what):
    if what == "image":
        images = np.load(folder / "images.npy", mmap_mode="r+")
        images[3, 2, 2] += 1
        images.flush()
    if what == "label":
        labels = np.load(folder / "labels.npy", mmap_mode="r+")
        labels[3] = 0
        labels.flush()
    if what == "gone":
        (folder / "keys.npy").unlink()
    if what in ("fewer", "out of range", "float"):
        arrays = {"fewer": np.zeros((5, 8, 8, 3), np.uint8), "float": np.zeros((6, 8, 8, 3), np.float32)}
        name = "labels.npy" if what == "out of range" else "images.npy"
        np.save(folder / name, arrays.get(what, np.array([0, 1, 2, 0, 1, 0])))
    if what == "format":
        about = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(about | {"format": 99}))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("image", "images.npy is not the file that the manifest describes"),
        ("label", "labels.npy is not the file"),
        ("gone", "keys.npy is missing"),
        ("fewer", "holds 5 images, but the manifest says 6"),
        ("out of range", "go from 0 to 2, but it has 2 classes"),
        ("float", r"images\.npy (holds|is not uint8)"),
        ("format", "was written in format 99"),
    ],
)
def test_what_the_manifest_does_not_describe(tmp_path, what, said):
    folder = filled(tmp_path / "pool")
    changed(folder, what)
    with pytest.raises(OutskirtsError, match=said):
        verify_pool(folder)


def test_images_the_generator_has_seen_are_refused(tmp_path):
    real = ImageSet(list(colours(20)[0].movedim(1, 3).numpy()), colours(20)[1], ["ant", "bee"], spec="real")
    pool = PoolWriter(tmp_path / "pool", 2, (3, 8, 8), ["ant", "bee"], real.subset(range(10)).keys, ABOUT)
    pool.add(*colours(2), colours(2)[1])
    pool.finish()
    known = seen(f"pool:{tmp_path / 'pool'}")
    require_unseen(known, real.subset(range(10, 20)), "validation")
    require_unseen(None, real, "validation")
    with pytest.raises(OutskirtsError, match="has seen 5 of the 10 validation images"):
        require_unseen(known, real.subset(range(5, 15)), "validation")
    assert seen("textures") is None and seen("") is None


def test_a_run_keeps_what_it_needs_of_a_pool(tmp_path):
    pool = PoolWriter(tmp_path / "pool", 2, (3, 8, 8), ["ant", "bee"], KEYS, ABOUT)
    pool.add(*colours(2), colours(2)[1])
    pool.finish()
    (tmp_path / "gallery").mkdir()
    kept = describe(f"pool:{tmp_path / 'pool'}", tmp_path / "gallery")
    assert kept is not None and kept.read_bytes() == (tmp_path / "pool" / "keys.npy").read_bytes()
    assert load_json(tmp_path / "gallery" / "synthetic.json")["counts"] == {"ant": 1, "bee": 1}
    assert describe("textures", tmp_path / "gallery") is None and describe("", tmp_path / "gallery") is None


def test_a_large_pool_opens_at_once_and_takes_no_memory(tmp_path):
    count = 1_000_000
    folder = tmp_path / "pool"
    pool = PoolWriter(folder, count, (1, 8, 8), ["ant", "bee"], KEYS, ABOUT)
    pool.labels[:] = np.arange(count) % 2
    pool.state["done"] = count
    pool.finish()
    start = time.perf_counter()
    images = open_images(f"pool:{folder}")
    # Generous: it takes some hundredths; reading the arrays, or decoding them, would take many seconds.
    assert time.perf_counter() - start < 10
    assert len(images) == count and isinstance(images.items, np.memmap)


def test_a_pool_killed_at_its_first_moment_goes_on(tmp_path):
    writer(tmp_path / "pool")
    for name in ("images.npy", "labels.npy", "keys.npy"):
        (tmp_path / "pool" / name).unlink()
    pool = writer(tmp_path / "pool")
    pool.add(*colours(6), colours(6)[1])
    pool.finish()
    assert verify_pool(tmp_path / "pool")["count"] == 6


def test_a_full_disk_is_told_before_an_image_is_made(tmp_path, monkeypatch):
    def full(descriptor, start, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OutskirtsError, match=r"The disk is full: .*images\.npy was not written; free some space"):
        writer(tmp_path / "pool")
    monkeypatch.undo()
    filled(tmp_path / "pool")
    verify_pool(tmp_path / "pool")


def test_space_for_all_images_is_taken_at_the_beginning(tmp_path):
    pool = writer(tmp_path / "pool", count=2000)
    assert (tmp_path / "pool" / "images.npy").stat().st_blocks * 512 >= pool.images.nbytes


def test_an_error_before_the_first_image_leaves_what_was_there(tmp_path):
    (tmp_path / "pool").mkdir()
    with pytest.raises(OutskirtsError, match="wrong"), writer(tmp_path / "pool").beginning():
        raise OutskirtsError("wrong")
    assert list((tmp_path / "pool").iterdir()) == []
    pool = writer(tmp_path / "pool")
    (tmp_path / "pool" / "generator").mkdir()
    with pytest.raises(OutskirtsError, match="wrong"), pool.beginning():
        raise OutskirtsError("wrong")
    assert (tmp_path / "pool" / "state.json").is_file(), "what was learned is kept"
