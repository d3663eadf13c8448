import pytest

from outskirts.reporting.seeds import Spread


def test_the_published_example_of_three_seeds(vectors) -> None:
    """SIO's own evaluation counts the second run twice, and leaves out the third; and it divides by n, not by n - 1."""
    v = vectors["V13_multirun"]
    mean, deviation, n = Spread.of(v["runs"])
    assert (mean, n) == (v["mean"], 3) and deviation == pytest.approx(v["std"] * (3 / 2) ** 0.5, abs=1e-12)
    assert Spread.of([90, 92]) == (91, 2**0.5, 2) and Spread.of([90]) == (90, 0, 1)
