import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import KNN, Combination, Energy
from outskirts.detectors.combination import conformal_p


@pytest.fixture
def sets():
    g = torch.Generator().manual_seed(0)
    return [Outputs(f := torch.randn(n, 5, generator=g), f[:, :3]) for n in (80, 40, 25)]


def test_the_sum_is_of_standardised_scores(sets):
    train, val, test = sets
    found = Combination(["energy", "knn:k=3"]).fit(train, val=val).score(test)
    expected = 0.0
    for detector in (Energy(), KNN(3).fit(train)):
        known = detector.score(val).double()
        expected += (detector.score(test) - known.mean()) / known.std(correction=0) / 2
    torch.testing.assert_close(found, expected)


def test_fishers_combination_counts(sets):
    train, val, test = sets
    found = Combination(["energy", "max_logit"], "fisher").fit(train, val=val).score(test)
    expected = 0.0
    for name in ("energy", "max_logit"):
        from outskirts.detectors import create

        detector = create(name)
        known, scores = detector.score(val), detector.score(test)
        p = torch.stack([(1 + (known >= score).sum()) / (1 + len(known)) for score in scores]).double()
        expected -= 2 * p.log()
    torch.testing.assert_close(found, expected)


def test_conformal_p_values_of_exchangeable_scores_are_uniform():
    scores = torch.rand(20_001, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = conformal_p(scores[10_000:], scores[:10_000].sort().values)
    for level in (0.01, 0.1, 0.5):
        assert (p <= level).double().mean() == pytest.approx(level, abs=0.015)


def test_it_is_saved_with_its_members(sets, tmp_path):
    train, val, test = sets
    detector = Combination(["knn:k=3", "max_logit"], "fisher").fit(train, val=val)
    detector.save(tmp_path / "both.safetensors")
    again = Combination.load(tmp_path / "both.safetensors")
    assert again.params == {"detectors": ["knn:k=3", "max_logit"], "rule": "fisher"}
    assert again.score(test).equal(detector.score(test))


def test_bad_input_is_an_error():
    with pytest.raises(OutskirtsError, match="two detectors or more"):
        Combination(["knn"])
    with pytest.raises(
        OutskirtsError, match="rule of the detector 'combination' must be one of sum, fisher, not 'product'"
    ):
        Combination(rule="product")
    with pytest.raises(OutskirtsError, match="energie"):
        Combination(["energie", "knn"])
