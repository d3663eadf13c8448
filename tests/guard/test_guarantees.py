"""The numbers of `docs/guarantees.md` that need no simulation."""

from pathlib import Path

import pytest

from outskirts.guard.drift import _ODDS, Drift
from outskirts.guard.fdr import images_to_find
from outskirts.guard.threshold import images_needed, promise

PAGE = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text(encoding="utf-8")
FLOWING = " ".join(PAGE.split())


@pytest.mark.parametrize("n", [100, 200, 1000, 5000])
def test_the_table_of_calibrations(n):
    one, sure = promise(n, 0.95), promise(n, 0.95, confidence=0.95)
    low, high = one.range
    row = f"| {n:,} | {one.rank:,} | {one.expected:.2%} | {low:.1%} to {high:.1%} | {sure.rank:,} |"
    assert row in PAGE


def test_the_numbers_of_images_needed():
    assert f"To accept 95 % takes at least {images_needed(0.95)} calibration images, 99 % takes " in FLOWING
    assert f"99 % takes {images_needed(0.99)}." in FLOWING
    sure = images_needed(0.95, 0.95), images_needed(0.99, 0.95)
    assert f"It takes at least {sure[0]} calibration images; for 99 %, {sure[1]}." in FLOWING
    assert f"as one threshold does: {images_needed(0.95)} for 95 %." in FLOWING
    ten, five = images_to_find(1, 100, 0.1), images_to_find(1, 100, 0.05)
    assert f"at a level of 0.1, for one of 100 images, n ≥ {ten:,}; at 0.05, n ≥ {five:,}." in FLOWING


def test_the_bets():
    assert f"on {len(_ODDS)} shares, whose odds are {_ODDS[0]:.1f} to {_ODDS[-1]:.0f} times" in FLOWING
    assert f"A stream needs {len(Drift(1000, 951).state()['bets'])} numbers" in FLOWING
    assert Drift(1000, 951).alpha == 0.01 and "α = 1 %" in FLOWING
