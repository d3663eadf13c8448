import pytest
import torch
from scipy.stats import beta, kstest

from outskirts import OutskirtsError
from outskirts.guard.calibration import Calibration
from outskirts.seeding import generator

CLASSES = ["ant", "bee", "cat", "dog"]


def drawn(n, seed=0):
    """Scores that lie higher for some predicted classes, and those classes, of which the last is rare."""
    draws = generator(seed, "calibration")
    predicted = torch.multinomial(torch.tensor([0.5, 0.3, 0.19, 0.01]), n, replacement=True, generator=draws)
    return predicted + torch.randn(n, generator=draws), predicted


def test_one_threshold_is_a_rank_of_the_scores():
    scores, _ = drawn(199)
    made = Calibration.of(scores, 0.95)
    assert made.thresholds.item() == scores.double().sort().values[189]
    assert made.accepted(scores).sum() == 190
    assert torch.equal(made.accepted(scores), made.p_values(scores) > 0.05)
    assert not made.accepted(torch.tensor([float("nan"), float("inf")])).any()


def test_each_predicted_class_has_a_threshold_of_its_own():
    scores, predicted = drawn(1000)
    made = Calibration.per_class(scores, predicted, CLASSES, 0.95)
    assert made.pooled == ("cat", "dog"), "dog has too few images, and cat is the smallest of the others"
    for name, group in (("ant", 0), ("bee", 1)):
        of = predicted == CLASSES.index(name)
        alone = Calibration.of(scores[of], 0.95)
        assert made.thresholds[group] == alone.thresholds
        new = torch.linspace(-3, 6, 50)
        assert torch.equal(made.p_values(new, torch.full((50,), group)), alone.p_values(new))
    together = Calibration.of(scores[predicted >= 2], 0.95)
    assert made.thresholds[2] == together.thresholds
    assert torch.equal(made.accepted(scores, predicted), made.p_values(scores, predicted) > 0.05)


def test_a_class_that_is_never_predicted_shares_a_threshold():
    scores, predicted = drawn(500)
    made = Calibration.per_class(scores, predicted.clamp(max=2), CLASSES, 0.9)
    assert made.pooled == ("cat", "dog") and made.accepted(torch.tensor([-9.0]), torch.tensor([3])).all()


def test_small_classes_have_a_group_of_their_own_where_they_are_enough_together():
    predicted = torch.tensor([0] * 40 + [1] * 12 + [2] * 12)
    made = Calibration.per_class(torch.arange(64.0), predicted, CLASSES[:3], 0.95)
    assert made.pooled == ("bee", "cat") and [kept.n for kept in made.promises] == [40, 24]


def test_too_few_images_are_refused_and_counted():
    with pytest.raises(OutskirtsError, match="takes at least 19 calibration images, and there are 18"):
        Calibration.per_class(torch.arange(18.0), torch.zeros(18, dtype=torch.long), CLASSES, 0.95)
    with pytest.raises(OutskirtsError, match="takes at least 19 calibration images, and there is 1"):
        Calibration.of(torch.ones(1), 0.95)
    with pytest.raises(OutskirtsError, match="1 of 20 calibration scores are no numbers"):
        Calibration.of(torch.tensor([float("nan")] + [0.0] * 19), 0.95)


def test_tensors_and_json_make_the_same_again():
    scores, predicted = drawn(1000)
    for made in (Calibration.of(scores, 0.9, 0.95), Calibration.per_class(scores, predicted, CLASSES, 0.95)):
        again = Calibration.from_tensors(made.tensors(), made.to_json(CLASSES))
        new, classes = drawn(300, seed=5)
        assert torch.equal(again.p_values(new, classes), made.p_values(new, classes))
        assert torch.equal(again.accepted(new, classes), made.accepted(new, classes))
        assert again.sentences() == made.sentences() and again.pooled == made.pooled


def shares(calibrate, splits=400, n=600):
    """Of many calibrations, the share of a large test set that is accepted of each predicted class."""
    test, of_test = drawn(40_000, seed=999)
    kept = []
    for seed in range(splits):
        made = calibrate(*drawn(n, seed))
        accepted = made.accepted(test, of_test)
        kept.append([accepted[of_test == one].double().mean().item() for one in range(3)])
    return torch.tensor(kept)


def test_every_predicted_class_is_accepted_as_often_as_promised():
    together = shares(lambda scores, _: Calibration.of(scores, 0.9))
    apart = shares(lambda scores, predicted: Calibration.per_class(scores, predicted, CLASSES, 0.9))
    # Classes whose scores lie higher are rejected more often by one threshold for all.
    assert together[:, 0].mean() > 0.95 and together[:, 2].mean() < 0.75
    assert apart.mean(0) == pytest.approx(0.9, abs=0.012)


def test_the_spread_of_a_class_is_the_promised_one():
    n = 100
    test = torch.randn(200_000, generator=generator(1, "test")).double()
    found = []
    for seed in range(400):
        scores = torch.randn(n, generator=generator(seed, "spread"))
        made = Calibration.per_class(scores, torch.zeros(n, dtype=torch.long), CLASSES, 0.9)
        found.append((test <= made.thresholds[0]).double().mean().item())
    assert kstest(found, beta(91, 10).cdf).pvalue > 0.01
    assert kstest(found, beta(90, 11).cdf).pvalue < 0.01
