import torch

from outskirts import Outputs
from outskirts.data.attribute import Attribute
from outskirts.evaluation.intervals import wilson_interval
from outskirts.evaluation.subgroups import group_accuracies, worst


def test_every_group_by_a_loop():
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=g)
    place = Attribute("place", ("land", "water"), torch.randint(0, 2, (200,), generator=g))
    logits = torch.eye(3)[labels] + torch.randn(200, 3, generator=g)
    found = group_accuracies(Outputs(logits, logits, labels), ["a", "b", "c"], place)
    assert len(found) == 6
    for one in found:
        rows = [i for i in range(200) if "abc"[labels[i]] == one.label and place.values[place.index[i]] == one.value]
        right = sum(int(logits[i].argmax()) == int(labels[i]) for i in rows)
        assert (one.n, one.accuracy) == (len(rows), right / len(rows))
        assert (one.accuracy_lo, one.accuracy_hi) == wilson_interval(right, len(rows))
    assert worst(found).accuracy == min(one.accuracy for one in found)


def test_groups_without_images_are_left_out():
    logits = torch.eye(2)
    place = Attribute("place", ("land", "water"), torch.tensor([0, 0]))
    found = group_accuracies(Outputs(logits, logits, torch.tensor([0, 0])), ["a", "b"], place)
    assert [(one.label, one.value, one.n, one.accuracy) for one in found] == [("a", "land", 2, 0.5)]
