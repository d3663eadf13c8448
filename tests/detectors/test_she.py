from dataclasses import replace

import pytest
import torch

from outskirts import OutskirtsError
from outskirts.detectors import SHE


def test_vectors(toy, train, queries):
    torch.testing.assert_close(SHE().fit(train).score(queries), -toy["she"])


def test_other_metrics(train, queries):
    means = torch.stack([train.features[train.labels == c].mean(0) for c in range(3)])[queries.logits.argmax(1)]
    difference = (queries.features - means).norm(dim=1)
    torch.testing.assert_close(SHE("euclidean").fit(train).score(queries), difference)
    cosine = (queries.features * means).sum(1) / queries.features.norm(dim=1) / means.norm(dim=1)
    torch.testing.assert_close(SHE("cosine").fit(train).score(queries), -cosine)


def test_a_class_without_a_correct_image_has_the_mean_of_all(train):
    wrong = replace(train, labels=torch.tensor([1, 2, 1, 1, 2, 2]))
    means = SHE().fit(wrong).means
    torch.testing.assert_close(means[0], train.features.mean(0))
    assert means.isfinite().all()
    with pytest.raises(
        OutskirtsError,
        match="metric of the detector 'she' must be one of inner_product, euclidean, cosine, not 'manhattan'",
    ):
        SHE("manhattan")
