import itertools
import json
from math import comb, exp, inf, log, log2

import numpy as np
import pytest
import torch
from scipy.special import betaln, logsumexp
from scipy.stats import betabinom, binom

from outskirts import OutskirtsError
from outskirts.guard.drift import Drift, Evidence
from outskirts.guard.threshold import promise
from outskirts.seeding import subseed

#: Odds of the shares on which bets are made, beside those of the promise.
ODDS = [2 ** (j / 2) for j in range(1, 17)]


def draws(*path):
    return np.random.default_rng(subseed(0, "drift", *path))


def law(n, rank, images, rejected):
    """Logarithm of the probability of verdicts, in their order, if images are exchangeable."""
    return betaln(n + 1 - rank + rejected, rank + images - rejected) - betaln(n + 1 - rank, rank)


def naive(n, rank, verdicts):
    """Logarithm of the evidence, from every single bet."""
    t, s = len(verdicts), sum(verdicts)
    values = [-log(log2(t + 2))]
    for begin in range(t):
        stake = 1 / log2(begin + 2) - 1 / log2(begin + 3)
        before = sum(verdicts[:begin])
        expected = law(n, rank, t, s) - law(n, rank, begin, before)
        for odds in ODDS:
            q = odds * (n + 1 - rank) / (rank + odds * (n + 1 - rank))
            gained = (s - before) * log(q) + (t - begin - s + before) * log(1 - q)
            values.append(log(stake / len(ODDS)) + gained - expected)
    return logsumexp(values)


@pytest.mark.parametrize(("n", "rank"), [(1, 1), (19, 19), (20, 1), (200, 191), (1000, 951), (20_000, 19_990)])
def test_evidence_against_every_single_bet(n, rank):
    verdicts = draws("naive", n).random((3, 60)) < np.array([[0.0], [0.1], [0.9]])
    evidence = Evidence(n, rank, streams=3)
    for image, column in enumerate(verdicts.T, start=1):
        expected = [naive(n, rank, row[:image].tolist()) for row in verdicts]
        assert np.log(evidence.add(column)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("n", "rank"), [(1, 1), (9, 9), (19, 15), (1000, 951)])
def test_evidence_is_1_on_average_at_every_time(n, rank):
    # All sequences of ten verdicts, each with its exact probability.
    verdicts = np.array(list(itertools.product([False, True], repeat=10)))
    evidence = Evidence(n, rank, streams=len(verdicts))
    for image, column in enumerate(verdicts.T, start=1):
        value = evidence.add(column)
        probability = np.exp(law(n, rank, image, verdicts[:, :image].sum(1))) / 2 ** (10 - image)
        assert probability.sum() == pytest.approx(1, rel=1e-11)
        assert (probability * value).sum() == pytest.approx(1, rel=1e-11)


def test_the_law_of_rejections_is_that_of_scores():
    # Ten calibration scores and five new ones in every order: how many of the new ones are above the eighth smallest.
    n, rank, new = 10, 8, 5
    counts = np.zeros(new + 1)
    for places in itertools.combinations(range(n + new), new):
        calibration = [place for place in range(n + new) if place not in places]
        counts[sum(place > calibration[rank - 1] for place in places)] += 1
    expected = betabinom(new, n + 1 - rank, rank).pmf(np.arange(new + 1))
    assert counts / comb(n + new, new) == pytest.approx(expected, rel=1e-12)
    probabilities = [comb(new, s) * exp(law(n, rank, new, s)) for s in range(new + 1)]
    assert probabilities == pytest.approx(expected, rel=1e-12)


def streams_of(n, streams, images, *path):
    """The verdicts on images like the calibration images, each stream with a calibration of its own."""
    rng, rank = draws(*path), promise(n, 0.95).rank
    thresholds = np.sort(rng.random((streams, n)), axis=1)[:, rank - 1]
    return rank, rng.random((images, streams)) > thresholds


def alarms_of_evidence(n, rank, verdicts, alpha):
    evidence = Evidence(n, rank, streams=verdicts.shape[1])
    return np.any([evidence.add(row) >= 1 / alpha for row in verdicts], axis=0)


