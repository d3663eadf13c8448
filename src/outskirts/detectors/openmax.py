"""OpenMax: the probability of a class that was never seen.

References:
    | Towards Open Set Deep Networks (Bendale and Boult, 2016)
    | https://arxiv.org/abs/1511.06233
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from .. import grouped
from ..bounds import Bound, Count
from ..errors import OutskirtsError
from ..extraction.blocks import blocks, in_blocks
from ..extraction.outputs import Outputs
from .base import Detector, choices, register
from .common.inputs import training_labels

__all__ = ["OpenMax", "fit_weibull"]


def fit_weibull(values: Tensor) -> tuple[Tensor, Tensor]:
    """The Weibull distribution of the largest likelihood for each row of numbers above 0.

    Its shape k is the root of a function that rises: :math:`\\sum x^k \\log x / \\sum x^k - 1/k - \\overline{\\log x}`.

    Arguments:
        values: [C, n].

    Returns:
        Shapes and scales, each [C, 1].
    """
    logs = values.log()
    # Whatever their scale, the shape is the same; and the powers cannot overflow.
    logs = logs - logs.amax(1, keepdim=True)
    low, high = values.new_full((len(values), 1), 1e-3), values.new_full((len(values), 1), 1e5)
    for _ in range(80):
        middle = (low * high).sqrt()
        weights = (middle * logs).exp()
        above = (weights * logs).sum(1, keepdim=True) / weights.sum(1, keepdim=True) - 1 / middle > logs.mean(
            1, keepdim=True
        )
        low, high = low.where(above, middle), middle.where(above, high)
    scale = ((high * logs).exp().mean(1, keepdim=True)).log() / high + values.log().amax(1, keepdim=True)
    return high, scale.exp()


def _centered(logits: Tensor) -> Tensor:
    logits = logits.double()
    return logits - logits.mean(1, keepdim=True)


@register("openmax")
class OpenMax(Detector):
    r"""The logarithm of the probability of none of the classes.

    The distances of a class's correctly classified training images to their mean logits have a tail, to which a Weibull
    distribution is fitted. Each of the largest logits loses the share that the distribution gives to distances
    below its own, the less the lower it ranks, and the logit of the unknown class is the sum of what they lose.
    As in its published library, a tail is moved so that it begins at 1. The mean of an image's logits is first taken
    from them: as published, a constant added to all logits, which no softmax sees, changes how much the largest lose.

    Arguments:
        tail: How many of the largest distances of a class make its tail, at least 2, but at most a tenth of those of
            the smallest class; published as 20.
        top: Number of largest logits that are reduced, at least 1; published grid 3 and 10.
    """

    needs = frozenset({"logits", "labels"})
    fit_on = "train"
    of_softmax = True
    grid = choices(top=(3, 10))
    means: Tensor | None
    starts: Tensor | None
    shapes: Tensor | None
    scales: Tensor | None

    def __init__(self, tail: Annotated[int, Bound(least=2)] = 20, top: Count = 3) -> None:
        super().__init__()
        self.tail = tail
        self.top = top
        for buffer in ("means", "starts", "shapes", "scales"):
            self.register_buffer(buffer, None)

    def fit(self, outputs: Outputs) -> OpenMax:
        labels, logits = training_labels(outputs, self.name), _centered(outputs.need("logits", self.name))
        right = in_blocks(lambda rows, of: rows.argmax(1) == of, logits, labels)
        counts = labels[right].bincount(minlength=logits.shape[1])
        few = int(counts.argmin())
        if counts[few] < 2:
            raise OutskirtsError(
                f"The detector '{self.name}' needs two correctly classified training images of every class, "
                f"but class {few} has {['none', 'only one'][int(counts[few])]}."
            )
        means = torch.zeros(len(counts), logits.shape[1], dtype=torch.float64, device=logits.device)
        for rows, of, sound in blocks(logits, labels, right):
            means.index_add_(0, of[sound], rows[sound].double())
        means /= counts[:, None]
        distances = in_blocks(lambda rows, of: (rows.double() - means[of]).norm(dim=1), logits, labels)[right]
        labels = labels[right]
        # Of each class in a row of its own, the largest first.
        size = min(self.tail, max(2, int(counts[few]) // 10))
        by_class = grouped.places(labels, len(counts), distances.argsort(descending=True))
        tails = distances[by_class.order[by_class.rank < size]].view(-1, size)
        self.means, self.starts = means, tails[:, -1:]
        self.shapes, self.scales = fit_weibull(tails - tails[:, -1:] + 1)
        return self

    def score(self, outputs: Outputs) -> Tensor:
        logits, means = _centered(outputs.need("logits", self.name)), self.require("means")
        top = logits.topk(min(self.top, logits.shape[1]), dim=1)
        distances = (logits[:, None] - means[top.indices]).norm(dim=2)
        starts, shapes, scales = (getattr(self, b)[top.indices, 0] for b in ("starts", "shapes", "scales"))
        beyond = -torch.expm1(-(((distances - starts + 1).clamp_min(0) / scales) ** shapes))
        share = 1 - torch.arange(top.values.shape[1], device=logits.device) / self.top
        lost = top.values * share * beyond
        unknown = lost.sum(1, keepdim=True)
        known = logits.scatter(1, top.indices, top.values - lost)
        return torch.cat([unknown, known], dim=1).log_softmax(1)[:, 0]
