import numpy as np
import pytest
import torch
from scipy.stats import chi2, ks_2samp, kstest
from torch.distributions import MultivariateNormal

from outskirts.errors import OutskirtsError
from outskirts.synthesis.gaussian import GaussianSynthesizer, largest_squares, shrunk


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def bank(filled, dim=4, size=None, seed=0, scale=1.0):
    """Features of several classes, correlated, and NaN where none has been written."""
    filled = torch.tensor(filled)
    mixing = torch.randn(dim, dim, generator=generator(99))
    values = torch.randn(len(filled), size or int(filled.max()), dim, generator=generator(seed)) @ mixing * scale
    values += torch.arange(len(filled))[:, None, None] * 10.0
    valid = torch.arange(values.shape[1]) < filled[:, None]
    return values.masked_fill(~valid[..., None], torch.nan), filled


def naive(means, factor, draws, keep, generator):
    """The published way: draw all, keep those of lowest density."""
    gaussian = MultivariateNormal(torch.zeros(len(factor)), scale_tril=factor)
    made = []
    for mean in means:
        noise = torch.randn(draws, len(factor), generator=generator) @ factor.T
        made.append(mean + noise[gaussian.log_prob(noise).topk(keep, largest=False).indices])
    return torch.cat(made)


# The law


@pytest.mark.parametrize(("draws", "dim"), [(50, 1), (200, 7), (30, 100), (3, 4)])
def test_largest_squares_have_the_law_of_the_largest_of_many(draws, dim):
    made = largest_squares((1500, 3), draws, dim, generator())
    drawn = torch.randn(1500, draws, dim, generator=generator(1)).square().sum(2).topk(3).values
    assert made.shape == (1500, 3) and (made.diff(dim=1) <= 0).all()
    for rank in range(3):
        assert ks_2samp(made[:, rank], drawn[:, rank]).pvalue > 0.01
    # Jointly, too: the gaps between them.
    assert ks_2samp(made[:, 0] - made[:, 2], drawn[:, 0] - drawn[:, 2]).pvalue > 0.01


def test_the_largest_of_ten_thousand_has_its_law_exactly():
    made = largest_squares((4000, 1), 10_000, 512, generator())[:, 0].double().numpy()
    assert kstest(chi2.cdf(made, 512) ** 10_000, "uniform").pvalue > 0.01


def test_two_dimensions_by_hand():
    # The squares are exponential with mean 2; the largest of n has the mean 2 (1 + 1/2 + … + 1/n).
    made = largest_squares((200_000, 2), 100, 2, generator()).double().mean(0)
    harmonic = sum(1 / k for k in range(1, 101))
    assert made.tolist() == pytest.approx([2 * harmonic, 2 * (harmonic - 1)], rel=0.005)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-24])
def test_the_extremes_of_a_uniform_number_are_finite(monkeypatch, uniform):
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: torch.full(args[0], uniform))
    made = largest_squares((1, 1), 10_000, 2048, generator())
    assert made.isfinite().all() and made.item() > 0


@pytest.mark.parametrize("keep", [1, 3])
def test_outliers_have_the_law_of_those_drawn_the_published_way(keep):
    values, filled = bank([60, 60], dim=3)
    synthesizer = GaussianSynthesizer(2, 3, draws=80, keep=keep)
    synthesizer._estimate(values, filled)
    made = synthesizer._drawn(torch.arange(2).repeat(800), 1600 * keep, generator()).values
    drawn = naive(synthesizer.means.repeat(800, 1), synthesizer.factor, 80, keep, generator(1))
    assert made.shape == drawn.shape
    for axis in torch.eye(3).unbind() + torch.randn(3, 3, generator=generator(2)).unbind():
        assert ks_2samp(made @ axis, drawn @ axis).pvalue > 0.01
    if keep > 1:
        apart = [rows.view(-1, keep, 3).diff(dim=1).norm(dim=2).flatten() for rows in (made, drawn)]
        assert ks_2samp(*apart).pvalue > 0.01


