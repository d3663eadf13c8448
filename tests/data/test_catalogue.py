import io
import zipfile
from dataclasses import replace

import pytest

import outskirts as osk
from outskirts.data import catalogue as module
from outskirts.data.catalogue import Entry, entries, fetch_entry, verify_fetched
from outskirts.data.download import Remote
from outskirts.errors import OutskirtsError
from outskirts.files import load_json, save_json


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """A set of two pictures in an archive, which arrives without a net."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("cats/1.png", "one")
        archive.writestr("cats/2.png", "two")
    asked = []

    def download(remote, folder, progress):
        asked.append(remote.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / remote.name).write_bytes(packed.getvalue())
        return folder / remote.name

    monkeypatch.setattr(module, "download", download)
    made = Entry("cats", "Cats", "https://example.org", "any", (Remote("cats.zip", ["https://example.org/cats.zip"]),))
    return made, asked


def test_a_set_arrives_once_and_is_whole(entry, tmp_path):
    cats, asked = entry
    folder = fetch_entry(cats, tmp_path)
    assert folder == tmp_path / "cats" and fetch_entry(cats, tmp_path) == folder and asked == ["cats.zip"]
    assert (folder / "cats" / "1.png").read_text() == "one" and verify_fetched(folder) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["cats"]


def test_what_is_not_whole_is_told(entry, tmp_path):
    folder = fetch_entry(entry[0], tmp_path)
    (folder / "cats" / "1.png").unlink()
    (folder / "cats" / "2.png").write_text("too")
    (folder / "3.png").touch()
    with pytest.raises(
        OutskirtsError, match=r"1.png is missing; 3.png is not part of the set; cats/2.png has changed. Remove it"
    ):
        verify_fetched(folder)
    with pytest.raises(OutskirtsError, match=r"There is no folder .*/none; 'outskirts data fetch' makes one"):
        verify_fetched(tmp_path / "none")
    with pytest.raises(OutskirtsError, match="was not made by"):
        verify_fetched(tmp_path)


def test_several_files(entry, tmp_path):
    cats, _ = entry
    folder = fetch_entry(replace(cats, files=(*cats.files, Remote("list.txt", []))), tmp_path)
    assert (folder / "cats" / "cats" / "1.png").is_file() and (folder / "list.txt").is_file()


def test_what_must_be_asked_for(tmp_path):
    with pytest.raises(OutskirtsError, match=r"'imagenet' has no direct link\. Ask for access"):
        fetch_entry(entries()["imagenet"], tmp_path)


def test_sets_of_one_layout_lie_together(entry, tmp_path):
    cats, _ = entry
    folder = fetch_entry(replace(cats, folder="lists/pets/cats"), tmp_path)
    # The archive holds the folder itself, which is not doubled.
    assert (
        folder == tmp_path / "lists" / "pets" / "cats" and (folder / "1.png").is_file() and verify_fetched(folder) == 2
    )
    assert [path.name for path in tmp_path.iterdir()] == ["lists"]


def test_every_entry_is_complete():
    for name, each in entries().items():
        assert (
            each.description
            and each.licence
            and each.homepage.startswith("http")
            and bool(each.files) != bool(each.form)
        )
        for remote in each.files:
            assert remote.urls and all(url.startswith("http") for url in remote.urls) and "?" not in remote.name, name


def test_the_commands(outskirts, entry, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    said = outskirts("data", "fetch", "list").out
    assert "tinyimagenet: " in said and "svhn: SVHN, downloaded by torchvision. https://" in said
    assert {"tinyimagenet", "svhn"} <= set(osk.catalogue()) and "svhn" not in entries()
    done = outskirts("data", "fetch", "tinyimagent")
    assert done.code == 2 and "did you mean 'tinyimagenet'" in done.err
    done = outskirts("data", "fetch", "isun")
    assert done.code == 0 and "open it as isun" in done.err and (tmp_path / "isun").is_dir()
    done = outskirts("data", "verify", "isun")
    assert done.code == 0 and " is whole: " in done.out


def test_all_sets_of_a_benchmark(outskirts, entry, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    done = outskirts("data", "fetch", "imagenet200")
    assert (
        done.code == 2 and "'imagenet' has no direct link" in done.err and "1 of the sets of 'imagenet200'" in done.err
    )
    assert (tmp_path / "openood" / "images_largescale" / "ssb_hard").is_dir()
    done = outskirts("data", "verify", "openood-ssb-hard")
    assert done.code == 0 and " is whole: " in done.out
    assert outskirts("data", "fetch", "waterbirds").code == 0
    assert outskirts("data", "fetch", "cifar10-quick").code == 0 and (tmp_path / "dtd47").is_dir()


def test_what_has_no_published_hash_is_told_and_keeps_its_etag(entry, tmp_path, monkeypatch):
    cats, _ = entry
    fetched = module.download

    def download(remote, folder, progress):
        path = fetched(remote, folder, progress)
        save_json(folder / f"{remote.name}.origin.json", {"url": "https://example.org/cats.zip", "etag": '"7"'})
        return path

    monkeypatch.setattr(module, "download", download)
    told = []
    folder = fetch_entry(cats, tmp_path, say=told.append)
    assert len(told) == 1 and told[0].startswith("No hash of cats.zip is published")
    assert load_json(folder / "outskirts.json")["etags"] == {"cats.zip": '"7"'} and verify_fetched(folder) == 2
    hashed = replace(cats, name="dogs", files=(replace(cats.files[0], md5="0" * 32),))
    fetch_entry(hashed, tmp_path, say=told.append)
    assert len(told) == 1
