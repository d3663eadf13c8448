"""Waits for a device are found without one."""

import pytest
import torch

from outskirts.devices import constant, there
from outskirts.testing.waiting import META, WithoutWaiting, pretending, refused_waits


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: bool(x.any()),
        lambda x: torch.bincount(x.long(), minlength=3),
        lambda x: torch.tensor([1.0], device=META),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.zeros(3).to(META),
        lambda x: x.copy_(torch.zeros(3)),
    ],
)
def test_what_waits_is_refused(waits):
    x = torch.zeros(3, device=META)
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)), WithoutWaiting():
        waits(x)


def test_what_does_not_wait_passes():
    x = torch.zeros(3, device=META)
    with WithoutWaiting():
        assert (there(torch.zeros(3), META) + x).device == META
        assert (constant((1.0, 2.0, 3.0), META) * x).device == META
        drawn = torch.rand(3, generator=pretending(META).manual_seed(0), device=META)
        assert x.new_full((), 2.0).device == drawn.device == META
        assert x.argsort(stable=True).shape == (3,)


def test_only_cuda_is_watched():
    with refused_waits(torch.device("cpu")):
        assert torch.ones(3).sum().item() == 3
