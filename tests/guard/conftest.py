"""A guard on the run of the bugs, with calibration images of its own."""

import pytest
import torch

import outskirts as osk


@pytest.fixture(scope="session")
def finished(guarded):
    return guarded


@pytest.fixture(scope="session")
def calibration(draw, tmp_path_factory):
    return draw(tmp_path_factory.mktemp("calibration") / "bugs", count=40, seed=9)


@pytest.fixture(scope="session")
def guard(finished, calibration):
    return osk.Guard.fit(finished, calibration=calibration, detector="energy", acceptance=0.9)


@pytest.fixture(scope="session")
def kept(guard, tmp_path_factory):
    """Its folder; not to be changed."""
    return guard.save(tmp_path_factory.mktemp("guards") / "bugs")


@pytest.fixture(scope="session")
def same():
    """Whether two sets of verdicts are equal, bit for bit."""
    parts = "scores", "p_values", "accepted"
    return lambda one, other: all(torch.equal(getattr(one, name), getattr(other, name)) for name in parts)
