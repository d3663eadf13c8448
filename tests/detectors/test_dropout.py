import pytest
import torch

from outskirts import OutskirtsError
from outskirts.detectors import MSP, Dropout


def test_without_dropout_it_is_msp(queries):
    torch.testing.assert_close(Dropout(rate=0, samples=3).score(queries), MSP().score(queries))


def test_approaches_the_mean_over_all_masks(queries):
    """Of four features there are sixteen masks, equally likely at a rate of one half."""
    weight, bias = queries.head
    masks = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)
    heads = weight * masks[:, None] * 2
    p = (torch.einsum("nd,mcd->nmc", queries.features, heads) + bias).softmax(2).mean(1)
    torch.testing.assert_close(Dropout(samples=20_000).score(queries), -p.amax(1).log(), atol=0.02, rtol=0)


def test_bad_input_is_an_error():
    with pytest.raises(
        OutskirtsError, match=r"rate of the detector 'dropout' must be a number from 0 to below 1, not 1.0"
    ):
        Dropout(rate=1.0)