def test_outliers_lie_at_their_distance():
    synthesizer = GaussianSynthesizer(2, 4, draws=1000, keep=5)
    made = synthesizer(*bank([50, 80]), generator())
    off = (made.values - synthesizer.means[made.labels]).double()
    precision = torch.linalg.inv((synthesizer.factor @ synthesizer.factor.T).double())
    torch.testing.assert_close((off @ precision * off).sum(1).float(), made.info["distance"], rtol=1e-3, atol=0)
    assert made.labels.tolist() == [0] * 5 + [1] * 5
    assert made.info["kept_distance"] == made.info["distance"].mean() > chi2.isf(0.02, 4)


# The Gaussians


def test_means_and_covariance_are_those_within_classes():
    values, filled = bank([1000, 500])
    synthesizer = GaussianSynthesizer(2, 4)
    synthesizer._estimate(values, filled)
    classes = [values[c, : filled[c]].double().numpy() for c in range(2)]
    np.testing.assert_allclose(synthesizer.means, [rows.mean(0) for rows in classes], rtol=1e-4)
    scatter = sum(np.cov(rows.T) * (len(rows) - 1) for rows in classes) / (1500 - 2)
    expected = shrunk(torch.from_numpy(scatter), 1498)
    found = (synthesizer.factor @ synthesizer.factor.T).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, torch.from_numpy(scatter), rtol=0.02, atol=0.02)


def test_blocks_of_classes_do_not_change_the_estimate():
    values, filled = bank([30, 7, 0, 25])
    whole, parts = GaussianSynthesizer(4, 4), GaussianSynthesizer(4, 4)
    whole._estimate(values, filled)
    parts._estimate(values, filled, budget=1)
    torch.testing.assert_close(dict(parts.state_dict()), dict(whole.state_dict()))


def test_rows_that_are_not_filled_and_classes_that_are_not_ready_do_not_count():
    values, filled = bank([20, 1, 0, 15], size=30)
    made = GaussianSynthesizer(4, 4, keep=2)(values, filled, generator())
    assert made.labels.tolist() == [0, 0, 3, 3] and made.info["ready"] == 0.5
    assert made.values.isfinite().all()
    synthesizer = GaussianSynthesizer(4, 4, min_rows=16)
    assert synthesizer(values, filled, generator()).labels.tolist() == [0]
    other = GaussianSynthesizer(1, 4)
    other._estimate(values[:1], filled[:1])
    torch.testing.assert_close(synthesizer.factor, other.factor)


def test_without_a_ready_class_there_are_no_outliers_and_finite_numbers():
    values, filled = bank([1, 0], size=3)
    made = GaussianSynthesizer(2, 4)(values, filled, generator())
    assert made.values.shape == (0, 4) and made.labels.shape == (0,) and made.info["distance"].shape == (0,)
    assert made.info["ready"] == 0 and made.info["kept_distance"] == 0


@pytest.mark.parametrize(
    ("filled", "dim", "scale"),
    [([3, 2], 600, 1.0), ([2], 2048, 1e3), ([300], 300, 1e-4), ([40, 40], 1, 1.0), ([50], 30, 0.0)],
    ids=["few", "large", "small", "one dimension", "constant"],
)
def test_the_covariance_is_positive_definite(filled, dim, scale):
    synthesizer = GaussianSynthesizer(len(filled), dim)
    made = synthesizer(*bank(filled, dim, scale=scale), generator())
    assert made.values.isfinite().all() and (synthesizer.factor.diagonal() > 0).all()


def test_shrinkage_fades_with_samples_and_keeps_the_trace():
    mixing = torch.randn(20, 20, generator=generator(), dtype=torch.float64)
    covariance = mixing @ mixing.T
    moved = [(shrunk(covariance, n) - covariance).norm().item() for n in (5, 50, 500, 10**6, 10**7)]
    assert moved[0] > moved[1] > moved[2] > moved[3] == pytest.approx(moved[4])
    for n in (5, 500):
        assert shrunk(covariance, n).trace().item() == pytest.approx(covariance.trace().item())


def test_shrinkage_of_few_samples_is_nearer_to_the_truth():
    truth = torch.diag(torch.linspace(0.5, 3, 40, dtype=torch.float64))
    rows = torch.randn(20, 40, generator=generator(), dtype=torch.float64) @ truth.sqrt()
    found = rows.T @ rows / 20
    assert (shrunk(found, 20) - truth).norm() < 0.5 * (found - truth).norm()


