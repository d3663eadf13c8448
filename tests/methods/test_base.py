import pytest
import torch
from torch import nn

from outskirts.errors import OutskirtsError
from outskirts.methods import Method, registry
from outskirts.methods.ce import CE
from outskirts.models.heads import LinearHead


def test_methods_are_found_by_name():
    assert registry["ce"] is CE and CE.name == "ce"
    assert {"ascood", "ce"} <= set(registry.names())
    with pytest.raises(OutskirtsError, match="did you mean 'ascood'"):
        registry["ascod"]


def test_what_a_method_is_unless_it_says_otherwise(make, batch):
    method = make(CE)
    head = CE.head(CE.Config(), 8, 3)
    assert isinstance(head, LinearHead) and isinstance(head.inputs, nn.Identity)
    assert (head.linear.in_features, head.linear.out_features) == (8, 3)
    assert method.outliers(batch) is None
    assert {method.lr_factor(name) for name, _ in method.named_parameters()} == {1.0}
    assert method.views == 1 and not Method.presets
    assert CE.detectors(CE.Config()) == () and method.warning({"loss": 1.0}) == ""
    assert method.published_warmup is False


def test_nothing_is_forwarded_for_a_method_that_need_not_prepare(make):
    def images():
        raise AssertionError("the training images are iterated")
        yield

    make(CE).prepare(images())
    make(CE).fill_queue(torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64))
    make(CE).setup()


def test_calling_a_method_is_a_step(make, batch):
    method = make(CE).eval()
    assert torch.equal(method(batch)["loss"], method.step(batch)["loss"])
