import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import Detector, Mahalanobis, RelativeMahalanobis
from outskirts.detectors.base import create
from outskirts.detectors.mahalanobis import tied_gaussians, whitening
from outskirts.extraction import blocks
from outskirts.files import save_tensors


@pytest.fixture
def blobs() -> Outputs:
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (300,), generator=g)
    mixing = torch.randn(6, 6, generator=g)
    features = torch.randn(300, 6, generator=g) @ mixing + 3 * torch.randn(4, 6, generator=g)[labels]
    return Outputs(features, features[:, :4], labels)


def test_vectors_of_the_pseudo_inverse(toy, train, queries):
    torch.testing.assert_close(Mahalanobis(ridge=0, normalize=False).fit(train).score(queries), -toy["mds"])


def test_vectors_with_a_ridge(toy, train, queries):
    share = 0.05 / tied_gaussians(train.features, train.labels)[1].diagonal().mean().item()
    torch.testing.assert_close(
        Mahalanobis(ridge=share, normalize=False).fit(train).score(queries), -toy["mds_ridge.05"]
    )


def test_equals_the_formula(blobs, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 7)
    features, labels = blobs.features.double(), blobs.labels
    means = torch.stack([features[labels == c].mean(0) for c in range(4)])
    covariance = sum((f - means[c]).outer(f - means[c]) for f, c in zip(features, labels)) / len(features)
    inverse = covariance.inverse()
    expected = [min((f - m) @ inverse @ (f - m) for m in means) for f in features]
    torch.testing.assert_close(Mahalanobis(ridge=0, normalize=False).fit(blobs).score(blobs), torch.stack(expected))


def test_scale_of_the_features_does_not_matter(blobs):
    scaled = Outputs(1024 * blobs.features, blobs.logits, blobs.labels)
    torch.testing.assert_close(
        Mahalanobis(normalize=False).fit(scaled).score(scaled), Mahalanobis(normalize=False).fit(blobs).score(blobs)
    )


def test_absent_class_is_left_out(blobs):
    some = blobs[blobs.labels != 2]
    assert len(Mahalanobis().fit(some).centers) == 3


def test_whitening_inverts_what_has_variance():
    covariance = torch.diag(torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64))
    transform = whitening(covariance)
    torch.testing.assert_close(transform @ transform.T, torch.linalg.pinv(covariance))


def test_whitening_leaves_rounding_noise_out():
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double()).Q
    for least, kept in ((1e-13, 2), (1e-10, 3)):
        covariance = turn @ torch.diag(torch.tensor([4.0, 1.0, least], dtype=torch.float64)) @ turn.T
        transform = whitening(covariance)
        inverse = torch.linalg.pinv(covariance, rtol=1e-12, hermitian=True)
        assert torch.linalg.matrix_rank(transform, rtol=1e-9) == kept
        torch.testing.assert_close(transform @ transform.T, inverse, rtol=1e-4, atol=1e-3)


def test_bad_input_is_an_error(blobs):
    with pytest.raises(OutskirtsError, match="labels are negative"):
        Mahalanobis().fit(Outputs(blobs.features, blobs.logits, blobs.labels - 1))
    with pytest.raises(OutskirtsError, match="no images to fit on"):
        Mahalanobis().fit(blobs[:0])
    with pytest.raises(
        OutskirtsError, match="ridge of the detector 'mahalanobis' must be a number of at least 0, not -1"
    ):
        Mahalanobis(ridge=-1)


def test_the_total_covariance_of_the_published_code():
    """Vector T13 of the specification; its score is half of the squared distance."""
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    outputs = Outputs(features, features, torch.tensor([0, 0, 1, 1]))
    query = Outputs(torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2))
    total = Mahalanobis(ridge=0, covariance="total", normalize=False).fit(outputs)
    torch.testing.assert_close(total.score(query) / 2, torch.tensor([0.09375], dtype=torch.float64))
    # The covariance within classes is diag(1, 0): the second direction does not count, or above all with a ridge.
    within = Mahalanobis(ridge=0, normalize=False).fit(outputs)
    torch.testing.assert_close(within.score(query), torch.zeros(1, dtype=torch.float64))
    assert Mahalanobis(ridge=1e-6, normalize=False).fit(outputs).score(query) > 1e5


def test_normalised_features_forget_their_length(blobs):
    detector = Mahalanobis(normalize=True).fit(blobs)
    lengths = torch.rand(len(blobs), 1, generator=torch.Generator().manual_seed(0)) + 0.5
    scaled = Outputs(blobs.features * lengths, blobs.logits)
    torch.testing.assert_close(detector.score(scaled), detector.score(blobs), rtol=1e-3, atol=1e-3)
    with pytest.raises(OutskirtsError, match="total"):
        Mahalanobis(covariance="totl")


@pytest.mark.parametrize("kind", [Mahalanobis, RelativeMahalanobis])
def test_a_file_of_version_0_1_is_read(kind, train, queries, tmp_path):
    detector = kind().fit(train)
    state = {key.replace("center", "centre"): value for key, value in detector.state_dict().items()}
    assert state.keys() != detector.state_dict().keys()
    save_tensors(tmp_path / "old.safetensors", state, {"detector": detector.name, "params": detector.params})
    assert torch.equal(Detector.load(tmp_path / "old.safetensors").score(queries), detector.score(queries))


def test_features_are_of_unit_length_by_default(blobs):
    found = Mahalanobis().fit(blobs).score(blobs)
    torch.testing.assert_close(found, Mahalanobis(normalize=True).fit(blobs).score(blobs))
    assert Mahalanobis().params["normalize"] and not create("mahalanobis:normalize=false").params["normalize"]
