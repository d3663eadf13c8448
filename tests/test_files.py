import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from outskirts.errors import OutskirtsError
from outskirts.files import (
    atomic,
    digest,
    file_digest,
    is_file,
    load_json,
    load_tensors,
    require_empty,
    require_path_part,
    reserve,
    save_json,
    save_tensors,
    whole_folder,
    write_text,
)
from outskirts.paths import home_expanded


def test_atomic_files_are_whole_or_absent(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "first é")
    assert path.read_text(encoding="utf-8") == "first é"
    with pytest.raises(KeyError), atomic(path) as temporary:
        assert temporary.parent.parent == path.parent, "on the same disk"
        temporary.write_text("half")
        raise KeyError
    assert path.read_text(encoding="utf-8") == "first é"
    assert list(path.parent.iterdir()) == [path], "nothing is left behind"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), SafetensorError("I/O error: No space left on device (os error 28)")]
)
def test_a_full_disk_is_told(tmp_path, error):
    with (
        pytest.raises(OutskirtsError, match=r"disk is full: .*file\.txt was not written"),
        atomic(tmp_path / "file.txt"),
    ):
        raise error
    assert not list(tmp_path.iterdir())


def test_other_failures_to_write_are_told_and_other_errors_pass(tmp_path):
    for error in (OSError(errno.EACCES, "denied"), SafetensorError("denied")):
        told = pytest.raises(OutskirtsError, match=r"file\.txt cannot be written \(.*denied")
        with told, atomic(tmp_path / "file.txt"):
            raise error
    with pytest.raises(KeyError), atomic(tmp_path / "file.txt"):
        raise KeyError


def test_json(tmp_path):
    value = {"a": [1, 2.5, None], "é": "ü"}
    save_json(tmp_path / "x.json", value)
    assert load_json(tmp_path / "x.json") == value
    with pytest.raises(OutskirtsError, match=r"absent\.json is missing"):
        load_json(tmp_path / "absent.json")
    for content in (b'{"a": ', b"\xff\xfe"):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(OutskirtsError, match=r"bad\.json is damaged: it is not valid JSON"):
            load_json(tmp_path / "bad.json")


def test_tensors_and_metadata(tmp_path):
    tensors = {
        "slice": torch.arange(12).view(3, 4)[:, ::2],
        "channels last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "half": torch.randn(3, dtype=torch.bfloat16),
        "none": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2)),
    }
    metadata = {"format": 1, "classes": ["a", "b"], "name": "x"}
    save_tensors(tmp_path / "x.safetensors", tensors, metadata)
    loaded, read = load_tensors(tmp_path / "x.safetensors")
    assert read == metadata and loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensors[key]) and loaded[key].dtype == tensors[key].dtype for key in tensors)


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    x = torch.randn(4)
    save_tensors(tmp_path / "x.safetensors", {"a": x, "b": x, "c": x.view(2, 2)})
    loaded, _ = load_tensors(tmp_path / "x.safetensors")
    assert all(torch.equal(loaded[key].flatten(), x) for key in "abc")


def test_damaged_and_foreign_tensor_files_are_told(tmp_path):
    with pytest.raises(OutskirtsError, match="is missing"):
        load_tensors(tmp_path / "absent.safetensors")
    save_tensors(tmp_path / "x.safetensors", {"a": torch.randn(100)})
    whole = (tmp_path / "x.safetensors").read_bytes()
    for damaged in (whole[:-10], whole[:5], b"", b"something else entirely"):
        (tmp_path / "x.safetensors").write_bytes(damaged)
        with pytest.raises(OutskirtsError, match="is damaged or not a safetensors file"):
            load_tensors(tmp_path / "x.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors", {"format": "pt"})
    with pytest.raises(OutskirtsError, match="foreign"):
        load_tensors(tmp_path / "foreign.safetensors")


def test_digests_tell_apart_what_differs():
    x = torch.arange(6.0)
    parts = [
        (x,),
        (x.view(2, 3),),
        (x.double(),),
        (x.flip(0),),
        (x[:3], x[3:]),
        ("ab",),
        ("a", "b"),
        ("ba",),
        ("",),
        (),
        ("", ""),
        (torch.tensor(1.0),),
        (torch.tensor([1.0]),),
        (torch.zeros(0),),
        (torch.zeros(0, 2),),
    ]
    digests = [digest(*part) for part in parts]
    assert len(set(digests)) == len(digests) and all(len(d) == 32 for d in digests)


