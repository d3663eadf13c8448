"""Metrics of out-of-distribution detection with their uncertainty, under their public name.

Every function takes the scores of the in-distribution images first and of the out-of-distribution images
second, larger meaning more out-of-distribution. Definitions are in `outskirts.evaluation.metrics`, intervals
and the paired test in `outskirts.evaluation.intervals`.

>>> from outskirts import metrics
>>> metrics.auroc([0.1, 0.2, 0.3], [0.25, 0.9])
0.8333333333333333
"""

from __future__ import annotations

from .evaluation.intervals import (
    DeLong,
    Interval,
    aupr_interval,
    auroc_interval,
    balanced_accuracy_interval,
    delong_test,
    fpr_interval,
    wilson_interval,
)
from .evaluation.metrics import aupr, auroc, fpr_at_tpr

__all__ = [
    "DeLong",
    "Interval",
    "aupr",
    "aupr_interval",
    "auroc",
    "auroc_interval",
    "balanced_accuracy_interval",
    "delong_test",
    "fpr_at_tpr",
    "fpr_interval",
    "wilson_interval",
]
