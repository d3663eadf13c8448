"""A constant added to all logits and biases, which no softmax sees, changes no ranking, or a detector says why."""

import pytest
import torch

from outskirts import Head, Outputs, OutskirtsError
from outskirts.detectors import create, registry
from outskirts.testing import check_detector
from outskirts.testing.scores import rank_difference

#: Detectors and parameters with which the level counts.
DECLARED = [
    "joint_energy",
    "vim:level=published",
    "residual:level=published",
    "neco:level=published",
    "nnguide:k=20,level=published",
    "adascale:variant=l",
    "react:scorer=joint_energy",
    "rankfeat:scorer=joint_energy",
    "per_class:detector=joint_energy",
    "combination:detectors=[msp,joint_energy]",
]
#: Of these, what can be computed from features, logits and the head.
PLAIN = [text for text in DECLARED if not create(text).probes]


def outputs(n, level, seed, inside=True):
    """Images of four classes and of none, and the logits of a network with this level."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 8, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    labels = torch.arange(n) % 4
    features = 2 * torch.eye(4, 8)[labels] * inside + torch.randn(n, 8, generator=g).abs()
    bias = torch.linspace(-1, 1, 4, dtype=torch.float64) + level
    return Outputs(features, features @ weight.float().T + bias, labels, Head(weight, bias))


def scores(text, level):
    return create(text).fit(outputs(200, level, 0)).score(outputs(80, level, 1))


def test_by_default_the_level_counts_for_joint_energy_alone():
    assert [name for name in registry.names() if create(name).level_matters] == ["joint_energy"]


@pytest.mark.parametrize("text", DECLARED)
def test_where_the_level_counts_a_sentence_says_why(text):
    assert len(create(text).level_matters.split()) > 5
    if "vim" not in text and "residual" not in text:
        check_detector(create(text))


@pytest.mark.parametrize("text", PLAIN)
def test_where_the_level_is_said_to_count_it_does(text):
    assert rank_difference(scores(text, 0), scores(text, 20)) > 1e-3


@pytest.mark.parametrize("text", ["joint_energy:aggregate=max", "neco:logit=false,level=published"])
def test_where_it_does_not_count_nothing_is_said(text):
    assert create(text).level_matters is None
    assert rank_difference(scores(text, 0), scores(text, 20)) < 1e-6


@pytest.mark.parametrize("name", ["vim", "neco", "nnguide:k=20"])
def test_published_forms_that_mean_nothing_are_refused(name):
    published = f"{name}{',' if ':' in name else ':'}level=published"
    with pytest.raises(OutskirtsError, match=r"with level=published needs .* above 0, .*choose \w+:level=centered"):
        scores(published, -40)
    torch.testing.assert_close(scores(name, -40), scores(name, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vim", "residual", "neco", "nnguide:k=20"])
def test_at_the_level_zero_both_forms_agree(name):
    def centered(n, seed):
        given = outputs(n, 0, seed)
        head = Head(*(part - part.mean(0) for part in given.head))
        return Outputs(given.features, given.logits - given.logits.mean(1, keepdim=True), None, head)

    def score(level):
        detector = create(f"{name}{',' if ':' in name else ':'}level={level}")
        return detector.fit(centered(200, 0)).score(centered(80, 1))

    torch.testing.assert_close(score("centered"), score("published"), rtol=1e-5, atol=1e-5)
