"""Contracts that every part keeps, for the authors of new parts: call them in a test.

>>> from outskirts.testing import check_detector, check_generator, check_method
>>> check_detector("msp")
>>> check_method("ce")
>>> check_generator("mixup")
"""

from __future__ import annotations

from .detector import check_detector
from .generator import check_generator
from .method import check_method

__all__ = ["check_detector", "check_generator", "check_method"]
