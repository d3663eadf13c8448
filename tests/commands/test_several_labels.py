"""Images with several labels each: the commands say what is possible, and it is."""

import pytest
import torch
from torch import nn

import outskirts as osk
from outskirts.data.transform import Transform

LABELS = "?labels=red,large,new"


@pytest.fixture
def table(draw, tmp_path):
    """A table in which some images have two labels, and some none."""
    draw(tmp_path / "images", (), count=12)
    rows = [f"{i}.png,{i % 2},{int(i % 3 == 0)},{int(i % 4 == 1)}" for i in range(12)]
    (tmp_path / "table.csv").write_text("\n".join(["image,red,large,new", *rows]) + "\n")
    return f"csv:{tmp_path / 'table.csv'}@{tmp_path / 'images'}{LABELS}"


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A network with a sigmoid for each of three labels, which is in its loss."""
    text = "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))\n"
    (tmp_path / "several_labels_net.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "module:several_labels_net:net?size=16&mean=.5,.5,.5&std=.5,.5,.5"


def test_a_table_of_several_labels_is_refused_with_what_would_do(table, network, bugs, outskirts, tmp_path):
    trained = outskirts("train", "ce", "--data", table, "--out", tmp_path / "run")
    sets = ["--train", table, "--test", table, "--far", f"fog={bugs / 'fog'}", "--out", tmp_path / "out"]
    for outcome in (trained, outskirts("evaluate", "--model", network, *sets)):
        assert outcome.code == 2
        assert "table.csv, line 3 has 1 in red, new of the columns red, large, new" in outcome.err
        assert "without them, in Python: outskirts.evaluate takes what outskirts.extract gives" in outcome.err
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()


def test_what_is_said_to_do_does(network, bugs, tmp_path, table):
    classifier = osk.load(network)
    images, fog = (osk.extract(classifier, folder) for folder in (tmp_path / "images", bugs / "fog"))
    results = osk.evaluate(images, {"fog": fog}, ["joint_energy", {"name": "joint_energy", "aggregate": "max"}])
    assert len(results.rows) == 4 and "accuracy" not in repr(results)
    expected = -nn.functional.softplus(images.logits.double()).sum(1)
    torch.testing.assert_close(results.scores["joint_energy(aggregate=sum)"]["id"], expected)
    assert classifier.transform == Transform(16, 3, (0.5,) * 3, (0.5,) * 3)
