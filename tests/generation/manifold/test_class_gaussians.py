import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest
from torch.distributions import MultivariateNormal

from outskirts.errors import OutskirtsError
from outskirts.generation.manifold.class_gaussians import ClassGaussians, directions, quantile_square, squares_between
from outskirts.synthesis.gaussian import shrunk

NAMES = ["ant", "bee", "fly"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(counts=(80, 50, 60), dim=5, seed=0, scale=1.0):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator(seed))]
    mixing = torch.randn(len(counts), dim, dim, generator=generator(99)) * scale
    noise = torch.randn(len(labels), dim, generator=generator(seed))
    return torch.bmm(noise[:, None], mixing[labels])[:, 0] + labels[:, None] * 4.0, labels


def fitted(m=2, quirks=False, **options):
    unseen = drawn(counts=(40, 20, 30), seed=1, **options)
    return ClassGaussians.fit(*drawn(**options), *unseen, NAMES, m, quirks)


# The law of the radius


@pytest.mark.parametrize("dim", [1, 2, 64, 768])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 0.01), (0.5, 1.0)])
def test_squares_have_the_law_between_two_tail_probabilities(dim, low, high):
    found = squares_between((40, 50), dim, low, high, generator())
    assert found.shape == (40, 50) and found.dtype == torch.float64
    tail = chi2.sf(found.flatten().numpy(), dim)
    assert tail.min() >= low and tail.max() <= high * (1 + 1e-9)
    assert kstest((tail - low) / (high - low), "uniform").pvalue > 0.01


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-24])
def test_the_extremes_of_a_uniform_number_are_finite(monkeypatch, uniform):
    monkeypatch.setattr(torch, "rand", lambda shape, **kwargs: torch.full(shape, uniform))
    found = squares_between((1,), 768, 0, 1, generator())
    assert found.isfinite().all() and found.item() > 0


def test_the_square_of_a_quantile():
    assert quantile_square(768) == pytest.approx(chi2.isf(0.05, 768))
    assert quantile_square(64, 10 / 3330) == pytest.approx(chi2.ppf(1 - 10 / 3330, 64))


def test_directions_are_uniform_and_norms_as_given():
    squares = torch.rand(4000, 2, generator=generator(), dtype=torch.float64) * 5
    found = directions(squares, 3, generator(1))
    torch.testing.assert_close(found.square().sum(2), squares)
    unit = found[:, 0] / squares[:, 0, None].sqrt()
    for axis in torch.linalg.qr(torch.randn(3, 3, generator=generator(2), dtype=torch.float64)).Q:
        # On a sphere in three dimensions, every coordinate is uniform (Archimedes).
        assert kstest((unit @ axis).numpy(), "uniform", args=(-1, 2)).pvalue > 0.01


# The Gaussians


def test_directions_of_a_class_are_those_of_its_shrunk_covariance():
    values, labels = drawn()
    found = fitted(m=0)
    for label in range(3):
        rows = values[labels == label].double()
        expected = shrunk(rows.T.cov(), len(rows) - 1)
        covariance = found.factor[label] @ found.factor[label].T
        torch.testing.assert_close(covariance / covariance.trace(), expected / expected.trace())
        torch.testing.assert_close(found.means[label], rows.mean(0))


@pytest.mark.parametrize("m", [0, 2, 5])
def test_distances_are_calibrated_on_what_is_held_out(m):
    found, (unseen, of) = fitted(m), drawn(counts=(40, 20, 30), seed=1)
    assert found.limits.tolist() == pytest.approx([chi2.isf(0.05, 5)] * 3)
    for label, count in enumerate((40, 20, 30)):
        squares = found.squares(unseen[of == label][None], torch.tensor([label]))[0]
        # As many as 95 % of them, and not one more.
        assert (squares <= found.limits[label] * (1 + 1e-9)).sum() == int(np.ceil(0.95 * (count - 1))) + 1
        parts = found._squares(unseen[of == label][None], torch.tensor([label]), 5 - m)[0].mean(0)
        if m == 2:
            assert parts[0] / parts[1] == pytest.approx(3 / 2)