def test_several_covariances_are_shrunk_as_each_alone():
    mixing = torch.randn(3, 6, 6, generator=generator(), dtype=torch.float64)
    covariance, samples = mixing @ mixing.mT, torch.tensor([4, 40, 400])
    alone = torch.stack([shrunk(one, n) for one, n in zip(covariance, samples.tolist())])
    torch.testing.assert_close(shrunk(covariance, samples), alone)
    torch.testing.assert_close(shrunk(covariance, 40)[1], alone[1])


def test_half_precision_around_it_changes_nothing():
    values, filled = bank([50, 80])
    plain = GaussianSynthesizer(2, 4)(values, filled, generator())
    with torch.autocast("cpu", torch.bfloat16):
        made = GaussianSynthesizer(2, 4)(values, filled, generator())
    assert torch.equal(made.values, plain.values)


def test_features_that_are_not_finite_make_no_finite_outliers():
    values, filled = bank([10, 10])
    values[1, 3, 2] = torch.inf
    assert not GaussianSynthesizer(2, 4)(values, filled, generator()).values.isfinite().all()


def test_a_class_that_has_lost_its_features_is_not_ready():
    values, filled = bank([20, 20])
    synthesizer = GaussianSynthesizer(2, 4, refresh=100)
    assert len(synthesizer(values, filled, generator())) == 2
    assert synthesizer(values, filled * torch.tensor([0, 1]), generator()).labels.tolist() == [1]
    assert len(synthesizer(values, filled * 0, generator())) == 0


# Memory and randomness


def test_the_gaussians_are_estimated_every_few_calls():
    values, filled = bank([20, 20])
    synthesizer, g = GaussianSynthesizer(2, 4, refresh=3), generator()
    means = []
    for call in range(7):
        synthesizer(values + call, filled, g)
        means.append(synthesizer.means[0, 0] - values[0, :, 0].mean())
    assert torch.stack(means).round().tolist() == [0, 0, 0, 3, 3, 3, 6]


def test_waiting_for_a_ready_class_is_not_prolonged():
    values, filled = bank([20])
    synthesizer = GaussianSynthesizer(1, 4, refresh=100)
    assert len(synthesizer(values, filled * 0, generator())) == 0
    assert len(synthesizer(values, filled, generator())) == 1


def test_the_state_dict_holds_all_it_remembers():
    values, filled = bank([20, 20])
    one, two = GaussianSynthesizer(2, 4, refresh=2), GaussianSynthesizer(2, 4, refresh=2)
    one(values, filled, generator())
    two.load_state_dict(one.state_dict())
    for shift in (1, 2, 3):
        made = [each(values + shift, filled, generator()).values for each in (one, two)]
        assert torch.equal(*made)


def test_outliers_are_the_generators_alone():
    torch_state = torch.get_rng_state()
    made = [GaussianSynthesizer(2, 4)(*bank([9, 9]), generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(made[0].values, made[1].values) and not torch.equal(made[0].values, made[2].values)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert not made[0].values.requires_grad


# On its own


@pytest.mark.parametrize(("keep", "n"), [(1, 7), (3, 7), (3, 1), (2, 0)])
def test_sample_takes_the_classes_in_turn(keep, n):
    features = torch.randn(90, 4, generator=generator())
    labels = torch.arange(90) % 3
    labels[labels == 1] = 2
    labels[0] = 1
    synthesizer = GaussianSynthesizer(3, 4, keep=keep).fit(features, labels)
    made = synthesizer.sample(n, generator())
    assert made.values.shape == (n, 4) and made.info["distance"].shape == (n,)
    assert made.labels.tolist() == (([0] * keep + [2] * keep) * 7)[:n]


def test_sample_takes_something_fitted():
    with pytest.raises(OutskirtsError, match="No class has the 2 features that a Gaussian needs; call fit"):
        GaussianSynthesizer(3, 4).sample(1, generator())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep": 0}, "keep must be from 1 to the number of draws, 10000, not 0"),
        ({"keep": 6, "draws": 5}, "keep must be from 1 to the number of draws, 5, not 6"),
        ({"refresh": 0}, "refresh must be at least 1, not 0"),
        ({"min_rows": 1}, "at least 2 features for a variance; min_rows is 1"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        GaussianSynthesizer(2, 4, **options)
