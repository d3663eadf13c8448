from dataclasses import replace

import pytest
import torch

from outskirts import OutskirtsError
from outskirts.detectors import NNGuide


def test_vectors(toy, train, queries):
    torch.testing.assert_close(
        NNGuide(k=2, fraction=1.0, level="published").fit(train).score(queries), -toy["nnguide_K2"], rtol=1e-5, atol=0
    )


def test_the_bank_is_drawn_from_all_classes(train):
    """Published code takes the first images, which are of one class where they are sorted."""
    features = torch.arange(1000.0)[:, None].sort(0).values.expand(1000, 2)
    many = replace(train, features=features, logits=features[:, :1].expand(1000, 3), labels=None, head=None)
    bank = NNGuide(k=10, fraction=0.05, level="published").fit(many).bank
    assert len(bank) == 50 and bank.norm(dim=1).max() > 900 and bank.norm(dim=1).min() < 100


def test_bad_input_is_an_error(train):
    with pytest.raises(OutskirtsError, match="choose k of at most 6"):
        NNGuide(k=7).fit(train)
    with pytest.raises(
        OutskirtsError, match="fraction of the detector 'nnguide' must be a number above 0 and at most 1, not 0"
    ):
        NNGuide(fraction=0)
