import pytest
import torch
from torch import nn

import outskirts as osk
from outskirts.files import load_tensors
from outskirts.training.ema import EMA


def test_the_average_moves_by_its_decay():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    ema = EMA(layer, 0.75)
    layer.weight.data.fill_(5.0)
    ema.update(1000)
    assert ema.state["weight"].item() == 2.0
    with ema.applied():
        assert layer.weight.item() == 2.0
    assert layer.weight.item() == 5.0


def test_the_start_is_soon_forgotten():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(0.0)
    ema = EMA(layer, 0.999)
    layer.weight.data.fill_(1.0)
    for step in range(1, 101):
        ema.update(step)
    # One over the binomial coefficient of 109 and 9 is left of it; a decay of .999 would leave nine tenths.
    assert 1 - ema.state["weight"].item() < 1e-6


def test_the_weights_come_back_after_an_error():
    layer = nn.Linear(1, 1)
    kept = layer.weight.item()
    ema = EMA(layer, 0.5)
    ema.state["weight"].fill_(9.0)
    with pytest.raises(ValueError), ema.applied():
        raise ValueError
    assert layer.weight.item() == kept


def test_counters_are_not_averaged():
    assert "num_batches_tracked" not in EMA(nn.BatchNorm2d(2), 0.5).state


def test_without_decay_nothing_is_kept():
    layer = nn.Linear(1, 1)
    ema = EMA(layer, 0.0)
    ema.update(1)
    with ema.applied():
        assert not ema.state


def test_a_run_keeps_the_average(bugs, small, tmp_path):
    def weights(name, **options):
        run = osk.train("ce", bugs / "train", out=tmp_path / name, **{**small, "epochs": 1, **options})
        return load_tensors(run.model)[0]["head.linear.weight"]

    slow, fast, none = weights("slow", ema=0.999), weights("fast", ema=0.001), weights("none")
    assert torch.allclose(fast, none, atol=1e-5)
    assert not torch.allclose(slow, none, atol=1e-4)
