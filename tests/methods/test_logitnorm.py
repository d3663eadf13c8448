import math

import pytest
import torch

from outskirts.errors import OutskirtsError
from outskirts.methods.averages import classification
from outskirts.methods.logitnorm import LogitNorm, LogitNormConfig, logit_norm
from outskirts.testing import check_method


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}])
def test_contract(options):
    check_method("logitnorm", LogitNormConfig(**options))


def test_logits_have_one_length():
    logits = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64)
    normed = logit_norm(logits, 0.5)
    torch.testing.assert_close(normed, torch.tensor([[1.2, 1.6]] * 2, dtype=torch.float64), rtol=1e-6, atol=0)
    expected = math.log(1 + math.exp(0.4))
    assert classification(normed, torch.tensor([0, 0])).item() == pytest.approx(expected, rel=1e-6)


def test_growing_logits_gain_nothing():
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(8) % 5
    one, two = (classification(logit_norm(scale * logits, 0.04), labels) for scale in (1, 1000))
    torch.testing.assert_close(one, two, rtol=1e-5, atol=0)


def test_the_published_form_is_the_method(make):
    from outskirts.data.loading.batches import Batch

    method = make(LogitNorm, LogitNormConfig(temperature=0.1))
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = Batch((images,), torch.arange(6) % 3, 1, 1, torch.Generator())
    logits = method.classifier(images)
    expected = torch.nn.functional.cross_entropy(logits / logits.norm(dim=1, keepdim=True) / 0.1, batch.labels)
    torch.testing.assert_close(method(batch)["loss"], expected, rtol=1e-4, atol=1e-5)


def test_options_out_of_range():
    with pytest.raises(OutskirtsError, match="temperature"):
        LogitNormConfig(temperature=0)
