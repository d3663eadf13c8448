"""Printed commands do the same again elsewhere: a shell reads them, and they run in another folder."""

import html
import os
import re
import shutil

import pytest
import yaml

import outskirts as osk

SETS = "anna's bugs"
SMALL = ("--epochs", "1", "--batch-size", "8", "--augment", "flip,crop:1", "--device", "cpu")


@pytest.fixture
def places(bugs, tmp_path, monkeypatch):
    """Two folders with the same images, names of which a shell must be told; the first is the working folder."""
    for name in ("the first", "the second"):
        shutil.copytree(bugs, tmp_path / name / SETS)
    monkeypatch.chdir(tmp_path / "the first")
    return tmp_path / "the first", tmp_path / "the second"


@pytest.fixture
def repeat(in_shell, outskirts, places, monkeypatch):
    """Runs the commands of a script in the second folder, or in another one."""

    def repeat(script, place=places[1]):
        assert str(places[0]) not in script and "…" not in script
        for command in in_shell(script):
            with monkeypatch.context() as patch:
                patch.chdir(place)
                done = outskirts(*command)
            assert done.code == 0, (command, done.err)

    return repeat


def same(run, again):
    for name in ("model.safetensors", "results.csv"):
        assert (run / name).read_bytes() == (again / name).read_bytes(), name


def scripts(page):
    """What stands in the blocks of code of a page that is in Markdown or HTML, other than the page's own command."""
    blocks = re.findall(r"```bash\n(.*?)\n```", page, re.DOTALL) or re.findall(
        r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL
    )
    texts = [html.unescape(re.sub("</?code>", "", block)) for block in blocks]
    return [text for text in texts if re.search(r"^ *outskirts (?!benchmark page)", text, re.MULTILINE)]


def test_of_a_report(outskirts, places, repeat, in_shell):
    first, second = places
    train = ("--data", f"{SETS}/train", "--seed", "3", *SMALL, "--label-smoothing", "0.1", "--out", "runs/anna's")
    assert outskirts("train", "ce", *train).code == 0
    sets = ("--test", f"{first / SETS}/test", "--ood", f"odd/fog={SETS}/fog", f"flies={SETS}/flies")
    done = outskirts("evaluate", "runs/anna's", *sets, "--detectors", "msp", "knn:k=3", "--tune")
    assert done.code == 0, done.err
    (script,) = scripts((first / "runs" / "anna's" / "report.html").read_text())
    repeat(script)
    same(first / "runs" / "anna's", second / "repeated" / "anna's")
    outskirts("report", "runs/anna's", "--out", "full.html", "--full-environment")
    (script,) = scripts((first / "full.html").read_text())
    assert f"folder:{first / SETS / 'train'}" in in_shell(script)[0]


def test_of_a_benchmark(outskirts, places, repeat, monkeypatch):
    first, second = places
    # Which is faster, one run may find so and the next otherwise, where the machine has other work.
    monkeypatch.setattr("outskirts.training.beginning.faster_precision", lambda device: "fp32")
    content = {
        "train": f"{SETS}/train",
        "test": f"{SETS}/test",
        "ood": {"odd": {"fog": f"{SETS}/fog"}, "near": {"flies": f"{SETS}/flies"}},
        "recipes": {"all": {"epochs": 1, "batch_size": 8, "augment": "flip,crop:1"}},
    }
    for place in places:
        (place / "our bugs.yaml").write_text(yaml.safe_dump(content))
    done = outskirts("benchmark", "our bugs.yaml", "--seeds", "0-1", "--detectors", "msp", "--out", "runs/it's")
    assert done.code == 0, done.err
    whole, alone = scripts((first / "runs" / "it's" / "results.md").read_text())
    assert scripts((first / "runs" / "it's" / "results.html").read_text()) == [whole]
    assert "precision=" in whole and "device=" in whole
    repeat(whole)
    # In the same folder, it finds its own runs again.
    times = {path: path.stat().st_mtime_ns for path in (first / "runs" / "it's").glob("ce-s*/*")}
    repeat(whole, first)
    assert times == {path: path.stat().st_mtime_ns for path in times}
    repeat(alone)
    for name in ("ce-s0", "ce-s1"):
        same(first / "runs" / "it's" / name, second / "runs" / "it's" / name)
        same(first / "runs" / "it's" / name, second / "repeated" / "our bugs" / name)
    minutes = re.compile(r"\b\d+\.\d,40,")  # The first differs.
    tables = [(place / "runs" / "it's" / "results.csv").read_text() for place in places]
    assert minutes.sub("", tables[0]) == minutes.sub("", tables[1])


def test_of_a_benchmark_made_in_python(outskirts, places, repeat):
    first, second = places
    sets = [f"{SETS}/train", f"{SETS}/test", {"odd": {"fog": f"{SETS}/fog"}}]
    options = {"epochs": 1, "batch_size": 8, "augment": "none", "weight_decay": 1e-5}
    made = osk.Benchmark("bugs", *sets, recipes={"all": options})
    osk.benchmark(made, detectors=["msp"], seeds=[1], options={"lr": 1e-2}, out="made")
    whole, _ = scripts((first / "made" / "results.md").read_text())
    os.makedirs(second / "made")
    text = (first / "made" / "benchmark.yaml").read_text()
    (second / "made" / "benchmark.yaml").write_text(text.replace(str(first), str(second)))
    repeat(whole)
    same(first / "made" / "ce-s1", second / "made" / "ce-s1")