def alarms_that_take_the_share_for_known(n, rank, verdicts, alpha):
    # So many calibration images that the share of rejections has no spread.
    return alarms_of_evidence(n * 10**6, rank * 10**6, verdicts, alpha)


def alarms_of_a_test_at_every_image(n, rank, verdicts, alpha):
    images, rejected = np.arange(1, len(verdicts) + 1)[:, None], verdicts.cumsum(0)
    return (binom.sf(rejected - 1, images, (n + 1 - rank) / (n + 1)) <= alpha).any(0)


def test_false_alarms_are_as_rare_as_promised_and_those_of_wrong_tests_are_not():
    alpha, streams = 0.01, 2000
    rank, verdicts = streams_of(200, streams, 1000, "false alarms")
    at_most = streams * alpha + 3 * (streams * alpha * (1 - alpha)) ** 0.5
    assert alarms_of_evidence(200, rank, verdicts, alpha).sum() <= at_most
    assert alarms_that_take_the_share_for_known(200, rank, verdicts, alpha).sum() > 3 * at_most
    assert alarms_of_a_test_at_every_image(200, rank, verdicts, alpha).sum() > 3 * at_most


def test_equal_scores_raise_no_more_alarms():
    # Scores have eight values only, and new images must be above the threshold.
    rng, rank = draws("ties"), promise(100, 0.9).rank
    scores = rng.integers(0, 8, (2000, 100))
    thresholds = np.sort(scores, axis=1)[:, rank - 1]
    verdicts = rng.integers(0, 8, (1000, 2000)) > thresholds
    assert 0.01 < verdicts.mean() < 0.1
    assert alarms_of_evidence(100, rank, verdicts, 0.05).mean() <= 0.05


def images_to_alarm(share, quiet, streams):
    """How many images of a raised share of rejections it takes, the median over calibrations."""
    rank, verdicts = streams_of(1000, streams, quiet + 2000, "delay", quiet)
    verdicts[quiet:] = draws("delay", quiet, str(share)).random((2000, streams)) < share
    evidence = Evidence(1000, rank, streams)
    above = np.array([evidence.add(row) >= 100 for row in verdicts])
    calm = ~above[:quiet].any(0)
    assert calm.mean() > 0.9
    return np.median(np.where(above[quiet:].any(0), above[quiet:].argmax(0) + 1, inf)[calm])


@pytest.mark.parametrize(
    ("share", "quiet", "most"),
    [(0.5, 0, 10), (0.2, 0, 60), (0.1, 0, 650), (0.5, 5000, 30), (0.2, 5000, 160), (0.1, 5000, 1100)],
)
def test_a_raised_share_is_found_early_and_after_a_long_quiet(share, quiet, most):
    assert images_to_alarm(share, quiet, streams=101) <= most


@pytest.mark.parametrize("share", [0.0, 0.02, 0.04])
def test_fewer_rejections_raise_no_alarm(share):
    drift = Drift(1000, 951)
    assert not drift.update(draws("fewer").random(3000) < share)
    assert drift.e_value < 1


def test_verdicts_in_blocks_give_the_same_bits():
    verdicts = draws("blocks").random(700) < np.repeat([0.05, 0.3], [600, 100])
    one_by_one, whole, blocks, tensor = (Drift(1000, 951) for _ in range(4))
    for verdict in verdicts.tolist():
        one_by_one.update(verdict)
    whole.update(verdicts)
    for block in np.split(verdicts, [3, 3, 4, 256, 650]):
        blocks.update(block)
    tensor.update(torch.from_numpy(verdicts))
    assert one_by_one.state() == whole.state() == blocks.state() == tensor.state()
    assert whole.alarm and whole.images == 700 and whole.rejected == verdicts.sum()


@pytest.mark.parametrize("images", [0, 1, 50, 640])
def test_a_state_goes_through_json_to_the_same_bits(images):
    verdicts = draws("json").random(700) < np.repeat([0.05, 0.3], [600, 100])
    whole, part = Drift(200, 191, alpha=0.05), Drift(200, 191, alpha=0.05)
    whole.update(verdicts)
    part.update(verdicts[:images])
    again = Drift.from_state(json.loads(json.dumps(part.state(), allow_nan=False)))
    assert again.state() == part.state() and again.e_value == part.e_value
    again.update(verdicts[images:])
    assert again.state() == whole.state() and str(again) == str(whole)


