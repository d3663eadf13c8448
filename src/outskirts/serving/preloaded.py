"""What the process imports from which those that compute are copied."""

from __future__ import annotations

import signal

from . import worker

__all__ = ["worker"]

# A system that ends a service may tell each of its processes. This one ends when the server does.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
