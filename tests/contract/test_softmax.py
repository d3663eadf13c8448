"""A score of the softmax does not change where a constant is added to all logits."""

import pytest
import torch

from outskirts import Outputs
from outskirts.detectors import create, registry

DECLARED = {name for name in registry.names() if registry[name].of_softmax}
LOGITS = [name for name in registry.names() if registry[name].needs <= {"logits", "labels"} and not create(name).probes]


def outputs(n, shift, seed):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    logits = 6 * torch.eye(3, dtype=torch.float64)[labels] + torch.randn(n, 3, generator=g) + shift
    return Outputs(logits, logits, labels)


def scores(name, shift):
    return create(name).fit(outputs(300, shift, 0)).score(outputs(60, shift, 1))


def test_scores_of_the_softmax_are_declared():
    assert {"msp", "entropy", "gen", "temperature", "kl_matching", "openmax"} == DECLARED
    assert LOGITS and set(LOGITS) >= DECLARED


@pytest.mark.parametrize("name", sorted(set(LOGITS) - {"combination", "ensemble", "per_class"}))
def test_a_constant_changes_the_scores_that_it_may(name):
    plain = scores(name, 0.0)
    for shift in (-20.0, 7.0, 100.0):
        same = torch.allclose(scores(name, shift), plain, rtol=1e-6, atol=1e-9)
        assert same == registry[name].of_softmax