def test_the_first_alarm_is_the_image_at_which_the_evidence_reaches_it():
    verdicts = draws("first").random(300) < np.repeat([0.05, 0.4, 0.0], [100, 50, 150])
    drift, values = Drift(1000, 951, alpha=0.02), []
    for verdict in verdicts.tolist():
        drift.update(verdict)
        values.append(drift.e_value)
    first = next(image for image, value in enumerate(values, start=1) if value >= 50)
    assert 100 < first < 150 and drift.first_alarm == first
    # It stays, whatever comes after.
    assert values[-1] < 50 and drift.alarm


def test_long_streams_stay_finite():
    drift = Drift(1000, 951)
    assert drift.update(np.ones(2000, bool)) and drift.first_alarm < 6
    assert 1e300 < drift.e_value < inf
    drift.update(np.ones(18_000, bool))
    assert json.loads(json.dumps(drift.state(), allow_nan=False)) == drift.state()
    assert "20,000 (100.0%)" in str(drift)
    quiet = Drift(1000, 951)
    quiet.update(np.zeros(20_000, bool))
    assert 0 < quiet.e_value < 0.1


def test_no_image():
    drift = Drift(1000, 951)
    assert (drift.e_value, drift.alarm, drift.first_alarm, drift.images, drift.rejected) == (1, False, None, 0, 0)
    assert not drift.update([]) and drift.images == 0
    assert str(drift) == "There was no image yet. It is promised that 5.0% are rejected, on average."


def test_what_it_says():
    drift = Drift(1000, 951)
    drift.update([False] * 19 + [True])
    assert str(drift).startswith("Of 20 images so far, 1 (5.0%) was rejected, where 5.0% was promised")
    assert "This could be chance" in str(drift) and "an alarm takes 100." in str(drift)
    assert "does not mean that nothing has changed" in str(drift)
    drift.update([True] * 10)
    assert "Of 30 images so far, 11 (36.7%) were rejected" in str(drift)
    assert f"image {drift.first_alarm} raised the alarm" in str(drift)
    assert "images have changed, or how they reach the classifier" in str(drift)
    assert "since the evidence for a change began to rise" in str(drift)


@pytest.mark.parametrize(("n", "rank"), [(10, 0), (10, 11), (0, 0)])
def test_a_rank_is_one_of_the_scores(n, rank):
    with pytest.raises(OutskirtsError, match=f"from 1 to {n}, not {rank}"):
        Drift(n, rank)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan")])
def test_alpha_is_a_probability(alpha):
    with pytest.raises(OutskirtsError, match="α of a false alarm must be above 0 and below 1"):
        Drift(1000, 951, alpha)


@pytest.mark.parametrize("verdicts", [[0.01, 0.3], 1, [[True], [False]], torch.tensor([1, 0]), "True"])
def test_verdicts_are_true_or_false(verdicts):
    drift = Drift(1000, 951)
    with pytest.raises(OutskirtsError, match="Verdicts are true where an image is rejected"):
        drift.update(verdicts)
    assert drift.images == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "many"}, "images of its state is 'many', not a whole number"),
        ({"alpha": 2.0}, "above 0 and below 1"),
        ({"rank": 0}, "from 1 to 1,000"),
        ({"rejected": 7}, "do not fit together"),
        ({"quiet": [1]}, "do not fit together"),
        ({"quiet": [9, 0]}, "do not fit together"),
        ({"first_alarm": 4}, "do not fit together"),
        ({"bets": [0.0] * 15}, "do not fit together"),
        ({"bets": [float("nan")] * 16}, "do not fit together"),
        ({"bets": [-0.1] * 16}, "do not fit together"),
        ({"bets": []}, "do not fit together"),
    ],
)
def test_a_damaged_state_is_refused(change, message):
    drift = Drift(1000, 951)
    drift.update([True, False, True])
    with pytest.raises(OutskirtsError, match=message):
        Drift.from_state({**drift.state(), **change})
    missing = drift.state()
    del missing["bets"]
    with pytest.raises(OutskirtsError, match="lacks 'bets'"):
        Drift.from_state(missing)
