"""What a threshold promises, and whether the alarm and the discoveries keep their promises; no times.

    python benchmarks/drift.py [--streams 2000] [--images 10000]

Scores are drawn, so that no images are needed. Every stream and every batch has a calibration of its own. Thresholds
are to accept 95 % of in-distribution images, and at most 1 % of streams are to have a false alarm.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import numpy as np
import torch
from scipy.special import betaln
from scipy.stats import beta, binom

from outskirts.guard.drift import Evidence
from outskirts.guard.fdr import discoveries, images_to_find
from outskirts.guard.threshold import images_needed, p_values, promise
from outskirts.seeding import subseed

SIZES = (100, 200, 1000, 5000)
ALPHA = 0.01

#: Two-sided 95 % of a normal distribution.
_WIDE = 1.96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--images", type=int, default=10_000)
    given = parser.parse_args()
    thresholds()
    false_alarms(given.streams, given.images)
    by_calibration(given.streams, given.images)
    delays()
    batches(given.streams)


def thresholds() -> None:
    """What one calibration accepts, and how many images a promise takes."""
    header("n", "rank", "accepted on average", "5 to 95 % of calibrations", "rank at a confidence of 95 %")
    for n in SIZES:
        one = promise(n, 0.95)
        low, high = one.range
        sure = promise(n, 0.95, confidence=0.95).rank
        print(f"| {n:,} | {one.rank:,} | {one.expected:.2%} | {low:.1%} to {high:.1%} | {sure:,} |")
    for acceptance in (0.9, 0.95, 0.99):
        print(
            f"{acceptance:.0%} take at least {images_needed(acceptance)} calibration images, "
            f"{images_needed(acceptance, 0.95)} with a confidence of 95 %"
        )
    print()


def header(*names: str) -> None:
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")


def calibrated(n: int, streams: int, images: int, *path: str | int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """A rank, the calibration scores [R, n], the scores of new images [T, R], and whether these are rejected."""
    draws, rank = np.random.default_rng(subseed(0, "benchmark", *path)), promise(n, 0.95).rank
    calibration = np.sort(draws.random((streams, n)), axis=1)
    scores = draws.random((images, streams))
    return rank, calibration, scores, scores > calibration[:, rank - 1]


def crossed(values: Iterable[np.ndarray]) -> np.ndarray:
    """Whether the evidence of each stream ever reaches an alarm."""
    alarms = None
    for value in values:
        alarms = (value >= 1 / ALPHA) | (False if alarms is None else alarms)
    return np.asarray(alarms)


def false_alarms(streams: int, images: int) -> None:
    """How many streams of in-distribution images raise an alarm, for ours and for four other rules."""
    print(
        f"streams of {images:,} in-distribution images with an alarm, in per cent of {streams:,}, nominal {ALPHA:.0%}"
    )
    header("n", "evidence", "begun once", "share taken for known", "test at every image", "conformal martingale")
    for n in (200, 1000, 5000):
        parts = [alarms(n, streams // 4, images, part) for part in range(4)]
        shares = np.concatenate(parts, axis=1).mean(axis=1)
        print(f"| {n:,} | " + " | ".join(within(share, streams // 4 * 4) for share in shares) + " |", flush=True)
    print()


def within(share: float, trials: int) -> str:
    """A share in per cent with Wilson's 95 % interval."""
    middle = (share + _WIDE**2 / 2 / trials) / (1 + _WIDE**2 / trials)
    half = _WIDE / (1 + _WIDE**2 / trials) * (share * (1 - share) / trials + _WIDE**2 / 4 / trials**2) ** 0.5
    return f"{100 * share:.2f} ({100 * max(0, middle - half):.2f} to {100 * (middle + half):.2f})"


def alarms(n: int, streams: int, images: int, part: int) -> np.ndarray:
    """Which streams raise an alarm, by each rule, [5, R]."""
    rank, calibration, scores, rejected = calibrated(n, streams, images, "alarms", n, part)
    evidence, known = Evidence(n, rank, streams), Evidence(n * 10**9, rank * 10**9, streams)
    counts, numbers = rejected.cumsum(0), np.arange(1, images + 1)[:, None]
    # The smallest number of rejections that a test of the images so far finds too many.
    critical = binom.isf(ALPHA, numbers, (n + 1 - rank) / (n + 1)) + 1
    return np.stack(
        [
            crossed(evidence.add(row) for row in rejected),
            crossed(begun_once(n, rank, rejected)),
            crossed(known.add(row) for row in rejected),
            (counts >= critical).any(0),
            crossed(martingale(calibration, scores)),
        ]
    )


