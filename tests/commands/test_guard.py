"""``outskirts guard``, ``predict`` and ``monitor``: what comes in right, and what is refused in a sentence."""

import io
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

import outskirts as osk
from outskirts.guard import folder

NET = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)]
    return nn.Sequential(*layers)
"""
STATED = "size=16&mean=0.5,0.5,0.5&std=0.5,0.5,0.5"


def given(text, monkeypatch):
    """Let these bytes be the standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))


@pytest.fixture(scope="session")
def finished(guarded):
    return guarded


@pytest.fixture(scope="module")
def calibration(draw, tmp_path_factory):
    return draw(tmp_path_factory.mktemp("calibration") / "bugs", count=30, seed=9)


@pytest.fixture(scope="module")
def guard(finished, calibration, tmp_path_factory):
    """The folder of a guard; not to be changed."""
    made = osk.Guard.fit(finished, calibration=calibration, detector="energy")
    return made.save(tmp_path_factory.mktemp("guards") / "bugs")


def test_a_guard_says_what_it_promises_and_gives_verdicts(outskirts, finished, calibration, bugs, tmp_path):
    out = tmp_path / "guards" / "bugs"
    made = outskirts("guard", finished, "--calibrate", calibration, "--detector", "knn:k=3", "--out", out)
    assert made.code == 0, made.err
    assert "60 calibration images" in made.out and "cannot be promised" in made.out
    assert f"outskirts predict {out}" in made.err
    said = outskirts("predict", out, bugs / "fog" / "0.png", bugs / "fog" / "1.png")
    assert said.code == 0 and said.out.splitlines()[0] == "file,label,confidence,score,p_value,accepted,error"
    assert (len(said.out.splitlines()) == 3 and "2 accepted" in said.err) or "rejected" in said.err


def test_unread_pictures_have_their_place_and_are_all_counted(outskirts, guard, bugs, tmp_path, monkeypatch):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    files = [broken, bugs / "fog" / "0.png", broken, tmp_path / "gone.png"]
    said = outskirts("predict", guard, *files)
    assert [line.partition(",")[0] for line in said.out.splitlines()[1:]] == list(map(str, files))
    assert said.code == 0 and "3 could not be read" in said.err
    lines = "".join(f"{file}\r\n" for file in files)
    given(lines.encode(), monkeypatch)
    listed = outskirts("predict", guard, "-")
    assert (listed.code, listed.out) == (0, said.out)


def test_verdicts_of_another_guard_are_told(outskirts, guard, bugs, tmp_path):
    outskirts("predict", guard, bugs / "fog", "--out", tmp_path / "v.csv")
    assert outskirts("monitor", guard, tmp_path / "v.csv").code == 0
    rows = (tmp_path / "v.csv").read_text().replace("ant,", "wasp,").replace("bee,", "wasp,")
    (tmp_path / "v.csv").write_text(rows)
    other = outskirts("monitor", guard, tmp_path / "v.csv")
    assert other.code == 2 and "it has no class 'wasp'" in other.err


