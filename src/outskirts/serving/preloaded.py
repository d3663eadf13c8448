"""What the process imports from which those that compute are copied."""

from __future__ import annotations

import signal
import sys

from . import worker

__all__ = ["worker"]

# A system that ends a service may tell each of its processes. That one ends when the server does; no other that imports
# this is meant.
if any("multiprocessing.forkserver" in word for word in sys.orig_argv):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