def begun_once(n: int, rank: int, rejected: np.ndarray) -> Iterable[np.ndarray]:
    """The evidence of bets on the same shares that all begin with the first image, in closed form."""
    odds = 2 ** (np.arange(1, 17) / 2) * (n + 1 - rank) / rank
    images, counts = np.arange(1, len(rejected) + 1)[:, None], rejected.cumsum(0)
    law = betaln(n + 1 - rank + counts, rank + images - counts) - betaln(n + 1 - rank, rank)
    value = np.full(counts.shape, -np.inf)
    for q in odds / (1 + odds):
        value = np.logaddexp(value, counts * np.log(q) + (images - counts) * np.log1p(-q) - law)
    return np.exp(np.minimum(value, 700.0)) / len(odds)


def martingale(calibration: np.ndarray, scores: np.ndarray) -> Iterable[np.ndarray]:
    """The mean of nine power martingales on the p-values of one fixed calibration, ties broken at random."""
    n = calibration.shape[1]
    above = n - np.stack([np.searchsorted(one, own) for one, own in zip(calibration, scores.T)], axis=1)
    values = (above + np.random.default_rng(0).random(above.shape)) / (n + 1)
    powers = np.arange(1, 10) / 10
    logs = np.zeros((scores.shape[1], len(powers)))
    for row in values:
        logs = logs + np.log(powers) + (powers - 1) * np.log(row)[:, None]
        yield np.exp(logs).mean(1)


def by_calibration(streams: int, images: int, n: int = 1000) -> None:
    """How many streams raise an alarm with a calibration that rejects few or many."""
    rank = promise(n, 0.95).rank
    print(f"the same for n = {n:,}, by the share that the calibration at hand rejects")
    header("percentile of calibrations", "share rejected", "streams with an alarm")
    for percentile in (0.05, 0.5, 0.95, 0.99):
        share = beta(n + 1 - rank, rank).ppf(percentile)
        draws, evidence = np.random.default_rng(subseed(0, "by calibration")), Evidence(n, rank, streams)
        found = crossed(evidence.add(draws.random(streams) < share) for _ in range(images))
        print(f"| {percentile:.0%} | {share:.2%} | {within(found.mean(), streams)} |", flush=True)
    print()


def delays(streams: int = 400, n: int = 1000, after: int = 4000) -> None:
    """How many images it takes to an alarm once more are rejected, at once and after a long quiet."""
    print(f"images to an alarm, n = {n:,}: median (5 to 95 % of {streams} streams)")
    header("images before", "share rejected then", "evidence", "begun once")
    for quiet in (0, 5000):
        for share in (0.07, 0.1, 0.2, 0.5, 1.0):
            rank, _, _, rejected = calibrated(n, streams, quiet + after, "delays", quiet)
            draws = np.random.default_rng(subseed(0, "then", str(share)))
            rejected[quiet:] = draws.random((after, streams)) < share
            evidence = Evidence(n, rank, streams)
            ours = np.stack([evidence.add(row) for row in rejected])
            print(
                f"| {quiet:,} | {share:.0%} | {waited(ours, quiet)} | {waited(begun_once(n, rank, rejected), quiet)} |"
            )
    print(flush=True)


def waited(values: np.ndarray, quiet: int) -> str:
    """How many images after a quiet the evidence takes to an alarm, of the streams that had none before."""
    above = values >= 1 / ALPHA
    late = above[quiet:, ~above[:quiet].any(0)]
    images = np.where(late.any(0), late.argmax(0) + 1, np.inf)
    low, middle, high = (
        f"{image:,.0f}" if np.isfinite(image) else f"above {len(late):,}"
        for image in np.quantile(images, (0.05, 0.5, 0.95), method="closest_observation")
    )
    return f"{middle} ({low} to {high})"


def batches(trials: int, n: int = 1000, images: int = 100, unknown: int = 10, level: float = 0.1) -> None:
    """The share of in-distribution images among those that are declared, by discoveries and by a threshold."""
    draws, shares, found = torch.Generator().manual_seed(subseed(0, "batches")), [], []
    for _ in range(trials):
        calibration = torch.randn(n, generator=draws, dtype=torch.float64).sort().values
        scores = torch.randn(images, generator=draws, dtype=torch.float64)
        scores[:unknown] += 3
        values = p_values(calibration, scores)
        declared = [discoveries(values, level), values <= level]
        shares.append([float(one[unknown:].sum() / one.sum().clamp(min=1)) for one in declared])
        found.append([float(one[:unknown].double().mean()) for one in declared])
    error = _WIDE * np.std(shares, axis=0) / trials**0.5
    print(f"{trials:,} batches of {images} images, {unknown} of them out-of-distribution, n = {n:,}, level {level:g}")
    header("rule", "ID images among those declared", "OOD images declared")
    for name, *row in zip(("discoveries", "p-value at most the level"), np.mean(shares, 0), error, np.mean(found, 0)):
        print(f"| {name} | {row[0]:.1%} ± {row[1]:.1%} | {row[2]:.0%} |")
    for one in (level, level / 2):
        needed = images_to_find(1, images, one)
        print(f"to declare a single one of {images} at a level of {one:g} takes {needed:,} calibration images")


if __name__ == "__main__":
    main()