def test_digests_depend_on_content_only():
    x = torch.randn(2, 3, 4, 5)
    assert digest(x) == digest(x.contiguous(memory_format=torch.channels_last)) == digest(x.clone().requires_grad_())
    assert digest("é") == digest("é") and digest(torch.tensor([True])) != digest(torch.tensor([False]))
    # Caches on disk are named by digests, so these never change.
    content = b"1\0a" + b"torch.int64(2,)\0" + (1).to_bytes(8, "little") + (0).to_bytes(8, "little")
    assert digest("a", torch.tensor([1, 0])) == hashlib.blake2b(content, digest_size=16).hexdigest()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../evil", "-x", "a/b", "/etc", "a\\b", ".hidden", "a\0b", "a\nb", "x" * 151, "é" * 80]
)
def test_a_name_is_a_single_part_of_a_path(name):
    with pytest.raises(OutskirtsError, match="A benchmark cannot be called"):
        require_path_part("A benchmark", name)


@pytest.mark.parametrize("name", ["photos", "photos 64", "ce+sio-s0", "a..b", "Füchse", 7])
def test_other_names_are_fine(name):
    assert require_path_part("A benchmark", name) == str(name)


@pytest.mark.parametrize("there", [True, False])
def test_space_is_taken_before_it_is_used(tmp_path, monkeypatch, there):
    if not there:
        monkeypatch.delattr("os.posix_fallocate", raising=False)
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"head")
        file.flush()
        reserve(file, 4, 100_000)
    assert (tmp_path / "file").read_bytes() == b"head" + bytes(99_996)
    assert (tmp_path / "file").stat().st_blocks * 512 >= 100_000


def test_a_folder_is_whole_or_absent(tmp_path):
    with pytest.raises(KeyError), whole_folder(tmp_path / "set") as folder:
        (folder / "half").touch()
        raise KeyError
    assert not list(tmp_path.iterdir())
    with whole_folder(tmp_path / "set") as folder:
        (folder / "one").touch()
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["one"]
    with pytest.raises(OutskirtsError, match="set exists and is not an empty folder"):
        require_empty(tmp_path / "set")


@pytest.mark.parametrize("text", ["plain", 'quoted "ä" \\ 漢字 \x07\n'])
def test_equal_tensors_give_equal_bytes(tmp_path, text):
    tensors = {"a": torch.arange(7.0), "b": torch.ones(2, 3, dtype=torch.int64)}
    metadata = {f"key {i} {text}": [text, i] for i in range(20)}
    for i in range(5):
        save_tensors(tmp_path / f"{i}.safetensors", tensors, dict(reversed(metadata.items())) if i % 2 else metadata)
    assert len({(tmp_path / f"{i}.safetensors").read_bytes() for i in range(5)}) == 1
    loaded, about = load_tensors(tmp_path / "0.safetensors")
    assert about == metadata and all(torch.equal(loaded[name], tensors[name]) for name in tensors)


@pytest.fixture(params=[0o022, 0o027, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_have_the_mode_of_the_umask(tmp_path, umask):
    save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(2)})
    save_json(tmp_path / "x.json", {})
    for _ in range(2):
        with atomic(tmp_path / "private") as temporary:
            temporary.unlink(missing_ok=True)
            os.close(os.open(temporary, os.O_CREAT, 0o600))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("x.safetensors", "x.json", "private"), 0o666 & ~umask)


@pytest.mark.parametrize("read", [load_json, load_tensors, file_digest])
def test_a_file_that_may_not_be_read_is_not_called_missing(tmp_path, forbidden, read):
    path = tmp_path / "x"
    save_tensors(path, {"a": torch.zeros(1)})
    forbidden(path)
    with pytest.raises(OutskirtsError, match="x is not readable: permission denied") as told:
        read(path)
    assert "missing" not in str(told.value) and "damaged" not in str(told.value)


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path):
    with pytest.raises(OutskirtsError, match="is a folder, not a file"):
        load_json(tmp_path)
    assert not is_file(tmp_path) and not is_file(tmp_path / "absent" / "x") and not is_file(Path("a\0b"))


def test_a_file_in_a_folder_that_may_not_be_entered_is_not_called_missing(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(OutskirtsError, match="x is not readable: permission denied"):
        is_file(tmp_path / "x")


def test_a_home_folder_of_nobody_is_told():
    with pytest.raises(OutskirtsError, match="~nosuchuser stands for the home folder of a user who is not known"):
        home_expanded("~nosuchuser/photos")
    assert home_expanded("~/photos") == Path.home() / "photos"
