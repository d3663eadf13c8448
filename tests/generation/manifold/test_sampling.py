import pytest
import torch
from scipy.stats import chi2, ks_2samp
from torch.distributions import MultivariateNormal

from outskirts.errors import OutskirtsError
from outskirts.generation.manifold.model import Manifold, ManifoldOptions, fingerprint
from outskirts.generation.manifold.sampling import ManifoldSynthesizer
from outskirts.seeding import isolated
from outskirts.synthesis.gaussian import largest_squares
from outskirts.synthesis.outliers import Outliers

NAMES = ["ant", "bee", "fly", "gnat"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mapped(embeddings, labels, m=2, holdout=0.3, seed=0, stirred=True, **options):
    """A manifold as if it had been fitted to the embeddings, whose map is random and bends."""
    count, dim = int(labels.max()) + 1, embeddings.shape[1]
    with isolated(seed, "test"):
        manifold = Manifold(dim, NAMES[:count], m, len(labels), ManifoldOptions(hidden=8, **options))
        if stirred:
            for coupling in manifold.network.couplings:
                torch.nn.init.normal_(coupling.outputs[-1].weight, std=0.3)
    manifold.mean.copy_(embeddings.mean(0))
    manifold.scale.copy_(embeddings.std())
    manifold.held_out.copy_(torch.rand(len(labels), generator=generator(7)) < holdout)
    manifold.fingerprint = fingerprint(embeddings, labels)
    return manifold


def clouds(count=100, classes=3, dim=6, apart=8.0, seed=0):
    labels = torch.arange(count * classes) % classes
    spread = torch.linspace(0.5, 2, dim)
    return torch.randn(len(labels), dim, generator=generator(seed)) * spread + labels[:, None] * apart, labels


def fitted(data=None, **options):
    data = data or clouds()
    return ManifoldSynthesizer(**options).fit(mapped(*data), *data)


modes = pytest.mark.parametrize(
    "options",
    [{}, {"quantile": 0.99}, {"mode": "invariant"}, {"mode": "invariant", "quantile": 0.99}, {"mode": "lowest"}],
    ids=["radius", "radius beyond", "invariant", "invariant beyond", "lowest"],
)


# The law


def test_the_lowest_of_the_published_draws_are_where_chi_squared_says():
    for dim, square, ratio in ((64, 99.4, 1.247), (768, 880.0, 1.070)):
        assert chi2.ppf(1 - 10 / 3330, dim) == pytest.approx(square, abs=0.1)
        assert (square / dim) ** 0.5 == pytest.approx(ratio, abs=2e-3)
        least = largest_squares((500, 10), 3330, dim, generator())[:, -1]
        assert least.mean().item() == pytest.approx(square, rel=0.01)


def test_the_lowest_are_those_of_the_published_loop():
    data = clouds(classes=2)
    synthesizer = fitted(data, mode="lowest", draws=333, keep=5, competing_classes=0)
    made = synthesizer.sample(1000, generator())
    gaussians, g, plain = synthesizer.gaussians, generator(1), []
    for mean, factor in zip(gaussians.means, gaussians.factor):
        law = MultivariateNormal(torch.zeros(6, dtype=torch.float64), scale_tril=factor)
        for _ in range(200):
            noise = torch.randn(333, 6, generator=g, dtype=torch.float64) @ factor.T
            plain.append(mean + noise[law.log_prob(noise).topk(5, largest=False).indices])
    u, plain = synthesizer.manifold(made.values, made.labels).double(), torch.cat(plain)
    for axis in torch.eye(6, dtype=torch.float64):
        for label in range(2):
            assert ks_2samp(u[made.labels == label] @ axis, plain.view(2, 1000, 6)[label] @ axis).pvalue > 0.01
    squares = gaussians.squares(plain.view(2, -1, 6), torch.arange(2))
    assert ks_2samp(made.info["distance"], squares.flatten()).pvalue > 0.01


@modes
def test_outliers_lie_where_they_say(options):
    synthesizer = fitted(**options)
    made = synthesizer.sample(40, generator())
    u = synthesizer.manifold(made.values, made.labels).view(3, 40, 6)
    squares = synthesizer.gaussians.squares(u, torch.arange(3))
    torch.testing.assert_close(squares.flatten().float(), made.info["distance"], rtol=1e-3, atol=0)
    assert made.values.dtype == torch.float32 and made.values.isfinite().all()
    assert made.labels.tolist() == [0] * 40 + [1] * 40 + [2] * 40 and made.values.shape == (120, 6)
    # In float32, as the distances are; a limit is a double.
    assert (made.info["distance"].view(3, 40) >= synthesizer.gaussians.limits[:, None].float()).all()
    # The map of these tests has no fresh embeddings.
    assert made.info.keys() == {"distance", "rejected"}


def test_the_radius_is_even_over_its_span():
    made = fitted(span=(1.2, 2.0)).sample(500, generator())
    ratio = (made.info["distance"] / chi2.isf(0.05, 6)).sqrt()
    assert ratio.min() >= 1.2 - 1e-6 and ratio.max() <= 2 + 1e-6
    assert ks_2samp(ratio, torch.linspace(1.2, 2, 10_000)).pvalue > 0.01


@pytest.mark.parametrize("mode", ["radius", "invariant"])
def test_beyond_a_quantile_the_law_is_that_of_its_tail(mode):
    made = fitted(mode=mode, quantile=0.9).sample(500, generator())
    plain = torch.randn(100_000, 6, generator=generator(1)).square().sum(1)
    limit = chi2.ppf(0.9, 6)
    assert made.info["distance"].min() >= limit - 1e-4
    assert ks_2samp(made.info["distance"], plain[plain > limit]).pvalue > 0.01


def test_only_the_invariants_are_pushed_out():
    synthesizer = fitted(mode="invariant", span=(1.5, 1.5))
    made = synthesizer.sample(400, generator())
    u = synthesizer.manifold(made.values, made.labels).view(3, 400, 6)
    inner, outer = synthesizer.gaussians._squares(u, torch.arange(3), 4).flatten(0, 1).unbind(1)
    assert inner.max() <= chi2.median(4) * (1 + 1e-3)
    plain = torch.randn(100_000, 4, generator=generator(1)).square().sum(1)
    assert ks_2samp(inner, plain[plain < chi2.median(4)]).pvalue > 0.01
    torch.testing.assert_close(inner + outer, torch.full_like(inner, 1.5**2 * chi2.isf(0.05, 6)), rtol=1e-3, atol=0)


def test_the_published_form():
    data = clouds()
    synthesizer = fitted(data, reference_quirks=True, mode="radius", competing_classes=3)
    made = synthesizer.sample(100, generator())
    # Ten sets of 3330 draws, ten of each; the covariance is not scaled.
    assert made.info["distance"].view(3, 10, 10).amin().item() > chi2.isf(30 / 3330, 6)
    u, (x, labels) = synthesizer.manifold, data
    for label in range(3):
        rows = (labels == label) & ~u.held_out
        expected = u(x[rows], labels[rows]).T.cov() + 1e-5 * torch.eye(6)
        factor = synthesizer.gaussians.factor[label]
        torch.testing.assert_close(factor @ factor.T, expected, rtol=1e-3, atol=1e-5)
    assert made.info["rejected"] == 0 and synthesizer.nearest.shape == (3, 0)


# Held-out embeddings: the real test


@pytest.fixture(scope="module")
def wide():
    """500 embeddings of each class in 768 dimensions, as published, 100 fresh ones, and 500 that nothing has seen."""
    labels = torch.arange(1200) % 2
    seen, unseen = (torch.randn(2000, 768, generator=generator()) * 0.017).split(1000)
    x = torch.cat([seen, torch.randn(200, 768, generator=generator(1)) * 0.017])
    # The map is a rotation alone, as it begins.
    manifold = mapped(x, labels, m=40, blocks=1, stirred=False)
    manifold.held_out[:1000] = torch.rand(1000, generator=generator(7)) < 0.1
    manifold.held_out[1000:] = False
    manifold.fresh[1000:] = True
    return manifold, x, labels, unseen


@pytest.mark.parametrize("mode", ["published", "lowest", "radius", "invariant"])
def test_outliers_are_less_likely_than_unseen_embeddings_but_for_the_published(wide, mode):
    manifold, x, labels, unseen = wide
    quirks = mode == "published"
    synthesizer = ManifoldSynthesizer("lowest" if quirks else mode, competing_classes=0, reference_quirks=quirks)
    made = synthesizer.fit(manifold, x, labels).sample(100, generator())
    picked = synthesizer.log_prob(made.values, made.labels)
    fit, held, fresh = manifold.fitted_to, manifold.held_out, manifold.fresh

    def less_likely(embeddings, of):
        """The share of outliers that are less likely than 95 % of their class."""
        known = synthesizer.log_prob(embeddings, of)
        limits = torch.stack([known[of == label].quantile(0.05) for label in range(2)])
        return (picked < limits[made.labels]).double().mean().item()

    assert less_likely(x[fit], labels[fit]) == 1
    assert less_likely(x[held], labels[held]) == (0 if quirks else pytest.approx(1, abs=0.02))
    assert less_likely(x[fresh], labels[fresh]) == pytest.approx(made.info["below_fresh"].item(), abs=0.03)
    if quirks:
        assert less_likely(unseen, labels[:1000]) == made.info["below_fresh"] == 0
        # Every one of them.
        assert synthesizer.log_prob(unseen, labels[:1000]).max() < picked.min()
    else:
        assert less_likely(unseen, labels[:1000]) >= 0.9
        assert (made.info["distance"].view(2, 100) >= synthesizer.gaussians.limits[:, None].float()).all()
        # Not 1 by construction: the limit of 100 fresh embeddings of a class is 1 % of the squared distance off, so
        # that some outliers between 1 and 1.5 times the radius of the held-out ones lie within it.
        assert made.info["below_fresh"] >= 0.95
        placed = manifold(unseen, labels[:1000]).view(500, 2, 768).transpose(0, 1)
        beyond = synthesizer.gaussians.squares(placed, torch.arange(2)) > synthesizer.gaussians.limits[:, None]
        assert made.info["fresh_beyond"].item() == pytest.approx(beyond.double().mean().item(), abs=0.07)


# Density


def test_the_density_of_a_rotation_is_a_gaussian_of_the_embeddings():
    data = clouds(classes=2)
    manifold = mapped(*data, blocks=0)
    synthesizer = ManifoldSynthesizer().fit(manifold, *data)
    fresh, labels = clouds(classes=2, seed=1)
    turn = manifold.network.rotations()[0].detach().double()
    for label in range(2):
        mean, factor = synthesizer.gaussians.means[label], synthesizer.gaussians.factor[label]
        covariance = turn.T @ factor @ factor.T @ turn * manifold.scale**2
        law = MultivariateNormal(turn.T @ mean * manifold.scale + manifold.mean, covariance)
        rows = fresh[labels == label]
        found = synthesizer.log_prob(rows, labels[labels == label])
        torch.testing.assert_close(found, law.log_prob(rows.double()), rtol=1e-3, atol=1e-3)


def test_the_density_of_a_bent_map_integrates_to_one():
    data = clouds(classes=1, dim=2)
    synthesizer = ManifoldSynthesizer().fit(mapped(*data, m=1), *data)
    steps, spacing = torch.arange(-15, 15, 0.1), 0.1
    grid = torch.cartesian_prod(steps, steps)
    density = synthesizer.log_prob(grid, torch.zeros(len(grid), dtype=torch.int64)).exp()
    assert (density.sum() * spacing**2).item() == pytest.approx(1, abs=0.01)


# Other classes


def test_what_is_typical_of_another_class_is_dropped():
    data = clouds(classes=3, dim=3, apart=2.0)
    manifold = mapped(*data, m=1)
    kept, all_of_them = (
        ManifoldSynthesizer(competing_classes=competing_classes).fit(manifold, *data) for competing_classes in (2, 0)
    )
    made, plain = kept.sample(200, generator()), all_of_them.sample(200, generator())
    assert plain.info["rejected"] == 0 < made.info["rejected"] < 1
    shares = []
    for outliers in (made, plain):
        typical = torch.zeros(600, dtype=torch.bool)
        for label in range(3):
            u = manifold(outliers.values, torch.full((600,), label))
            inside = kept.gaussians.squares(u[None], torch.tensor([label]))[0] < kept.gaussians.limits[label]
            typical |= inside & (outliers.labels != label)
        shares.append(typical.double().mean().item())
    assert shares[0] == 0 and shares[1] > 0.1
    assert made.info["rejected"].item() == pytest.approx(shares[1], abs=0.08)
    assert (torch.bincount(made.labels) == 200).all() and made.values.isfinite().all()


def test_rivals_are_the_classes_with_the_nearest_means():
    data = clouds(classes=4, apart=3.0)
    # Means at 0, 3, 6 and 9 in every dimension.
    nearest = ManifoldSynthesizer(competing_classes=2).fit(mapped(*data), *data).nearest
    assert [set(row) for row in nearest.tolist()] == [{1, 2}, {0, 2}, {1, 3}, {1, 2}]
    assert ManifoldSynthesizer(competing_classes=99).fit(mapped(*data), *data).nearest.shape == (4, 3)
    one = clouds(classes=1)
    assert len(ManifoldSynthesizer().fit(mapped(*one), *one).sample(3, generator())) == 3


def test_blocks_of_pairs_change_nothing():
    data = clouds(classes=3, dim=3, apart=2.0)
    made = [fitted(data, budget=budget).sample(50, generator()) for budget in (1, 2**26)]
    torch.testing.assert_close(made[0].values, made[1].values)


def test_a_class_within_another_is_a_clear_error():
    x, labels = clouds(classes=3, dim=3, apart=0.0)
    x[labels == 1] *= 0.02
    x[labels == 2] += 100
    manifold = mapped(x, labels, m=1, stirred=False)
    synthesizer = ManifoldSynthesizer().fit(manifold, x, labels)
    sentence = r"Of 600 outliers drawn of class 'bee', \d+ are typical of another class, most often of 'ant'"
    with pytest.raises(OutskirtsError, match=sentence):
        synthesizer.sample(30, generator())
    assert len(ManifoldSynthesizer(competing_classes=0).fit(manifold, x, labels).sample(30, generator())) == 90


# Randomness, files and errors


@modes
def test_outliers_are_the_generators_alone(options):
    synthesizer, state = fitted(**options), torch.get_rng_state()
    one, two, other = (synthesizer.sample(5, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.values, two.values) and not torch.equal(one.values, other.values)
    assert not one.values.requires_grad


@pytest.mark.parametrize("each", [0, 1, 7, 25])
def test_there_are_as_many_of_each_class_as_asked_for(each):
    made = fitted(mode="lowest").sample(each, generator())
    assert made.values.shape == (3 * each, 6) and made.info["distance"].shape == (3 * each,)
    assert torch.bincount(made.labels, minlength=3).tolist() == [each] * 3


def test_outliers_can_be_saved(tmp_path):
    made = fitted().sample(5, generator())
    made.save(tmp_path / "outliers.safetensors")
    found = Outliers.load(tmp_path / "outliers.safetensors")
    assert torch.equal(found.values, made.values) and found.info.keys() == made.info.keys()


def test_a_saved_manifold_makes_the_same(tmp_path):
    data = clouds()
    manifold = mapped(*data)
    manifold.save(tmp_path)
    made = [
        ManifoldSynthesizer().fit(each, *data).sample(5, generator()) for each in (manifold, Manifold.load(tmp_path))
    ]
    assert torch.equal(made[0].values, made[1].values)


def test_it_takes_the_embeddings_of_the_manifold():
    x, labels = clouds()
    manifold = mapped(x, labels)
    for changed in ((x + 1, labels), (x, 2 - labels), (x[:-1], labels[:-1])):
        with pytest.raises(OutskirtsError, match="fitted to other embeddings; pass those, in the same order"):
            ManifoldSynthesizer().fit(manifold, *changed)


def test_it_takes_something_fitted():
    with pytest.raises(OutskirtsError, match="no manifold yet; call fit first"):
        ManifoldSynthesizer().sample(1, generator())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "radios"}, "not 'radios'; did you mean 'radius'"),
        ({"keep": 0}, "keep must be from 1 to the number of draws, 3330, not 0"),
        ({"keep": 6, "draws": 5}, "keep must be from 1 to the number of draws, 5, not 6"),
        ({"competing_classes": -1}, "competing_classes must be at least 0, and budget at least 1; they are -1"),
        ({"span": (2.0, 1.0)}, "span must go from a positive number to an equal or larger one, not from 2.0 to 1.0"),
        ({"span": (0.0, 1.0)}, "not from 0.0 to 1.0"),
        ({"mode": "invariant", "span": (0.9, 1.0)}, "span must begin at 1 or more, not 0.9"),
        ({"quantile": 0.3}, "quantile must be from 0.5 to less than 1, not 0.3"),
        ({"quantile": 1.0}, "quantile must be from 0.5 to less than 1, not 1.0"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        ManifoldSynthesizer(**options)


def test_a_claim_is_tested_on_embeddings_that_had_no_part_in_the_fit():
    """Of many classes: 5 % of fresh embeddings lie beyond the limit, and not all outliers beyond 95 % of those."""
    labels = torch.arange(8000) % 4
    x = torch.randn(8000, 6, generator=generator(3)) + labels[:, None] * 40
    manifold = mapped(x, labels, holdout=0.2, stirred=False)
    manifold.fresh.copy_(~manifold.held_out & (torch.rand(8000, generator=generator(4)) < 0.25))
    synthesizer = ManifoldSynthesizer(span=(1.0, 1.2)).fit(manifold, x, labels)
    made = synthesizer.sample(500, generator())
    # About 1600 fresh embeddings: a standard error of .006, and as much of the limit.
    assert made.info["fresh_beyond"].item() == pytest.approx(0.05, abs=0.03)
    u = manifold(x, labels)
    below = []
    for label in range(4):
        rows = manifold.fresh & (labels == label)
        limit = synthesizer.gaussians.squares(u[rows][None], torch.tensor([label]))[0].quantile(
            0.95, interpolation="higher"
        )
        below.append(made.info["distance"][made.labels == label] > limit)
    assert made.info["below_fresh"].item() == pytest.approx(torch.cat(below).double().mean().item(), abs=1e-6)
    assert 0.8 < made.info["below_fresh"] <= 1


def test_classes_without_fresh_embeddings_are_left_out_of_the_claim():
    x, labels = clouds()
    manifold = mapped(x, labels)
    manifold.fresh.copy_(~manifold.held_out & (labels == 1))
    manifold.fresh[labels == 1] &= torch.arange(100) % 2 == 0
    made = ManifoldSynthesizer(span=(1.3, 2)).fit(manifold, x, labels).sample(50, generator())
    synthesizer = ManifoldSynthesizer(span=(1.3, 2)).fit(manifold, x, labels)
    assert synthesizer.fresh_limits.isfinite().tolist() == [False, True, False]
    beyond = made.info["distance"].view(3, 50)[1] > synthesizer.fresh_limits[1]
    assert made.info["below_fresh"].item() == pytest.approx(beyond.double().mean().item())
