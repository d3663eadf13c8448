"""``outskirts predict --engine ray``: what cannot be done so is refused in a sentence, before anything is written."""

import sys

import pytest


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{fog}", "--engine", "ray"], "--engine ray writes Parquet files to a folder; name a new one (--out FOLDER)"),
        (["{fog}", "--engine", "ray", "--out", "v.parquet"], "--engine ray writes Parquet files to a folder"),
        (["{fog}", "--engine", "ray", "--out", "v", "--fdr", "0.1"], "leave out --fdr, or --engine ray"),
        (["{fog}", "--engine", "ray", "--out", "v", "--html", "v.html"], "makes no page; leave out --html"),
        (["{fog}", "--engine", "ray", "--out", "v", "--train", "{fog}"], "makes no page; leave out --html"),
        (["-", "--engine", "ray", "--out", "v"], "do not see this standard input; name a folder"),
        (["--engine", "ray", "--out", "v"], "Name a picture"),
        (["{fog}", "--workers", "2"], "add --engine ray, or leave out --workers"),
        (["{fog}", "--out", "s3://bucket/v.csv"], "is a URL, which --engine ray alone writes to"),
    ],
)
def test_what_does_not_go_together_is_refused(outskirts, kept, bugs, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    ended = outskirts("predict", kept, *(word.format(fog=bugs / "fog") for word in words))
    assert ended.code == 2 and told in ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:`use_.*deprecated:DeprecationWarning:ray")
def test_folders_and_urls_that_are_none_are_refused(outskirts, kept, bugs, tmp_path):
    pytest.importorskip("ray.data")
    for out, told in (
        (bugs, "exists and is not an empty folder"),
        ("memory://v", "in the memory of one process"),
        ("nowhere://v", "no place that can be written to here"),
    ):
        ended = outskirts("predict", kept, bugs / "fog", "--engine", "ray", "--out", out)
        assert ended.code == 2 and told in ended.err


def test_a_missing_package_is_told(outskirts, kept, bugs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = outskirts("predict", kept, bugs / "fog", "--engine", "ray", "--out", tmp_path / "v")
    assert ended.code == 2 and "needs the extra 'ray'" in ended.err
