"""A server in a process of its own, on a guard of the run of the bugs."""

import os
import re
import subprocess
import sys
from collections import deque
from contextlib import contextmanager

import pytest

import outskirts as osk


@pytest.fixture(scope="session")
def kept(guarded, draw, tmp_path_factory):
    """Folder of a guard; not to be changed."""
    calibration = draw(tmp_path_factory.mktemp("calibration") / "bugs", count=40, seed=9)
    guard = osk.Guard.fit(guarded, calibration=calibration, detector="mahalanobis", acceptance=0.9)
    return guard.save(tmp_path_factory.mktemp("guards") / "bugs")


@contextmanager
def serving(*arguments, **variables):
    """A block in which the command serves; gives the address."""
    command = [sys.executable, "-m", "outskirts", "serve", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **variables}) as process:
        try:
            said = deque(maxlen=20)
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"http://\S+", line):
                    break
            else:
                raise RuntimeError("".join(said))
            yield found.group()
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture(scope="session")
def server(kept):
    """Address of a server that needs no key."""
    with serving(kept) as address:
        yield address


@pytest.fixture(scope="session")
def strict_server(kept, bugs):
    """Address of a server with the key "open sesame", without its space, room for two images, and training images."""
    more = ("--max-queue", 2, "--train", bugs / "train")
    with serving(kept, *more, OUTSKIRTS_API_KEY="opensesame") as address:
        yield address
