import random

import torch

from outskirts.seeding import generator, isolated, subseed


def test_every_component_and_counter_has_its_own_seed():
    paths = [(0,), (1,), (0, "augment"), (0, "order"), (0, "augment", 1), (0, "augment", 2), (0, "augment", 1, 2)]
    seeds = [subseed(*path) for path in paths]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)
    assert subseed(1, 23) != subseed(12, 3)


def test_seeds_never_change():
    # Runs of earlier versions must resume; this value is part of the format.
    assert subseed(0, "augment", 7) == 4491456588074717505


def test_generators_repeat_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    one, two = (torch.rand(4, generator=generator(0, "order", 3)) for _ in range(2))
    assert torch.equal(one, two) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(one, torch.rand(4, generator=generator(0, "order", 4)))


def test_isolated_seeds_inside_and_restores_outside():
    before, python = torch.get_rng_state(), random.getstate()
    with isolated(0, "init"):
        one = torch.nn.Linear(3, 3).weight.detach()
    torch.rand(1)
    torch.set_rng_state(before)
    try:
        with isolated(0, "init"):
            two = torch.nn.Linear(3, 3).weight.detach()
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before) and random.getstate() == python
