import torch
from torch import nn

from outskirts.training.checkpoint import load_checkpoint, save_checkpoint
from outskirts.training.ema import EMA


def trained(steps):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    module.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([{"params": module[0].parameters()}, {"params": module[3].parameters()}])
    ema = EMA(module, 0.9)
    for step in range(1, steps + 1):
        module(torch.rand(2, 3, 4, 4)).square().sum().backward()
        optimizer.step()
        ema.update(step)
    return module, optimizer, ema


def test_everything_comes_back_in_its_memory_layout(tmp_path):
    module, optimizer, ema = trained(3)
    logged = {"loss": torch.tensor([2.5, 1.0]), "loss/rare": torch.tensor([0.5, 3.0])}
    save_checkpoint(tmp_path / "state", 3, module, optimizer, ema, logged)
    other, fresh, average = trained(0)
    step, sums = load_checkpoint(tmp_path / "state", other, fresh, average)
    assert step == 3 and sums.keys() == logged.keys()
    assert all(torch.equal(sums[name], value) for name, value in logged.items())
    pairs = [(value, other.state_dict()[key]) for key, value in module.state_dict().items()]
    pairs += [(value, average.state[key]) for key, value in ema.state.items()]
    for a, b in zip(optimizer.state.values(), fresh.state.values(), strict=True):
        pairs += [(a[key], b[key]) for key in a]
    for expected, found in pairs:
        assert torch.equal(expected, found)
        assert expected.stride() == found.stride()


def test_tied_weights_can_be_saved(tmp_path):
    module, optimizer, ema = trained(1)
    module.again = module[3]
    module[3].extra = module[3].weight
    save_checkpoint(tmp_path / "state", 1, module, optimizer, ema, {})
    load_checkpoint(tmp_path / "state", module, optimizer, ema)
