"""A run that a test may change, and the sets to measure it on."""

import shutil

import pytest

import outskirts as osk
from outskirts import Run


@pytest.fixture
def run(finished, tmp_path):
    return Run.open(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def test(bugs):
    return osk.open(bugs / "test")


@pytest.fixture
def ood(bugs):
    return {"near": {"flies": osk.open(bugs / "flies")}, "far": {"fog": osk.open(bugs / "fog")}}
