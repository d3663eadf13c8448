import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from outskirts.data import archive as module
from outskirts.data.archive import unpack
from outskirts.errors import OutskirtsError


def test_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("cats/1.png", "cat")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
        entry = tarfile.TarInfo("cats/1.png")
        entry.size = 3
        packed.addfile(entry, io.BytesIO(b"cat"))
    for name in ("a.zip", "a.tar.gz"):
        unpack(tmp_path / name, tmp_path / name.replace(".", "-"))
        assert (tmp_path / name.replace(".", "-") / "cats" / "1.png").read_text() == "cat"
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:60])
    with pytest.raises(OutskirtsError, match="damaged, or is not an archive"):
        unpack(tmp_path / "b.tar", tmp_path / "b")
    with tarfile.open(tmp_path / "c.tar", "w") as packed:
        packed.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(OutskirtsError):
        unpack(tmp_path / "c.tar", tmp_path / "c")
    assert not (tmp_path / "outside").exists() and not (tmp_path / "b").exists() and not (tmp_path / "c").exists()


def zipped(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def tarred(path, mode="w", **members):
    with tarfile.open(path, mode) as packed:
        for name, content in members.items():
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if entry is content else content
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(module, "_ALWAYS", 10_000)
    files = {"a": bytes(9_000), "b": bytes(9_000)}
    bomb = tmp_path / f"bomb.{kind}"
    zipped(bomb, **files) if kind == "zip" else tarred(bomb, "w:gz", **files)
    with pytest.raises(OutskirtsError, match="unpacks to more than the 10,000 bytes"):
        unpack(bomb, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [bomb]
    with pytest.raises(OutskirtsError, match="unpacks to more than the 17,999 bytes"):
        unpack(bomb, tmp_path / "out", 17_999)
    unpack(bomb, tmp_path / "out", 18_000)
    assert (tmp_path / "out" / "b").stat().st_size == 9_000


def test_a_large_archive_may_unpack_to_a_multiple_of_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ALWAYS", 0)
    content = bytes(range(256)) * 40
    unpack(tarred(tmp_path / "a.tar", a=content), tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == content


def test_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_FILES", 3)
    unpack(zipped(tmp_path / "a.zip", a=b"", b=b"", c=b""), tmp_path / "three")
    with pytest.raises(OutskirtsError, match="more than 3 files"):
        unpack(zipped(tmp_path / "b.zip", a=b"", b=b"", c=b"", d=b""), tmp_path / "four")


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/../outside"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_nothing_lands_outside(tmp_path, name, kind):
    made = (zipped if kind == "zip" else tarred)(tmp_path / f"a.{kind}", **{name: b"x"})
    with pytest.raises(OutskirtsError, match="outside of its folder"):
        unpack(made, tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize(("kind", "name"), [("zip", "."), ("tar", ""), ("tar", "."), ("tar", "/")])
def test_a_file_without_a_name_is_told(tmp_path, kind, name):
    made = (zipped if kind == "zip" else tarred)(tmp_path / f"a.{kind}", **{"b": b"x", name: b"x"})
    with pytest.raises(OutskirtsError, match="holds a file without a name"):
        unpack(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_was_lost_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(info := zipfile.ZipInfo("x"), b"x")
        info.filename = ""
    with pytest.raises(OutskirtsError, match="holds a file without a name"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_absolute_paths_land_within(tmp_path):
    unpack(zipped(tmp_path / "a.zip", **{"/etc/x": b"x"}), tmp_path / "out")
    assert (tmp_path / "out" / "etc" / "x").read_bytes() == b"x"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    entry = tarfile.TarInfo("link")
    entry.type, entry.linkname = kind, "a"
    with pytest.raises(OutskirtsError, match=r"holds a link or a device \(link\)"):
        unpack(tarred(tmp_path / "a.tar", a=b"x", link=entry), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_in_zip_files_are_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(OutskirtsError, match="holds a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_encrypted_archives_are_told(tmp_path):
    path = zipped(tmp_path / "a.zip", a=b"x")
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(OutskirtsError, match="is encrypted; unpack it by hand"):
        unpack(path, tmp_path / "out")


def test_xz(tmp_path):
    unpack(tarred(tmp_path / "a.tar.xz", "w:xz", a=b"x"), tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == b"x"
    (tmp_path / "b.xz").write_bytes(lzma.compress(b"no archive"))
    with pytest.raises(OutskirtsError, match="is not an archive that is known here"):
        unpack(tmp_path / "b.xz", tmp_path / "b")


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:xz", "w:bz2", "zip"])
def test_damaged_archives_are_told(tmp_path, kind):
    content = bytes(i * i % 251 for i in range(60_000))
    path = tmp_path / "a"
    zipped(path, a=content) if kind == "zip" else tarred(path, kind, a=content)
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2 : len(whole) // 2 + 40] = b"\xff" * 40
    for damaged in (whole[: len(whole) // 2], bytes(changed)):
        path.write_bytes(damaged)
        if kind == "w" and len(damaged) == len(whole):
            continue  # A tar file has no checksum of its content.
        with pytest.raises(OutskirtsError, match="damaged, or is not an archive"):
            unpack(path, tmp_path / "out")
        assert list(tmp_path.iterdir()) == [path]


def test_unpacked_files_have_the_usual_mode(tmp_path):
    entry = tarfile.TarInfo("a")
    entry.mode = 0o7777
    (tmp_path / "usual").touch()
    unpack(tarred(tmp_path / "a.tar", a=entry), tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("kind", ["tar", "gztar"])
@pytest.mark.parametrize("damage", ["header", "cut"])
def test_a_tar_file_that_ends_too_early(tmp_path, kind, damage):
    for name in "abc":
        (tmp_path / "files" / name).mkdir(parents=True)
        (tmp_path / "files" / name / "x").write_text(name)
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), "tar", tmp_path / "files")).read_bytes()
    place = whole.rindex(b"./c/x\0")
    wrong = whole[:place] + (b"?" + whole[place + 1 :] if damage == "header" else b"")
    archive = tmp_path / "wrong"
    archive.write_bytes(gzip.compress(wrong) if kind == "gztar" else wrong)
    with pytest.raises(OutskirtsError, match="wrong is damaged, or is not an archive"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
