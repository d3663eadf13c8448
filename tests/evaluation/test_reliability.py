"""Confidence and accuracy in bins, against a loop over images."""

import numpy as np
import pytest

from outskirts import OutskirtsError
from outskirts.evaluation.reliability import reliability


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_every_image_is_in_one_bin(bins):
    random = np.random.default_rng(bins)
    confidences = np.concatenate([random.random(200), [0.0, 0.25, 0.5, 1.0]])
    right = random.random(204) < confidences
    found = reliability(confidences, right, bins)
    error = 0.0
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        inside = (confidences > low) & (confidences <= high) | ((confidences == 0) & (place == 0))
        assert found.counts[place] == inside.sum()
        if inside.any():
            assert found.confidence[place] == pytest.approx(confidences[inside].mean())
            assert found.accuracy[place] == pytest.approx(right[inside].mean())
            error += inside.mean() * abs(confidences[inside].mean() - right[inside].mean())
    assert found.counts.sum() == 204 and found.error == pytest.approx(error)
    assert found.gap == pytest.approx(confidences.mean() - right.mean())


def test_an_empty_bin_counts_nothing():
    found = reliability([0.9, 0.95], [True, True], 10)
    assert np.isnan(found.accuracy[:8]).all() and found.error == pytest.approx(0.075)


@pytest.mark.parametrize("confidences", [[], [1.5], [float("nan")], [[0.5]], [0.5, 0.5]])
def test_what_is_no_confidence_is_told(confidences):
    with pytest.raises(OutskirtsError):
        reliability(confidences, [True] if confidences else [])
