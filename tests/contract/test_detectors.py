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


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Backwards, "do not score larger"),
        (Relative, "images beside it"),
        (Integer, "int64"),
        (Careless, "changes its inputs"),
    ],
)
def test_breaking_the_contract_is_told(broken, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_detector(broken)
