r"""Whether new images are still rejected as rarely as the threshold promises.

Of n calibration scores, k − 1 are below the threshold. After t new images, of which S were rejected, the next score
is equally likely to take each of the n + 1 + t places among the scores so far, and a + S of these are above the
threshold, a = n + 1 − k. So the next image is rejected with the probability

.. math:: p_t = \frac{a + S}{n + 1 + t}

whatever scores look like, as long as images are exchangeable with the calibration images. The same law says that the
unknown share that this threshold rejects follows a Beta distribution with the parameters a and k.

A bet that the share has risen to q multiplies its stake by q / p_t where an image is rejected, and by
(1 − q) / (1 − p_t) where it is accepted. While images are exchangeable, no bet gains or loses on average. Bets on 16
shares above the promise begin at every image. Their stakes sum to 1: after t images, 1 / log₂(t + 2) is not yet staked.
The evidence E is the value of all bets, with what is not yet staked. It begins at 1 and is 1 on average at every time,
and it is never negative. So the probability that it ever reaches 1/α is at most α, however long one watches and
whenever one looks (Ville's inequality). A bet that begins after a long quiet has lost nothing before. All bets on one
share are worth one number together, since each gains the same factor.

This is exact where no two scores are equal. Where scores are equal to the threshold, fewer images are rejected than the
law says.

References:
    | Testing Randomness Online (Vovk, 2021)
    | https://arxiv.org/abs/1906.09256
    | E-detectors: a nonparametric framework for sequential change detection (Shin, Ramdas and Rinaldo, 2024)
    | https://arxiv.org/abs/2203.03532
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log2
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..contents import misfit
from ..errors import OutskirtsError
from ..texts import counted, verb
from .threshold import require_share

__all__ = ["Drift", "Evidence"]

#: The odds of the shares on which bets are made, as multiples of the odds of the promise: from 1.4 to 256.
_ODDS = 2 ** (np.arange(1, 17) / 2)

#: Bets gain no more beyond this, long after any alarm, so that they stay finite.
_MOST = 1e300


class Evidence:
    """The evidence against a threshold's promise, of one stream of images or of many at once.

    Arguments:
        n: Number of calibration scores.
        rank: The threshold is the score of this rank among them, the smallest having rank 1.
        streams: Number of streams R.

    Attributes:
        images: Number of images of each stream so far.
        rejected: Number of images that were rejected, [R].
        bets: The value of all bets on each of K shares, [R, K].

    Raises:
        OutskirtsError: If there is no such rank.
    """

    def __init__(self, n: int, rank: int, streams: int = 1):
        if not 1 <= rank <= n:
            raise OutskirtsError(
                f"The rank of a threshold among {counted(n, 'calibration score')} is from 1 to {n:,}, not {rank:,}."
            )
        self.n, self.rank = n, rank
        self.images = 0
        self.rejected = np.zeros(streams, np.int64)
        self.bets = np.zeros((streams, len(_ODDS)))
        odds = _ODDS * (n + 1 - rank) / rank
        #: The probability of each verdict, accepted and rejected, at each share, [2, K].
        self._shares = np.stack([1 / (1 + odds), odds / (1 + odds)])

    @property
    def value(self) -> npt.NDArray[np.float64]:
        """The evidence, [R]."""
        value: npt.NDArray[np.float64] = self.bets.sum(axis=1) + _not_staked(self.images)
        return value

    def add(self, rejected: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Take the verdict on one more image of each stream, [R], and return the evidence, [R]."""
        stake = _not_staked(self.images) - _not_staked(self.images + 1)
        above, places = self.n + 1 - self.rank + self.rejected, self.n + 1 + self.images
        expected = np.where(rejected, above, places - above) / places
        gains = self._shares[rejected.astype(np.intp)] / expected[:, None]
        self.bets = np.minimum((self.bets + stake / len(_ODDS)) * gains, _MOST)
        self.rejected = self.rejected + rejected
        self.images += 1
        return self.value


def _not_staked(images: int) -> float:
    return 1 / log2(images + 2)


