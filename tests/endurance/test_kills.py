"""A few kills of each command; CONTRIBUTING.md has the command for hundreds."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_killed_commands_give_the_same_files(tmp_path):
    program = Path(__file__).with_name("kills.py")
    command = [sys.executable, program, "--kills", "12", "--out", tmp_path / "kills"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
