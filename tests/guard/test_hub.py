"""Guards in repositories of the Hub, of which a local folder plays the part."""

import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder of repositories."""
    root = tmp_path / "server"

    class Api:
        def __init__(self, library_name):
            assert library_name == "outskirts"

        def create_repo(self, repo, private, exist_ok):
            (root / repo).mkdir(parents=True, exist_ok=exist_ok)
            (root / repo / ".private").write_text(str(private))
            return f"https://hub.example/{repo}"

        def upload_folder(self, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)

    def snapshot_download(repo, revision, allow_patterns):
        if not (root / repo).is_dir():
            raise ConnectionError("404: no such repository")
        place = tmp_path / "cache" / repo / (revision or "main")
        place.mkdir(parents=True)
        for file in (root / repo).iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, place)
        return str(place)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return root


def test_a_guard_comes_back_as_it_was(guard, server, bugs, tmp_path):
    assert guard.push_to_hub("me/bugs") == "https://hub.example/me/bugs"
    assert (server / "me" / "bugs" / ".private").read_text() == "True"
    assert {"guard.json", "README.md"} <= {path.name for path in (server / "me" / "bugs").iterdir()}
    (server / "me" / "bugs" / "evil.py").write_text("raise SystemExit")
    again = osk.Guard.from_pretrained("me/bugs", revision="v1")
    assert again.fingerprint == guard.fingerprint
    assert torch.equal(again.predict(bugs / "fog").scores, guard.predict(bugs / "fog").scores)
    assert not list(Path(tmp_path / "cache").rglob("*.py"))


def test_a_folder_needs_no_hub(kept, guard, monkeypatch):
    monkeypatch.setattr(hub, "snapshot_download", None)
    assert osk.Guard.from_pretrained(kept).fingerprint == guard.fingerprint
    assert osk.Guard.from_pretrained(str(kept)).fingerprint == guard.fingerprint


def test_what_the_hub_says_is_a_sentence(server):
    told = "There is no folder 'me/none', and no repository of this name can be read from the Hub .404: no such"
    with pytest.raises(OutskirtsError, match=told):
        osk.Guard.from_pretrained("me/none")
