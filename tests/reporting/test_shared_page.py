"""What leaves the machine names no folder, no user and no machine, unless that is asked for."""

import getpass
import socket
from pathlib import Path
from typing import Any

import pytest

from outskirts.files import save_json, write_text
from outskirts.reporting import report


def test_the_page_can_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "maria77")
    monkeypatch.setattr(socket, "gethostname", lambda: "falcon7.lab.example")
    place = tmp_path / "home" / "maria77" / "Secret Study"
    run = made.fill(place / "ce", 1.0)
    write_text(run / "config.yaml", f"method: ce\ndata: folder:{place}/train\nseed: 0\nreal_ratio: 0.5\nmixing: add\n")
    environment = {"command": f"outskirts train ce --data '{place}/train' --out {tmp_path}/o", "host": "falcon7"}
    save_json(run / "environment.json", environment)
    save_json(run / "notes.json", [f"2 images of svhn could not be decoded, such as {place}/train/1.png."])
    save_json(run / "gallery" / "synthetic.json", _synthetic(f"folder:{place}/train"))
    page = report(run, tmp_path / "a.html").read_text(encoding="utf-8")
    for private in (str(tmp_path), "Secret Study", "maria77", "falcon7", str(Path.home()) + "/"):
        assert private not in page, private
    assert "…/train" in page and "such as …/train/1.png." in page
    full = report(run, tmp_path / "b.html", full_environment=True).read_text(encoding="utf-8")
    assert f"{place}/train/1.png" in full and "falcon7" in full


def _synthetic(data: str) -> dict[str, Any]:
    return {"spec": "pool:/srv/pool", "count": 5, "generator": {"name": "mixup"}, "data": data, "quality": None}


def test_runs_on_other_images_are_not_averaged_where_their_folders_are_not_shown(tmp_path: Path, made: Any) -> None:
    folders = [
        made.seeded(
            tmp_path / f"s{seed}",
            seed,
            f"method: ce\ndata: folder:/srv/{place}/train\nseed: 0\nreal_ratio: 0.5\nmixing: add\n",
        )
        for seed, place in enumerate("ab")
    ]
    assert "Over seeds" not in report(folders, tmp_path).read_text(encoding="utf-8")
