"""``outskirts demo``; what it trains and measures is tested where that is made."""

import pytest

import outskirts as osk


def test_help(outskirts):
    outcome = outskirts("demo", "--help")
    assert outcome.code == 0
    for flag in ("--out", "--quick", "--seed"):
        assert flag in outcome.out


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_there_is_not_overwritten(refused, tmp_path, what):
    out = tmp_path / "demo"
    kept = out if what == "file" else out / "mine.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    assert "choose another with --out" in refused("demo", "--out", out)
    assert kept.read_text() == "mine"


@pytest.mark.slow
def test_a_quick_demo(outskirts, tmp_path):
    pytest.importorskip("mlxtend")
    pytest.importorskip("skimage")
    outcome = outskirts("demo", "--quick", "--out", tmp_path / "demo")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "demo" / "report.html").is_file()
    assert outcome.out.count("AUROC") == 2
    assert "not independent" in outcome.err
    guard = osk.Guard.load(tmp_path / "demo" / "guard")
    assert len(guard.predict(tmp_path / "demo" / "pictures")) == 3
    assert outcome.err.count("p-value") == 3 and (tmp_path / "demo" / "verdicts.html").is_file()
