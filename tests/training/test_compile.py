"""`--compile` computes the same, faster or not."""

import pytest
import torch
from torch import nn

import outskirts as osk
from outskirts.testing.device import check_resume


@pytest.fixture
def courses(bugs, small, tmp_path, network):
    """Trains a network of one's own; the losses of the run, and the classes of modules that were compiled."""

    def train(compiled, method="ce", **options):
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            model = network()
        model.drop.p = 0.0  # Compiled, dropout draws other numbers.
        out = tmp_path / f"{method}-{compiled}"
        run = osk.train(method, bugs / "train", model=model, out=out, compile=compiled, **{**small, **options})
        return [record["loss"] for record in run.records() if record["kind"] == "train"]

    return train


def test_nothing_but_the_network_is_compiled_and_only_if_asked_for(courses, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compiled.append((type(self).__name__, options)))
    courses(False)
    assert compiled == []
    courses(True)
    assert [options for _, options in compiled] == [{"dynamic": False}]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ce", "ascood"])
def test_losses_are_those_of_the_network_as_written(courses, method):
    plain, compiled = courses(False, method), courses(True, method)
    assert compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.slow
def test_a_compiled_training_resumes_bit_equal(bugs, small, tmp_path):
    check_resume("ce", osk.open(bugs / "train"), tmp_path, **{**small, "compile": True})
