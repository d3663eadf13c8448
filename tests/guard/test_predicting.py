import csv
import json
import math
import os
import shutil
import struct
import sys
import zlib
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.guard import predicting
from outskirts.guard.calibration import Calibration
from outskirts.guard.fdr import discoveries
from outskirts.guard.opening import opened
from outskirts.guard.predicting import predict_to
from outskirts.guard.reading_records import Row, of_guard, verdict_rows
from outskirts.guard.records import SUFFIXES, columns, record_of
from outskirts.guard.verdicts import Verdict


@pytest.fixture(scope="module")
def many(draw, tmp_path_factory):
    """Forty pictures, of which two are none."""
    folder = draw(tmp_path_factory.mktemp("many") / "all", count=19, seed=4)
    (folder / "ant" / "00.png").write_text("no picture")
    (folder / "bee" / "7.jpg").write_bytes((folder / "bee" / "7.png").read_bytes()[:200])
    return folder


@pytest.fixture
def chunks(monkeypatch):
    monkeypatch.setattr(predicting, "_CHUNK", 8)


def read(file):
    if file.suffix == ".csv":
        with file.open(newline="") as text:
            return list(csv.DictReader(text))
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    pq = pytest.importorskip("pyarrow.parquet")
    return pq.read_table(file).to_pylist()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_image_has_a_row_in_its_place(guard, many, tmp_path, chunks, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    images, said = osk.open(many), []
    summary = predict_to(guard, images, tmp_path / f"v{suffix}", top=2, say=said.append)
    rows = read(tmp_path / f"v{suffix}")
    assert list(rows[0]) == columns(top=2) and [row["file"] for row in rows] == [images.name(i) for i in range(40)]
    unread = [row["file"] for row in rows if row["error"]]
    assert [name.rpartition("/")[2] for name in unread] == ["00.png", "7.jpg"] and len(said) == 2
    assert (summary.images, summary.unread) == (38, 2)
    expected = guard.predict(images, top=2)
    got = [row for row in rows if not row["error"]]
    for row, verdict in zip(got, expected, strict=True):
        assert row["file"] == verdict.file and row["label"] == verdict.label
        # Other batches may differ in the last bits of single precision.
        assert float(row["score"]) == pytest.approx(verdict.score, rel=2e-6)
        assert str(row["accepted"]).lower() == str(verdict.accepted).lower()
        assert (row["label_2"], float(row["confidence_2"])) == pytest.approx(verdict.top[1], abs=1e-6)
    assert summary.rejected == sum(str(row["accepted"]).lower() == "false" for row in got)
    found = list(verdict_rows(tmp_path / f"v{suffix}"))
    assert [row[:2] for row in found] == [(one.label, one.accepted) for one in expected]
    classes = guard.classifier.classes
    assert list(of_guard(found, guard.calibration, classes, tmp_path)) == found
    other = Calibration.of(guard.calibration.scores[0] + 0.01, 0.9)
    with pytest.raises(OutskirtsError, match="has the verdicts of another guard than this one: it gives the score"):
        list(of_guard(found, other, classes, tmp_path))
    with pytest.raises(OutskirtsError, match="it has no class 'ant'; its classes are wasp, bee"):
        list(of_guard(found, guard.calibration, ["wasp", "bee"], tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"v{suffix}"]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [1, 8, 9, 24, 40])
@pytest.mark.parametrize("torn", [0, 5])
def test_a_call_that_was_stopped_goes_on_with_the_same_bits(guard, many, tmp_path, chunks, monkeypatch, after, torn):
    images = osk.open(many)
    predict_to(guard, images, tmp_path / "whole.csv", top=2)

    def stopping(what, done, total):
        if done >= after:
            raise Stopped

    with pytest.raises(Stopped):
        predict_to(guard, osk.open(many), tmp_path / "v.csv", top=2, progress=stopping)
    part = tmp_path / "v.csv.part"
    assert part.exists() and not (tmp_path / "v.csv").exists()
    if torn:  # The system wrote half a line.
        part.write_bytes(part.read_bytes()[:-torn])
    said = []
    predict_to(guard, osk.open(many), tmp_path / "v.csv", top=2, say=said.append)
    assert (tmp_path / "v.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert any("Going on after" in one for one in said) and not part.exists()


def test_what_was_begun_with_others_is_told(guard, many, tmp_path, chunks):
    def stopping(what, done, total):
        raise Stopped

    with pytest.raises(Stopped):
        predict_to(guard, osk.open(many), tmp_path / "v.csv", progress=stopping)
    with pytest.raises(OutskirtsError, match=r"v\.csv\.part was begun with another guard, other images or other"):
        predict_to(guard, osk.open(many), tmp_path / "v.csv", top=2)
    with pytest.raises(OutskirtsError, match=r"v\.csv\.part was begun with another guard"):
        predict_to(guard, osk.open(many).subset(range(30)), tmp_path / "v.csv")
    changed = osk.open(many)
    (many / "ant" / "2.png").touch()
    with pytest.raises(OutskirtsError, match=r"v\.csv\.part was begun with another guard"):
        predict_to(guard, changed, tmp_path / "v.csv")
    (tmp_path / "v.csv").write_text("mine")
    with pytest.raises(OutskirtsError, match=r"v\.csv is there already"):
        predict_to(guard, osk.open(many), tmp_path / "v.csv")
    with pytest.raises(OutskirtsError, match=r"whose name ends in \.csv, \.jsonl, \.parquet"):
        predict_to(guard, osk.open(many), tmp_path / "v.txt")


def test_two_calls_do_not_write_to_one_file(guard, many, tmp_path, held):
    with (
        held(tmp_path / ".v.csv.part.lock"),
        pytest.raises(OutskirtsError, match="is being written by process"),
    ):
        predict_to(guard, osk.open(many), tmp_path / "v.csv")


def test_a_false_discovery_rate_declares_images_of_the_whole_batch(guard, many, tmp_path, chunks):
    said = []
    summary = predict_to(guard, osk.open(many), tmp_path / "v.jsonl", fdr=0.5, say=said.append)
    rows = [row for row in read(tmp_path / "v.jsonl") if not row["error"]]
    values = torch.tensor([row["p_value"] for row in rows], dtype=torch.float64)
    assert [row["declared_ood"] for row in rows] == discoveries(values, 0.5).tolist()
    assert summary.declared == sum(row["declared_ood"] for row in rows) and "declared" in str(summary)
    assert predict_to(guard, osk.open(many), tmp_path / "w.jsonl", fdr=0.01, say=said.append).declared is not None
    assert "To declare a single one takes 3,999 calibration images." in said[-3]


def test_one_file_twice_has_two_rows(guard, many, tmp_path):
    file = str(many / "ant" / "1.png")
    predict_to(guard, opened([file, file]), tmp_path / "v.csv")
    assert [row["file"] for row in read(tmp_path / "v.csv")] == [file, file]


def test_a_score_that_is_no_number_has_no_cell():
    row = record_of(Verdict("a", "cat", 1.0, math.inf, 0.1, False))
    assert row["score"] is None and row["error"] == "the score is inf" and row["accepted"] is False


def test_formulas_in_names_are_quoted_in_csv_and_read_again(guard, tmp_path, bugs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(bugs / "fog" / "0.png", tmp_path / "=1+2.png")
    predict_to(guard, opened(["=1+2.png"]), tmp_path / "v.csv")
    assert read(tmp_path / "v.csv")[0]["file"] == "'=1+2.png"


def test_wrong_files_of_verdicts_are_told(tmp_path):
    for name, content, told in (
        ("v.txt", "", "is none of the files that verdicts are written to"),
        ("v.csv", "file,label\na,b\n", "it has no column 'accepted'"),
        ("v.csv", "file,accepted\na,\n", "row 1 does not say whether the image was accepted"),
        ("v.csv", "accepted\nperhaps\n", "row 1 does not say whether the image was accepted"),
        ("v.jsonl", "{no json\n", "is damaged"),
        ("v.jsonl", "[1, 2]\n", "is damaged"),
        ("v.jsonl", '{"accepted": [1]}', "row 1 does not say"),
        ("v.jsonl", '{"accepted": true, "label": ["ant"]}', "has a label that is no text"),
        ("v.jsonl", '{"accepted": true, "score": [], "p_value": 1}', "has a score that is no number"),
        ("v.jsonl", "[" * 100_000, "is damaged"),
        ("v.csv", "", "it is empty"),
        ("v.csv", "nan\n", "it has no column 'accepted'"),
        ("v.csv", "label,accepted\nant,true,7\n", "line 2 has more cells than there are columns"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(OutskirtsError, match=told):
            list(verdict_rows(tmp_path / name))
    with pytest.raises(OutskirtsError, match="missing"):
        list(verdict_rows(tmp_path / "none.csv"))
    (tmp_path / "v.jsonl").write_text('{"accepted": true, "label": null}\n\n')
    assert list(verdict_rows(tmp_path / "v.jsonl")) == [Row(None, True)]


def test_names_in_no_encoding_and_wide_pictures_have_rows(guard, bugs, tmp_path):
    if sys.platform != "linux":
        pytest.skip("other systems have no such names")
    odd = tmp_path / "in" / os.fsdecode(b"bad\xff.png")
    odd.parent.mkdir()
    shutil.copy(bugs / "fog" / "0.png", odd)
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(odd.with_name("deep.png"))
    for suffix in (".csv", ".jsonl", *([".parquet"] if find_spec("pyarrow") else [])):
        summary = predict_to(guard, osk.open(odd.parent), tmp_path / f"v{suffix}")
        assert (summary.images, summary.unread) == (1, 1)
        rows = read(tmp_path / f"v{suffix}")
        assert rows[0]["file"].endswith("bad\\udcff.png") and "no range is known" in rows[1]["error"]


@pytest.mark.parametrize("content", [b"garbage\n", b"\xff\xfe\n", b'{"file": 1}\n', b"[" * 100_000 + b"\n"])
def test_a_damaged_beginning_is_told(guard, bugs, tmp_path, content):
    (tmp_path / "v.csv.part").write_bytes(content)
    with pytest.raises(OutskirtsError, match=r"v\.csv\.part (is damaged|was begun with another)"):
        predict_to(guard, osk.open(bugs / "fog"), tmp_path / "v.csv")


def test_damaged_rows_are_told(guard, bugs, tmp_path):
    images = osk.open(bugs / "fog")
    header = json.dumps(predicting.header_of(guard, images, 1)) + "\n"
    (tmp_path / "v.csv.part").write_text(header + "junk\n" * 12)
    with pytest.raises(OutskirtsError, match=r"is damaged\. Remove it"):
        predict_to(guard, images, tmp_path / "v.csv")


def test_two_calls_at_once_do_not_write_over_each_other(guard, bugs, tmp_path, monkeypatch):
    """The first ends while the second looks at its images."""
    images, header = osk.open(bugs / "fog"), predicting.header_of
    monkeypatch.setattr(
        predicting, "header_of", lambda *given: ((tmp_path / "v.csv").write_text("first"), header(*given))[1]
    )
    with pytest.raises(OutskirtsError, match="is there already"):
        predict_to(guard, images, tmp_path / "v.csv")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("v.csv", "first")]


def test_a_probability_that_is_no_number_has_no_cell():
    row = record_of(Verdict("a", "cat", math.nan, 0.5, 0.1, False, (("cat", math.nan), ("dog", math.nan))))
    assert row["confidence"] is None and row["confidence_2"] is None


def test_memory_is_that_of_a_chunk(guard, tmp_path, chunks, monkeypatch):
    """Rows are written as they come, and never all at once."""
    most, rows = 0, predicting.rows_of

    def counted(*arguments):
        nonlocal most
        made = rows(*arguments)
        most = max(most, len(made))
        return made

    monkeypatch.setattr(predicting, "rows_of", counted)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 16, 16, 3), np.uint8)
    predict_to(guard, osk.ImageSet(pixels, spec="noise"), tmp_path / "v.jsonl")
    assert most == 8 and len(read(tmp_path / "v.jsonl")) == 100


def test_bombs_and_small_pictures_are_rows(guard, tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "small.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    # Its header says that it has 12,000 pixels on each side.
    content[16:24] = struct.pack(">II", 12_000, 12_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "bomb.png").write_bytes(content)
    Image.new("RGB", (8, 8)).save(tmp_path / "well.png")
    corrupt = guard.predict(tmp_path).corrupt
    assert "is 2x2 pixels" in corrupt[str(tmp_path / "small.png")]
    assert "at most 134,217,728 are read" in corrupt[str(tmp_path / "bomb.png")]
