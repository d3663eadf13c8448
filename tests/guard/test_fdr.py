from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control

from outskirts import OutskirtsError
from outskirts.guard.fdr import discoveries, images_to_find, shortage
from outskirts.guard.threshold import p_values
from outskirts.seeding import generator


@pytest.mark.parametrize("level", [0.01, 0.05, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("images", [1, 2, 7, 100, 1001])
def test_against_scipy(images, level):
    draws = generator(images, "scipy")
    found = 0
    for power in (1, 3, 8):
        values = torch.rand(images, generator=draws, dtype=torch.float64) ** power
        tied = (values * 50).ceil() / 50
        for one in (values, tied):
            declared = discoveries(one, level)
            assert declared.tolist() == (false_discovery_control(one.numpy()) <= level).tolist()
            found += int(declared.sum())
    assert found or images < 100


def declared_exactly(places, n, level):
    """Benjamini and Hochberg's procedure in whole numbers, for the p-values c / (n + 1)."""
    ranked, level = sorted(places), Fraction(level)
    fits = [c for i, c in enumerate(ranked, start=1) if Fraction(c, n + 1) * len(places) <= i * level]
    return [c <= max(fits, default=0) for c in places]


@pytest.mark.parametrize("level", ["0.05", "0.1", "0.15", "0.3"])
def test_a_p_value_that_is_just_small_enough_counts(level):
    # Of p-values at the level itself, some products of floats are above it.
    for batch in range(1, 120):
        n = images_to_find(1, batch, float(level))
        places = [1] + [n + 1] * (batch - 1)
        declared = discoveries(torch.tensor(places, dtype=torch.float64) / (n + 1), float(level)).tolist()
        assert declared == declared_exactly(places, n, level)
        assert declared[0] and not any(declared[1:])
        fewer = torch.tensor([1 / n] + [1.0] * (batch - 1), dtype=torch.float64)
        assert not discoveries(fewer, float(level)).any()


@pytest.mark.parametrize("n", [19, 99, 139, 1000])
def test_p_values_of_few_calibration_images_against_whole_numbers(n):
    draws = generator(n, "whole")
    for batch in (1, 5, 30, 77):
        places = (torch.rand(batch, generator=draws) ** 6 * n).ceil().long().clamp(1).tolist()
        declared = discoveries(torch.tensor(places, dtype=torch.float64) / (n + 1), 0.2).tolist()
        assert declared == declared_exactly(places, n, "0.2")


@pytest.mark.parametrize("level", [0.1, 0.2])
def test_the_false_discovery_rate_is_at_most_the_level_with_one_calibration(level):
    draws, shares, by_threshold, power = generator(0, "fdr"), [], [], []
    for _ in range(1500):
        calibration = torch.randn(300, generator=draws, dtype=torch.float64).sort().values
        # Of 40 images of a batch, 6 are out-of-distribution.
        values = p_values(
            calibration,
            torch.randn(40, generator=draws, dtype=torch.float64) + torch.tensor([3.0] * 6 + [0.0] * 34),
        )
        for declared, kept in ((discoveries(values, level), shares), (values <= level, by_threshold)):
            kept.append(int(declared[6:].sum()) / max(1, int(declared.sum())))
        power.append(int(discoveries(values, level)[:6].sum()) / 6)
    error = np.std(shares) / len(shares) ** 0.5
    assert np.mean(shares) <= level + 3 * error
    # It is near the level times the share of in-distribution images, so that the test could fail.
    assert np.mean(shares) > level * 34 / 40 - 5 * error
    assert np.mean(by_threshold) > level + 10 * error
    assert np.mean(power) > 0.4


def test_ties_are_declared_together():
    assert discoveries(torch.full((4,), 0.05, dtype=torch.float64), 0.05).all()
    assert not discoveries(torch.full((4,), 0.0501, dtype=torch.float64), 0.05).any()


def test_images_keep_their_places():
    values = torch.tensor([0.9, 0.001, 0.5, 0.002], dtype=torch.float64)
    assert discoveries(values, 0.05).tolist() == [False, True, False, True]


def test_an_empty_batch_has_no_discoveries():
    declared = discoveries(torch.zeros(0, dtype=torch.float64), 0.05)
    assert declared.shape == (0,) and declared.dtype == torch.bool
    assert shortage(10, 0, 0.05) == ""


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.1, float("inf")])
def test_p_values_are_from_0_to_1(wrong):
    with pytest.raises(OutskirtsError, match="numbers from 0 to 1, which 1 of 3 are not"):
        discoveries(torch.tensor([0.1, wrong, 0.2], dtype=torch.float64), 0.05)


@pytest.mark.parametrize("wrong", [torch.tensor([[0.1]]), torch.tensor([0, 1]), torch.tensor(0.1)])
def test_p_values_are_floats_in_one_list(wrong):
    with pytest.raises(OutskirtsError, match="p-values are floats in one list"):
        discoveries(wrong, 0.05)


@pytest.mark.parametrize("level", [0, 1, float("nan")])
def test_a_level_is_between_0_and_1(level):
    for call in (lambda: discoveries(torch.zeros(1).double(), level), lambda: shortage(10, 10, level)):
        with pytest.raises(OutskirtsError, match="The level of the false discovery rate must be above 0 and below 1"):
            call()


@pytest.mark.parametrize("level", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("batch", [1, 10, 100])
def test_the_number_of_calibration_images_to_find_some_is_the_smallest(batch, level):
    def found(n, together):
        values = torch.ones(batch, dtype=torch.float64)
        values[:together] = 1 / (n + 1)
        return int(discoveries(values, level).sum())

    for together in {1, min(3, batch)}:
        needed = images_to_find(together, batch, level)
        assert found(needed, together) == together
        assert found(needed - 1, together) == 0


def test_what_cannot_be_found_is_said():
    assert shortage(499, 100, 0.05) == (
        "With 499 calibration images and a false discovery rate of 0.05, 4 or more of 100 images are declared "
        "out-of-distribution together, or none. To declare a single one takes 1,999 calibration images."
    )
    assert "none of 10 images can be declared out-of-distribution. To declare" in shortage(18, 10, 0.05)
    assert "10 or more of 10 images" in shortage(19, 10, 0.05)
    assert shortage(1998, 100, 0.05) and shortage(1999, 100, 0.05) == ""
