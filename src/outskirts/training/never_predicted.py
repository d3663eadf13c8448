"""A warning of small classes that the network never predicts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..texts import counted, listed

__all__ = ["never_predicted"]

#: A class is small where the largest has at least as many times its images.
_TIMES = 2


def never_predicted(missed: Tensor, classes: Sequence[str], counts: Tensor, balanced: bool) -> str:
    """What is wrong and what helps, in sentences; empty if no class that is missed is small.

    Arguments:
        missed: Whether each class has validation images but is predicted for none of all, bool [C].
        classes: Names of the classes.
        counts: Training images of each class, [C].
        balanced: Whether all classes count the same in the training.

    >>> never_predicted(Tensor([0, 1]).bool(), ["cat", "dog"], Tensor([300, 15]), balanced=True)
    "The network never predicts 1 class on the validation images: 'dog' (15 training images; the largest has 300)."
    >>> never_predicted(Tensor([0, 1]).bool(), ["cat", "dog"], Tensor([300, 200]), balanced=True)
    ''
    """
    largest = int(counts.max())
    small = [c for c in missed.nonzero().flatten().tolist() if _TIMES * int(counts[c]) <= largest]
    if not small:
        return ""
    told = [(classes[c], int(counts[c])) for c in sorted(small, key=lambda c: int(counts[c]))]
    names = [f"'{name}' ({counted(count, 'training image')}; the largest has {largest:,})" for name, count in told[:1]]
    names += [f"'{name}' ({count:,})" for name, count in told[1:]]
    what = f"The network never predicts {counted(len(small), 'class')} on the validation images: {listed(names)}."
    return what if balanced else f"{what} Let all classes count the same (--class-weights balanced)."
