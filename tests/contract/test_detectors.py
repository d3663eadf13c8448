"""Every registered detector keeps the contract."""

import pytest
import torch

from outskirts.detectors import Detector, registry
from outskirts.testing import check_detector


@pytest.mark.parametrize("name", registry.names())
def test_contract(name):
    check_detector(name)


def test_parameters_of_an_instance_are_kept():
    check_detector(registry["knn"](k=3))
    check_detector(registry["mahalanobis"])


class Backwards(Detector):
    name = "backwards"

    def score(self, outputs):
        return outputs.logits.amax(1)


class Relative(Detector):
    name = "relative"

    def score(self, outputs):
        return outputs.logits.mean() - outputs.logits.amax(1)


class Integer(Detector):
    name = "integer"

    def score(self, outputs):
        return (100 * -outputs.logits.amax(1)).long()


class Careless(Detector):
    name = "careless"

    def score(self, outputs):
        return -outputs.logits.sub_(torch.ones(1)).amax(1)


class OfLevel(Detector):
    name = "of_level"

    def score(self, outputs):
        return -(outputs.need("logits", self.name).amax(1) ** 2)


class Speechless(Detector):
    name = "speechless"

    def score(self, outputs):
        return -outputs.logits.amax(1)


class Undeclared(Detector):
    name = "undeclared"
    needs = frozenset({"features"})

    def score(self, outputs):
        return -outputs.features.amax(1) if outputs.logits is None else -outputs.logits.amax(1)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Backwards, "do not score larger"),
        (Relative, "images beside it"),
        (Integer, "int64"),
        (Careless, "changes its inputs"),
        (OfLevel, "-20 on all logits and biases changes"),
        (Speechless, "gives a AttributeError and no sentence"),
        (Undeclared, "logits that needs does not name"),
    ],
)
def test_breaking_the_contract_is_told(broken, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_detector(broken)
