"""The folder of a guard: what is written, and what is said of another one."""

import json
import shutil

import pytest

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.guard.folder import _digest

FILES = ("guard.json", *(f"{name}.safetensors" for name in ("classifier", "detector", "calibration", "seen")))


def test_a_loaded_guard_says_the_same_bit_for_bit(guard, kept, bugs, same):
    again = osk.Guard.load(kept)
    assert same(guard.predict(bugs / "fog"), again.predict(bugs / "fog"))
    assert not again.classifier.training and again.fingerprint == guard.fingerprint
    assert {path.name for path in kept.iterdir()} == {*FILES, "README.md", "scores.png"}


def test_it_is_written_without_paths_and_without_pickles(guard, kept, bugs, finished):
    for file in kept.iterdir():
        content = file.read_bytes()
        assert str(bugs).encode() not in content and str(finished).encode() not in content
    about = json.loads((kept / "guard.json").read_text())
    assert about["calibration"]["groups"][0]["n"] == 80 and about["data"]["calibration"]["images"] == 80
    assert about["data"]["training"]["fingerprint"] and about["measured"]["accuracy"] > 0.5
    assert "library_name: outskirts" in (kept / "README.md").read_text()


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_told(kept, tmp_path, name):
    folder = tmp_path / "guard"
    shutil.copytree(kept, folder)
    content = bytearray((folder / name).read_bytes())
    place = content.rindex(b"0.9") if name == "guard.json" else len(content) - 1
    content[place] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(OutskirtsError, match=f"{name} (was changed after it was written|is damaged)"):
        osk.Guard.load(folder)


def test_a_missing_file_is_told(kept, tmp_path):
    folder = tmp_path / "guard"
    shutil.copytree(kept, folder)
    (folder / "detector.safetensors").unlink()
    with pytest.raises(OutskirtsError, match=r"detector\.safetensors is missing"):
        osk.Guard.load(folder)
    with pytest.raises(OutskirtsError, match=r"is not the folder of a guard: it has no guard\.json"):
        osk.Guard.load(tmp_path)


def rewritten(kept, folder, **changes):
    """A guard whose description says something else, as another version would have written it."""
    shutil.copytree(kept, folder)
    about = {**json.loads((folder / "guard.json").read_text()), **changes}
    about.pop("digest")
    (folder / "guard.json").write_text(json.dumps({**about, "digest": _digest(about)}))
    return folder


def test_other_versions_are_told_and_compared(guard, kept, bugs, tmp_path, same):
    packages = {**json.loads((kept / "guard.json").read_text())["packages"], "torch": "1.0"}
    folder = rewritten(kept, tmp_path / "older", packages=packages)
    with pytest.raises(OutskirtsError, match=r"was saved with torch 1\.0, and this is .* strict=False"):
        osk.Guard.load(folder)
    said = []
    again = osk.Guard.load(folder, strict=False, say=said.append)
    assert "its network gives the same features here" in said[0]
    assert same(guard.predict(bugs / "fog"), again.predict(bugs / "fog"))
    wrong = rewritten(kept, tmp_path / "wrong", packages=packages, check=17.0)
    with pytest.raises(OutskirtsError, match="its network gives other features here"):
        osk.Guard.load(wrong, strict=False)
    with pytest.raises(OutskirtsError, match="was written in format 99 of guards"):
        osk.Guard.load(rewritten(kept, tmp_path / "newer", format=99))


def test_a_guard_of_parts_is_kept(guard, bugs, tmp_path, same):
    """Of one that was put together by hand, no images are known."""
    parts = osk.Guard(guard.classifier, guard.detector, guard.calibration)
    again = osk.Guard.load(parts.save(tmp_path / "g"))
    assert again.seen == {} and same(again.predict(bugs / "fog"), guard.predict(bugs / "fog"))


def test_a_threshold_for_each_class(finished, calibration, tmp_path, bugs, same):
    guard = osk.Guard.fit(finished, calibration=calibration, detector="energy", acceptance=0.9, per_class=True)
    assert guard.calibration.group_of is not None and len(guard.calibration.promises) in (1, 2)
    again = osk.Guard.load(guard.save(tmp_path / "g"))
    assert same(guard.predict(bugs / "fog"), again.predict(bugs / "fog"))


def test_nothing_is_written_over(guard, kept):
    with pytest.raises(OutskirtsError, match="exists and is not an empty folder"):
        guard.save(kept)
