"""Ranges of numbers, declared in the types of arguments: ``k: Count = 50``."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated

__all__ = [
    "Between",
    "Bound",
    "Count",
    "Finite",
    "Natural",
    "NonNegative",
    "Part",
    "PartPerCent",
    "PerCent",
    "Positive",
    "PositivePerCent",
    "Share",
    "Some",
]


@dataclass(frozen=True)
class Bound:
    """The range of a number. NaN and infinite numbers are outside of every range.

    Arguments:
        least: Smallest number within.
        most: Largest number within.
        above: Number below all that are within.
        below: Number above all that are within.

    >>> 0.5 in Bound(least=0, below=1), 1 in Bound(least=0, below=1), float("nan") in Bound()
    (True, False, False)
    >>> print(Bound(least=1), Bound(above=0), Bound(least=0, below=1), sep="; ")
    at least 1; above 0; from 0 to below 1
    """

    least: float = -inf
    most: float = inf
    above: float = -inf
    below: float = inf

    def __contains__(self, number: float) -> bool:
        return self.least <= number <= self.most and self.above < number < self.below

    def __str__(self) -> str:
        low = f"above {self.above:g}" if self.above > -inf else f"at least {self.least:g}" * (self.least > -inf)
        high = f"below {self.below:g}" if self.below < inf else f"at most {self.most:g}" * (self.most < inf)
        if self.above > -inf and self.below < inf:
            return f"between {self.above:g} and {self.below:g}"
        if low and high and self.least > -inf:
            return f"from {self.least:g} to {high.removeprefix('at most ')}"
        return " and ".join(filter(None, (low, high))) or "that is finite"


#: One of several things that are counted.
Count = Annotated[int, Bound(least=1)]
#: A count that may be none.
Natural = Annotated[int, Bound(least=0)]
#: Any number that is neither infinite nor NaN.
Finite = Annotated[float, Bound()]
Positive = Annotated[float, Bound(above=0)]
NonNegative = Annotated[float, Bound(least=0)]
Share = Annotated[float, Bound(least=0, most=1)]
#: A share that is less than the whole.
Part = Annotated[float, Bound(least=0, below=1)]
PerCent = Annotated[float, Bound(least=0, most=100)]
#: A share that is neither none nor the whole.
Between = Annotated[float, Bound(above=0, below=1)]
#: A share of something that there is.
Some = Annotated[float, Bound(above=0, most=1)]
PositivePerCent = Annotated[float, Bound(above=0, most=100)]
PartPerCent = Annotated[float, Bound(least=0, below=100)]
