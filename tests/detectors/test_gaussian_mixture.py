import pytest
import scipy.stats
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import GaussianMixture, gaussian_mixture
from outskirts.synthesis.gaussian import shrunk


@pytest.fixture
def blobs():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    features = torch.randn(300, 5, generator=g).double() @ torch.randn(5, 5, generator=g).double() + labels[:, None]
    return Outputs(features, features, labels)


def test_equals_scipys_densities(blobs):
    density = 0.0
    for c in range(3):
        rows = blobs.features[blobs.labels == c]
        covariance = shrunk(rows.T.cov(correction=0), len(rows))
        density += scipy.stats.multivariate_normal.pdf(blobs.features, rows.mean(0), covariance) / 3
    found = GaussianMixture().fit(blobs).score(blobs)
    # Without the constant of the Gaussian.
    constant = 2.5 * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    torch.testing.assert_close(found, -torch.tensor(density).log() - constant)


def test_fewer_images_than_dimensions(blobs):
    few = blobs[:9]
    assert GaussianMixture().fit(few).score(blobs).isfinite().all()


def test_too_many_classes_are_told(blobs, monkeypatch):
    monkeypatch.setattr(gaussian_mixture, "LARGEST", 100)
    with pytest.raises(
        OutskirtsError, match="for 3 classes of 5 features; use 'mahalanobis', which has one covariance for all"
    ):
        GaussianMixture().fit(blobs)