@dataclass(eq=False)
class Drift:
    """A watch over the share of new images that a threshold rejects, image by image.

    The alarm is raised when the evidence reaches 1/α. It stays. While images are exchangeable with the calibration
    images, the probability that it is ever raised is at most α. Only more rejections than promised raise it.

    Arguments:
        n: Number of calibration scores.
        rank: The threshold is the score of this rank among them, the smallest having rank 1.
        alpha: Probability that an alarm is ever raised while nothing has changed, above 0 and below 1.

    Raises:
        OutskirtsError: If there is no such rank, or α is not between 0 and 1.

    >>> drift = Drift(n=1000, rank=951)
    >>> drift.update([False] * 18 + [True] * 2)
    False
    >>> drift.update([True] * 10), drift.first_alarm
    (True, 22)
    """

    n: int
    rank: int
    alpha: float = 0.01
    first_alarm: int | None = field(default=None, init=False)
    """The number of the image that raised the alarm, from 1; None before."""

    def __post_init__(self) -> None:
        require_share("The probability α of a false alarm", self.alpha)
        self._evidence = Evidence(self.n, self.rank)
        #: How many images there were, and how many were rejected, when the evidence was last at most 1 before an alarm.
        self._quiet = 0, 0

    @property
    def images(self) -> int:
        """How many images there were."""
        return self._evidence.images

    @property
    def rejected(self) -> int:
        """How many of them were rejected."""
        return int(self._evidence.rejected[0])

    @property
    def promised(self) -> float:
        """The share of images that is rejected while nothing has changed, on average over calibrations."""
        return (self.n + 1 - self.rank) / (self.n + 1)

    @property
    def e_value(self) -> float:
        """The evidence that more images are rejected than promised, at least 0; 1 says nothing, 1/α is an alarm."""
        return float(self._evidence.value[0])

    @property
    def alarm(self) -> bool:
        """Whether the evidence has ever reached 1/α."""
        return self.first_alarm is not None

    def update(self, rejected: bool | npt.ArrayLike | Tensor) -> bool:
        """Take verdicts on new images, one or [N] of them, and return whether there is an alarm.

        Images count in the order in which they come. Verdicts in blocks give the same bits as one by one.

        Raises:
            OutskirtsError: If verdicts are not true or false.
        """
        verdicts = rejected.numpy(force=True) if isinstance(rejected, Tensor) else np.asarray(rejected)
        if verdicts.size and (verdicts.dtype != np.bool_ or verdicts.ndim > 1):
            raise OutskirtsError(
                f"Verdicts are true where an image is rejected, in one list; these are {verdicts.dtype} of the shape "
                f"{list(verdicts.shape)}."
            )
        for one in verdicts.reshape(-1, 1):
            value = self._evidence.add(one)[0]
            if self.alarm:
                continue
            if value >= 1 / self.alpha:
                self.first_alarm = self.images
            elif value <= 1:
                self._quiet = self.images, self.rejected
        return self.alarm

    def state(self) -> dict[str, Any]:
        """All that the watch knows, as JSON can hold it."""
        return {
            "n": self.n,
            "rank": self.rank,
            "alpha": self.alpha,
            "first_alarm": self.first_alarm,
            "quiet": list(self._quiet),
            "images": self.images,
            "rejected": self.rejected,
            "bets": self._evidence.bets[0].tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Drift:
        """A watch that goes on where another stood, with the same bits.

        Raises:
            OutskirtsError: If the state is not one of `state`.
        """
        if wrong := misfit(dict(state), _STATE, "its state"):
            raise OutskirtsError(f"A drift cannot go on from this: {wrong}.")
        drift = cls(state["n"], state["rank"], state["alpha"])
        images, rejected, bets, quiet = (state[name] for name in ("images", "rejected", "bets", "quiet"))
        first = images if state["first_alarm"] is None else state["first_alarm"]
        fits = 0 <= rejected <= images and len(quiet) == 2 and 0 <= quiet[1] <= quiet[0] <= first <= images
        if not fits or len(bets) != len(_ODDS) or not all(0 <= bet <= _MOST for bet in bets):
            raise OutskirtsError("The state of a drift has numbers that do not fit together; begin a new watch.")
        drift.first_alarm, drift._quiet = state["first_alarm"], (quiet[0], quiet[1])
        evidence = drift._evidence
        evidence.images, evidence.rejected[0], evidence.bets[0] = images, rejected, bets
        return drift

    def __str__(self) -> str:
        if not self.images:
            return f"There was no image yet. It is promised that {self.promised:.1%} are rejected, on average."
        seen = (
            f"Of {counted(self.images, 'image')} so far, {self.rejected:,} ({self.rejected / self.images:.1%}) "
            f"{verb(self.rejected, 'were')} rejected, where {self.promised:.1%} was promised on average over "
            f"calibrations."
        )
        if not self.alarm:
            return (
                f"{seen} This could be chance: the evidence for a change is {self.e_value:.2g}, and an alarm takes "
                f"{1 / self.alpha:,.0f}. That there is no alarm does not mean that nothing has changed: images that "
                f"score below the threshold are not noticed, whatever they show."
            )
        latest, rejected = self.images - self._quiet[0], self.rejected - self._quiet[1]
        return (
            f"{seen} Of the {counted(latest, 'image')} since the evidence for a change began to rise, {rejected:,} "
            f"({rejected / latest:.1%}) {verb(rejected, 'were')} rejected. This is hardly chance: image "
            f"{self.first_alarm:,} raised the alarm, which happens at most with a probability of {self.alpha:g} while "
            f"images are like the calibration images. So the images have changed, or how they reach the classifier: "
            f"what they show, the camera, the file format, the size. The threshold no longer keeps its promise. Look "
            f"at the rejected images. If the classifier should know them, calibrate again with such images."
        )


_STATE: Mapping[str, Any] = {
    "n": int,
    "rank": int,
    "alpha": float,
    "first_alarm": (int, None),
    "quiet": [int],
    "images": int,
    "rejected": int,
    "bets": [float],
}