def test_invariants_that_are_small_on_the_fitted_vectors_alone_are_widened():
    def rows(count, seed, small):
        values = torch.randn(count, 6, generator=generator(seed))
        return values * torch.tensor([1.0] * 4 + [small] * 2), torch.zeros(count, dtype=torch.int64)

    # Overfitted: two coordinates vary four times as much on what the map has not seen.
    found = ClassGaussians.fit(*rows(2000, 0, 0.1), *rows(2000, 1, 0.4), ["ant"], 2)
    covariance = found.factor[0] @ found.factor[0].T
    truth = torch.tensor([1.0] * 4 + [0.16] * 2, dtype=torch.float64)
    torch.testing.assert_close(covariance, torch.diag(truth), rtol=0.15, atol=0.1)
    fresh, _ = rows(4000, 2, 0.4)
    beyond = (found.squares(fresh[None], torch.tensor([0]))[0] > found.limits[0]).double().mean()
    assert beyond.item() == pytest.approx(0.05, abs=0.015)


def test_the_published_covariance():
    values, labels = drawn()
    found, (unseen, of) = fitted(quirks=True), drawn(counts=(40, 20, 30), seed=1)
    assert found.means.dtype == found.factor.dtype == torch.float32
    for label in range(3):
        expected = values[labels == label].T.cov() + 1e-5 * torch.eye(5)
        torch.testing.assert_close(found.factor[label] @ found.factor[label].T, expected, rtol=1e-4, atol=1e-4)
        squares = found.squares(unseen[of == label][None], torch.tensor([label]))[0]
        assert found.limits[label].item() == pytest.approx(np.quantile(squares.numpy(), 0.95, method="higher"))


def test_distances_and_densities_are_those_of_the_distribution():
    found, (x, labels) = fitted(), drawn(seed=2)
    for label in range(3):
        distribution = MultivariateNormal(found.means[label], scale_tril=found.factor[label])
        rows = x[labels == label].double()
        torch.testing.assert_close(found.log_density(x, labels)[labels == label], distribution.log_prob(rows))
        white = torch.linalg.solve(found.factor[label], (rows - found.means[label]).T).square().sum(0)
        torch.testing.assert_close(found.squares(rows[None], torch.tensor([label]))[0], white)
    assert found.log_density(x[:0], labels[:0]).shape == (0,)


def test_blocks_of_pairs_change_nothing():
    found, x = fitted(), torch.randn(7, 4, 5, generator=generator())
    classes = torch.tensor([2, 0, 0, 1, 2, 2, 1])
    whole = found._squares(x, classes, 3)
    torch.testing.assert_close(found._squares(x, classes, 3, budget=1), whole)
    torch.testing.assert_close(whole.sum(2), found.squares(x, classes))


def test_what_is_placed_has_its_distance():
    found, white = fitted(), torch.randn(2, 6, 5, generator=generator(), dtype=torch.float64)
    classes = torch.tensor([2, 0])
    torch.testing.assert_close(found.squares(found.place(white, classes), classes), white.square().sum(2))


@pytest.mark.parametrize(
    ("count", "dim", "scale"),
    [(2, 300, 1.0), (30, 20, 1e4), (30, 20, 1e-4), (30, 20, 0.0)],
    ids=["few", "large", "small", "constant"],
)
def test_the_calibrated_covariance_is_positive_definite(count, dim, scale):
    def rows(count, seed):
        return drawn((count,) * 3, dim, seed, scale)

    found = ClassGaussians.fit(*rows(count, 0), *rows(3, 1), NAMES, 4)
    assert found.factor.isfinite().all() and (found.factor.diagonal(dim1=1, dim2=2) > 0).all()


def test_a_singular_published_covariance_is_a_clear_error():
    values, labels = drawn((20,) * 3, 40, scale=100.0)
    values[labels == 0] *= 1e-4
    with pytest.raises(OutskirtsError, match="covariance of class 'bee' is singular: 1e-5 on its diagonal"):
        ClassGaussians.fit(values, labels, values, labels, NAMES, 2, reference_quirks=True)
    ClassGaussians.fit(values, labels, values, labels, NAMES, 2)


@pytest.mark.parametrize(
    ("counts", "unseen", "sentence"),
    [
        ((9, 1, 9), (3, 3, 3), "at least 2 vectors to vary; 'bee' has 1"),
        ((9, 9, 9), (3, 3, 0), "at least 1 vector held out, for the calibration; 'fly' has 0"),
    ],
)
def test_classes_with_too_few_vectors_are_refused(counts, unseen, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        ClassGaussians.fit(*drawn(counts), *drawn(unseen, seed=1), NAMES, 2)


def test_the_state_dict_holds_all():
    found, other = fitted(), ClassGaussians(NAMES, 5, 2)
    other.load_state_dict(found.state_dict())
    x, labels = drawn(seed=2)
    assert torch.equal(other.log_density(x, labels), found.log_density(x, labels))
    assert torch.equal(other.limits, found.limits)
