"""What the validation of a training warns of: classes that are never predicted, guessing, and divergence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .. import grouped
from ..texts import counted, listed

__all__ = ["CALMER", "Validated", "concern", "diverged", "guesses", "never_predicted", "risen"]

#: A class is small where the largest has at least as many times its images.
_TIMES = 2

#: From which share of the steps on a network is expected to predict small classes, and to be better than guessing.
_SMALL_FROM, _GUESSES_FROM = 0.5, 0.2

#: Standard errors within which a balanced accuracy is that of guessing; but at most this share of the way to 1, as few
#: images tell little.
_ERRORS, _WAY = 2, 0.25

#: A loss that is as many times what guessing gives, and as much above it, is none of a network that learns.
_LOSS_TIMES, _LOSS_ABOVE = 2, 2

#: How many times the loss of the first steps is too much at the end of the first epoch.
_RISEN = 1.5

#: What to try with a training that goes wrong.
CALMER = "a lower learning rate (--lr), a longer warm-up (--warmup), or to clip gradients (--clip-norm 1)"


class Validated(NamedTuple):
    """What a validation counts.

    Arguments:
        loss: Mean cross-entropy.
        shown: Images of each class, [C].
        right: How many of them are predicted as such, [C].
        predicted: Images that are predicted as of each class, [C].
    """

    loss: float
    shown: Tensor
    right: Tensor
    predicted: Tensor


def concern(share: float, found: Validated, classes: Sequence[str], counts: Tensor, balanced: bool) -> str:
    """What should be said of a validation, in sentences; empty if all is well.

    Arguments:
        share: Share of the steps that are done.
        found: What the validation counted.
        classes: Names of the classes.
        counts: Training images of each class, [C].
        balanced: Whether all classes count the same in the training.
    """
    if text := diverged(found):
        return text
    # Where the classes' sizes explain it, other advice helps.
    if text := never_predicted((found.shown > 0) & (found.predicted == 0), classes, counts, balanced):
        return text if share >= _SMALL_FROM else ""
    return guesses(found) if share >= _GUESSES_FROM else ""


def diverged(found: Validated) -> str:
    """A warning if the loss is far above that of equal probabilities.

    >>> diverged(Validated(195.0, Tensor([50, 50]), Tensor([20, 9]), Tensor([70, 30])))[:70]
    'The validation loss is 195, and equal probabilities would give 0.693. '
    """
    even = math.log(len(found.shown))
    if found.loss <= max(_LOSS_TIMES * even, even + _LOSS_ABOVE):
        return ""
    return (
        f"The validation loss is {found.loss:.3g}, and equal probabilities would give {even:.3g}. So much is a sign of "
        f"a training that diverges. Try {CALMER}."
    )


def guesses(found: Validated) -> str:
    """A warning if the balanced accuracy is that of guessing, 1 / C, as far as so many images can tell.

    >>> guesses(Validated(0.7, Tensor([50, 50]), Tensor([49, 2]), Tensor([97, 3])))[:72]
    'The network is no better than guessing: its balanced accuracy on the val'
    >>> guesses(Validated(0.5, Tensor([50, 50]), Tensor([49, 30]), Tensor([69, 31])))
    ''
    """
    accuracies, shown = grouped.shares(found.right, found.shown), found.shown[found.shown > 0]
    chance, balanced = 1 / len(found.shown), float(accuracies.mean())
    # Each class is a mean of as many draws that are right by chance.
    error = math.sqrt(chance * (1 - chance) * float((1 / shown.double()).sum())) / len(shown)
    if balanced > chance + min(_ERRORS * error, _WAY * (1 - chance)):
        return ""
    return (
        f"The network is no better than guessing: its balanced accuracy on the validation images is {balanced:.1%}, "
        f"and guessing gives {chance:.1%}. Try {CALMER}."
    )


def risen(first: float, latest: float) -> str:
    """A warning if the training loss rose over the first epoch.

    >>> risen(2.3, 2.1), risen(2.3, 4.8)[:55]
    ('', 'The loss has risen from 2.3 to 4.8 in the first epoch. ')
    """
    if not 0 < _RISEN * first < latest:
        return ""
    return f"The loss has risen from {first:.3g} to {latest:.3g} in the first epoch. Try {CALMER}."


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
