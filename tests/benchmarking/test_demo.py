import pytest

import outskirts as osk
from outskirts.benchmarking import demo as module


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(osk.OutskirtsError, match="choose another with --out"):
        osk.demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_two_methods_are_trained_measured_and_reported(bugs, draw, outskirts, tmp_path, monkeypatch):
    test = draw(tmp_path / "test", count=25, seed=1)
    ood = {"far": {"fog": f"{bugs / 'fog'}"}}
    bench = osk.Benchmark("bugs", f"{bugs / 'train'}", f"{test}", ood, description="Bugs.", notes="Few.")
    monkeypatch.setattr(module, "load_benchmark", lambda name: bench)
    monkeypatch.setattr(module, "_DETECTORS", ("msp", "energy"))
    monkeypatch.setitem(module._BUDGET, "batch_size", 8)
    monkeypatch.setitem(module._BUDGET, "device", "cpu")
    said, measured, steps = [], [], []
    results = osk.demo(
        tmp_path / "call", quick=True, say=said.append, measured=measured.append, learning=lambda *told: steps.append(1)
    )
    assert list(results) == ["ce", "ascood"] and list(results.values()) == measured and steps
    assert said[0] == "Bugs.\nFew."
    assert any(one.startswith(f"Report: {tmp_path / 'call' / 'report.html'}") for one in said)
    assert said[-1].startswith(f"Verdicts with pictures: {tmp_path / 'call' / 'verdicts.html'}")
    assert [one.partition("/pictures/")[2].partition(".")[0] for one in said[-3:-1]] == ["known", "fog"]
    assert osk.Guard.load(tmp_path / "call" / "guard").calibration.n == 25
    assert osk.Run.open(tmp_path / "call" / "ascood").recipe().settings.batchnorm == "separate"
    outcome = outskirts("demo", "--quick", "--out", tmp_path / "command")
    assert outcome.code == 0 and outcome.out.count("AUROC") == 2, outcome.err
    assert "Training ce." in outcome.err and (tmp_path / "command" / "report.html").is_file()
    for method in results:
        called, commanded = (tmp_path / one / method / "results.csv" for one in ("call", "command"))
        assert called.read_text() == commanded.read_text()
