"""What comes back from a device, and when it is waited for."""

import pytest
import torch

from outskirts.devices import sent
from outskirts.extraction.transfer import to_host

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def happened(monkeypatch):
    """What is done with the events of a device that is not there, in order."""
    happened = []

    class Event:
        made = 0

        def __init__(self):
            self.number, Event.made = Event.made, Event.made + 1

        def record(self, stream):
            happened.append(f"recorded {self.number} on {stream}")

        def synchronize(self):
            happened.append(f"waited for {self.number}")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    return happened


def passes(happened, count):
    for number in range(count):
        happened.append(f"launched {number}")
        yield number, {"pass": {"features": torch.full((2,), float(number))}}


def test_the_device_has_the_next_batch_while_the_host_takes_one(happened):
    for number, found in to_host(passes(happened, 3), CUDA):
        assert found["pass"]["features"].tolist() == [number, number]
        happened.append(f"took {number}")
    assert happened == [
        "launched 0",
        "recorded 0 on the stream of cuda",
        "launched 1",
        "recorded 1 on the stream of cuda",
        "waited for 0",
        "took 0",
        "launched 2",
        "recorded 2 on the stream of cuda",
        "waited for 1",
        "took 1",
        "waited for 2",
        "took 2",
    ]
    assert list(to_host(passes([], 0), CUDA)) == []


def test_the_copies_of_cuda_are_not_waited_for(happened, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *where, **how: asked.append((where, how)) or self)
    list(to_host(passes(happened, 1), CUDA))
    assert asked == [(("cpu",), {"non_blocking": True})]
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: asked.append("pinned") or self)
    sent(torch.zeros(2), CUDA)
    assert asked[1:] == ["pinned", ((CUDA,), {"non_blocking": True})]


def test_on_the_cpu_nothing_is_copied_or_put_off():
    images = torch.zeros(2)
    assert sent(images, CPU) is images
    launched = []

    def passes():
        for number in range(3):
            launched.append(number)
            yield number, {"pass": {"features": images}}

    for number, found in to_host(passes(), CPU):
        assert found["pass"]["features"] is images and launched == list(range(number + 1))
