"""Training methods: one file per paper, found by name (``registry["ascood"]``)."""

from __future__ import annotations

from .base import Config, Method, register, registry

__all__ = ["Config", "Method", "register", "registry"]