def test_ones_own_function_is_guarded_and_found_again(outskirts, bugs, calibration, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_to_guard.py").write_text(NET)
    text = f"module:nets_to_guard:make?{STATED}"
    words = ["--train", bugs / "train", "--calibrate", calibration, "--detector", "knn:k=3"]
    made = outskirts("guard", text, *words, "--out", "mine")
    assert made.code == 0, made.err
    assert outskirts("predict", "mine", bugs / "fog").code == 0
    (tmp_path / "nets_to_guard.py").unlink()
    monkeypatch.delitem(sys.modules, "nets_to_guard")
    alone = outskirts("predict", "mine", bugs / "fog")
    assert alone.code == 2 and "The module nets_to_guard cannot be imported" in alone.err


def test_paths_come_from_another_program(outskirts, guard, bugs, monkeypatch):
    given(f"{bugs / 'fog' / '0.png'}\n\n{bugs / 'fog' / '1.png'}\n".encode(), monkeypatch)
    assert len(outskirts("predict", guard, "-").out.splitlines()) == 3
    given(b"", monkeypatch)
    assert "The standard input names no picture" in outskirts("predict", guard, "-").err


def test_paths_from_another_program_are_in_any_bytes(outskirts, guard, bugs, tmp_path, monkeypatch):
    path = os.fsencode(tmp_path) + b"/gr\xfcn.png"
    shutil.copy(bugs / "fog" / "0.png", os.fsdecode(path))
    given(path + b"\n", monkeypatch)
    assert outskirts("predict", guard, "-", "--out", tmp_path / "v.csv").code == 0
    assert (
        (tmp_path / "v.csv").read_bytes().splitlines()[1].split(b",")[0].endswith((b"gr\\xfcn.png", b"gr\\udcfcn.png"))
    )


@pytest.mark.parametrize("end", ["closed", "for writing"])
def test_an_input_that_cannot_be_read(guard, end, tmp_path):
    shown = "<&-" if end == "closed" else f"0> {tmp_path}/text"
    command = f"{sys.executable} -m outskirts predict {guard} - {shown}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("outskirts: The standard input cannot be read: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_home_folder_in_a_model(refused, bugs, tmp_path):
    for model in ("~nosuchuser/net", "timm:resnet18?weights=~nosuchuser/w.pt", "onnx:~nosuchuser/net.onnx"):
        said = refused("extract", bugs / "fog", "--model", model, "--out", tmp_path / "out.npz")
        assert "~nosuchuser stands for the home folder of a user who is not known" in said


def test_an_alarm_is_an_exit_code(outskirts, guard, tmp_path):
    (tmp_path / "v.csv").write_text("label,accepted\n" + "ant,true\n" * 30)
    quiet = outskirts("monitor", guard, tmp_path / "v.csv", "--state", tmp_path / "s.json")
    assert quiet.code == 0 and "Of 30 images so far, 0 (0.0%) were rejected" in quiet.out
    (tmp_path / "w.csv").write_text("label,accepted\n" + "ant,false\n" * 30)
    alarm = outskirts("monitor", guard, tmp_path / "w.csv", "--state", tmp_path / "s.json")
    assert alarm.code == 3 and "Going on after 30 images" in alarm.err and "raised the alarm" in alarm.out
    other = outskirts("monitor", guard, tmp_path / "w.csv", "--state", tmp_path / "s.json", "--alpha", "0.02")
    assert other.code == 2 and "begun with another probability of a false alarm" in other.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--calibrate", "{train}"], "are also training images"),
        (["--calibrate", "{one}"], "takes at least 19 calibration images, and there is 1"),
        (["--calibrate", "{calibration}", "--acceptance", "1"], "acceptance must be above 0 and below 1"),
        (["--calibrate", "{calibration}", "--acceptance", "0"], "acceptance must be above 0 and below 1"),
        (["--calibrate", "{calibration}", "--confidence", "1.5"], "confidence must be above 0 and below 1"),
        (["--calibrate", "{calibration}", "--detector", "knnn"], "did you mean 'knn'"),
        (["--calibrate", "{calibration}", "--detector", "knn:k=x"], "k"),
        (
            ["--calibrate", "{calibration}", "--mean", "0.5,0.5,0.5"],
            "--mean is for a classifier that was trained elsew",
        ),
        (["--calibrate", "{calibration}", "--train", "{train}"], "knows its own images; leave out train"),
        (["--calibrate", "{empty}"], "holds no images"),
        (["--calibrate", "{calibration}", "--out", "{full}"], "is not an empty folder"),
        ([], "calibrate"),
    ],
)
def test_wrong_calibrations_are_refused(outskirts, finished, bugs, calibration, tmp_path, words, told):
    (tmp_path / "one" / "ant").mkdir(parents=True)
    shutil.copy(calibration / "ant" / "0.png", tmp_path / "one" / "ant")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    places = {"train": bugs / "train", "calibration": calibration}
    places |= {name: tmp_path / name for name in ("one", "empty", "full")}
    words = [word.format(**places) for word in words]
    words += [] if "--detector" in words else ["--detector", "energy"]
    words += [] if "--out" in words else ["--out", str(tmp_path / "made")]
    before = sorted(tmp_path.rglob("*"))
    ended = outskirts("guard", finished, *words)
    assert ended.code == 2 and told in ended.err + ended.out
    assert sorted(tmp_path.rglob("*")) == before, "nothing is half-written"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{guard}", "{empty}"], "holds no images"),
        (["{guard}", "{text}"], "No picture could be read"),
        (["{guard}", "{gone}"], "gone.jpg"),
        (["{guard}", "nothing-*.jpg"], "No file has a name like nothing-*.jpg"),
        (["{guard}"], "Name a picture"),
        (["{empty}", "{picture}"], "is not the folder of a guard"),
        (["{changed}", "{picture}"], "was changed after it was written"),
        (["{guard}", "{picture}", "--out", "{text}"], "whose name ends in"),
        (["{guard}", "{picture}", "--fdr", "0.1"], "is of a whole batch; write it to a file"),
        (["{guard}", "{picture}", "--fdr", "1", "--out", "v.csv"], "false discovery rate must be above 0 and below 1"),
        (["{guard}", "{picture}", "--top", "0"], "top is a number from 1 to 2, and not 0"),
        (["{guard}", "{picture}", "--top", f"{10**20}"], "top is a number from 1 to 2, and not 1000"),
        (["{guard}", "{picture}", "--top", "3", "--out", "v.csv"], "top is a number from 1 to 2, and not 3"),
    ],
)
def test_wrong_pictures_and_guards_are_refused(outskirts, guard, tmp_path, words, told, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (20, 30)).save(tmp_path / "picture.png")
    shutil.copytree(guard, tmp_path / "changed")
    weights = bytearray((tmp_path / "changed" / "classifier.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "changed" / "classifier.safetensors").write_bytes(weights)
    places = {name: tmp_path / name for name in ("empty", "changed")}
    places |= {"guard": guard, "text": tmp_path / "text.jpg", "gone": tmp_path / "gone.jpg"}
    places["picture"] = tmp_path / "picture.png"
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    ended = outskirts("predict", *(word.format(**places) for word in words))
    assert ended.code == 2 and told in ended.err + ended.out
    assert sorted(tmp_path.rglob("*")) == before, "nothing is half-written"


def test_pictures_of_any_size_and_channels_have_a_verdict(outskirts, guard, tmp_path):
    for mode, size in (("L", (40, 9)), ("RGB", (9, 200)), ("RGBA", (16, 16)), ("CMYK", (30, 30)), ("P", (17, 16))):
        Image.new(mode, size).save(tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}")
    said = outskirts("predict", guard, tmp_path)
    assert said.code == 0 and len(said.out.splitlines()) == 6 and "could not be read" not in said.err


def test_another_version_is_told(outskirts, guard, tmp_path, bugs, monkeypatch):
    known = folder._versions
    monkeypatch.setattr(folder, "_versions", lambda packages: {**known(packages), "torch": "99.0"})
    ended = outskirts("predict", guard, bugs / "fog" / "0.png")
    assert ended.code == 2 and "and this is 99.0" in ended.err and "--any-version" in ended.err
    assert outskirts("predict", guard, bugs / "fog" / "0.png", "--any-version").code == 0
