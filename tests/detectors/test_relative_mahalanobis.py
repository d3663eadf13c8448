import torch

from outskirts.detectors import Mahalanobis, RelativeMahalanobis
from outskirts.detectors.mahalanobis import tied_gaussians
from outskirts.extraction.outputs import Outputs


def test_vectors_of_the_pseudo_inverse(toy, train, queries):
    torch.testing.assert_close(RelativeMahalanobis(ridge=0).fit(train).score(queries), -toy["rmds"])


def test_vectors_with_a_ridge(toy, train, queries):
    share = 0.05 / tied_gaussians(train.features, train.labels)[1].diagonal().mean().item()
    torch.testing.assert_close(RelativeMahalanobis(ridge=share).fit(train).score(queries), -toy["rmds_ridge.05"])


def test_is_the_difference_of_two_distances(train, queries):
    one_class = Outputs(train.features, train.logits, torch.zeros_like(train.labels))
    expected = Mahalanobis(0.0, normalize=False).fit(train).score(queries) - Mahalanobis(0.0, normalize=False).fit(
        one_class
    ).score(queries)
    torch.testing.assert_close(RelativeMahalanobis(0.0).fit(train).score(queries), expected)
