"""How the templates write values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any

import yaml
from markupsafe import Markup, escape

__all__ = ["ALL", "as_yaml", "in_runs_of", "p_value", "parameters", "percent", "spread", "unbroken"]


def percent(share: float | None, sign: bool = False) -> str:
    """A share in per cent with one decimal, or a dash where there is none.

    >>> percent(0.9137), percent(-0.004, sign=True), percent(None)
    ('91.4', '−0.4', '–')
    """
    if share is None:
        return "–"
    return f"{100 * share:{'+' if sign else ''}.1f}".replace("-", "−")


def spread(values: tuple[float, float, int]) -> str:
    """Mean and standard deviation of shares, in per cent.

    >>> spread((0.9137, 0.0042, 2))
    '91.4 ± 0.4'
    """
    return f"{percent(values[0])} ± {percent(values[1])}"


def p_value(p: float) -> str:
    """A p-value that claims no more digits than mean something.

    >>> p_value(0.0421), p_value(3e-9)
    ('0.042', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def parameters(text: str) -> str:
    """A detector's parameters, JSON in the table of results, as they would be written in a call.

    >>> parameters('{"k": 50, "metric": "cosine"}')
    'k=50, metric=cosine'
    """
    return ", ".join(f"{key}={value}" for key, value in json.loads(text).items())


def as_yaml(value: Any) -> str:
    """Settings as they stand in a file."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()


def in_runs_of(items: Iterable[Any], *names: str) -> list[tuple[Any, list[Any]]]:
    """Neighbours with equal attributes together; Jinja's own groupby sorts, which loses the order of the runs."""
    return [(key, list(group)) for key, group in groupby(items, attrgetter(*names))]


def unbroken(text: str) -> Markup:
    """A sentence whose options, such as --prototype-momentum, are not broken at their hyphens.

    >>> print(unbroken("Try a lower --lr & go on."))
    Try a lower <span class="option">--lr</span> &amp; go on.
    """
    return Markup(re.sub(r"--\w[\w-]*", r'<span class="option">\g<0></span>', str(escape(text))))


ALL = (as_yaml, in_runs_of, p_value, parameters, percent, spread, unbroken)
