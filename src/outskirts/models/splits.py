"""Ways to take a classifier apart into a network up to its features, and a head; each of them gives the same logits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..errors import OutskirtsError, unknown
from .affine import Normalize, close, head_of
from .calls import Call, Seen
from .heads import CarriedHead, LinearHead
from .tapped import Tapped, pooled

__all__ = ["Split", "at_features", "at_head", "found", "same_answer"]


class Split(NamedTuple):
    """A network, and what makes logits of its features.

    Arguments:
        network: Maps images to features.
        head: Maps features to logits.
        cut: Dotted name of the linear layer of which `network` has an identity instead, if that is all that was done.
    """

    network: nn.Module
    head: nn.Module
    cut: str | None = None


#: Parts whose logits are summed are few.
_PARTS = 8


def found(seen: Seen) -> Split:
    """The split of a classifier of which nothing is known.

    Raises:
        OutskirtsError: If no module of it takes or gives features.
    """
    heads = _heads(seen)
    return (_one_part(seen, heads[0]) if heads else _several_parts(seen)) or _last_features(seen)


def at_head(seen: Seen, path: str) -> Split:
    """The split before a module.

    Raises:
        OutskirtsError: If it is not what makes the logits of features.
    """
    modules = dict(seen.model.named_modules())
    heads = _heads(seen)
    if path not in modules:
        raise unknown("module", path, [call.path for call in heads if call.path] or modules, f"in {seen.kind}")
    for call in heads:
        if call.path == path:
            return _one_part(seen, call)
    works = f"pass head={heads[0].path}, or leave it out" if heads else "leave it out, and the split is found"
    raise OutskirtsError(
        f"The layer '{path}' of {seen.kind} is not the last step before its logits, so it cannot be taken as the head; "
        f"{works}."
    )


def at_features(seen: Seen, path: str) -> Split:
    """The split after a module whose output is the features.

    Raises:
        OutskirtsError: If there is no such module, or it gives none.
    """
    for call in seen.calls:
        if call.path == path and call.made.ndim in (2, 4) and len(call.made) == len(seen.images):
            return _carried(seen, call, "output")
    able = [call.path for call in seen.calls if call.path and call.made.ndim in (2, 4)]
    raise unknown("module", path, able, f"that gives features [batch, width] or [batch, width, H, W] in {seen.kind}")


def same_answer(a: Tensor, b: Tensor) -> bool:
    """Whether two batches of logits mean the same probabilities; either may be what a softmax has made of them, and the
    second what a sigmoid has made of the first.
    """
    return close(_centered(a), _centered(b)) or _is_sigmoid_of(a, b)


def _is_sigmoid_of(logits: Tensor, shares: Tensor) -> bool:
    if bool(((shares <= 0) | (shares >= 1)).any()):
        return False
    # The logits are compared: a sigmoid takes all small numbers to a half.
    return close(logits, shares.logit())


def _centered(logits: Tensor) -> Tensor:
    # Without a softmax, which would round the logits of untrained networks away: they can be as small as 1e-5.
    if logits.shape[1] > 1 and bool((logits >= 0).all()) and close(logits.sum(1), torch.ones_like(logits[:, 0])):
        logits = logits.clamp_min(torch.finfo(logits.dtype).tiny).log()
    # A single logit is that of a sigmoid.
    return logits - logits.mean(1, keepdim=True) if logits.shape[1] > 1 else logits


def _flat(values: Tensor) -> bool:
    """Whether values are [B, D], but for dimensions of one."""
    return values.ndim >= 2 and values[0].numel() == max(values.shape[1:])


def _heads(seen: Seen) -> list[Call]:
    """The calls that take features and give the logits: the last first, and parts before what they are in."""
    heads: list[Call] = []
    for call in reversed([call for call in seen.calls if _is_head(call, seen)]):
        inside = next(
            (i for i, other in enumerate(heads) if not other.path or call.path.startswith(f"{other.path}.")), None
        )
        heads.insert(len(heads) if inside is None else inside, call)
    return heads


def _is_head(call: Call, seen: Seen) -> bool:
    """Whether a module takes features and gives the logits."""
    return (
        call.learned
        and _flat(call.given)
        and _flat(call.made)
        and len(call.given) == len(call.made) == len(seen.logits)
        and call.made.numel() == seen.logits.numel()
        and same_answer(call.made.flatten(1), seen.logits)
    )


def _one_part(seen: Seen, call: Call) -> Split:
    """One part gives the logits. Where nothing follows it, the model without it is the network."""
    head = head_of(call.module, call.given)
    if not call.path:
        return Split(nn.Flatten(), head)
    tapped = Tapped(seen.model, [call.path])
    if call.given.ndim > 2:
        return Split(tapped, head)
    seen.model.set_submodule(call.path, nn.Identity())
    try:
        features = seen.model(seen.images)
    except RuntimeError:  # What follows expects so many logits.
        features = None
    if isinstance(features, Tensor) and features.shape == call.given.shape and close(features, call.given):
        return Split(seen.model, head, call.path if getattr(head, "linear", None) is call.module else None)
    seen.model.set_submodule(call.path, call.module)
    return Split(tapped, head)


def _several_parts(seen: Seen) -> Split | None:
    """The logits are a weighted sum of those of several linear parts; those that take the same features are one."""
    able = [call for call in seen.calls if call.path and call.given.ndim == 2 and call.made.shape == seen.logits.shape]
    plain = [(call, _plain(call.module, call.given)) for call in able[-_PARTS:] if call.learned]
    linear = {call.path: (call, layer) for call, layer in plain if layer is not None}
    outer = [path for path in linear if not any(path.startswith(f"{other}.") for other in linear)]
    # More of them would make any logits.
    if not 1 < len(outer) <= seen.logits.numel() // 2:
        return None
    columns = torch.stack([linear[path][0].made.flatten() for path in outer], 1).double()
    shares = torch.linalg.lstsq(columns, seen.logits.flatten().double()[:, None]).solution[:, 0]
    if not close((columns @ shares).to(seen.logits), seen.logits.flatten()):
        return None
    bias = torch.zeros_like(seen.logits[0])
    weights: dict[str, Tensor] = {}
    for path, share in zip(outer, shares.to(bias)):
        call, layer = linear[path]
        same = next((other for other in weights if torch.equal(linear[other][0].given, call.given)), path)
        weights[same] = weights.get(same, 0) + share * layer.weight
        bias += 0 if layer.bias is None else share * layer.bias
    joined = nn.Linear(sum(weight.shape[1] for weight in weights.values()), len(bias)).to(bias)
    joined.weight.copy_(torch.cat(list(weights.values()), 1))
    joined.bias.copy_(bias)
    return Split(Tapped(seen.model, list(weights)), LinearHead(joined))


def _plain(module: nn.Module, features: Tensor) -> nn.Linear | None:
    """The linear layer that a module is, if it is one."""
    head = head_of(module, features)
    return head.linear if isinstance(head, LinearHead) and isinstance(head.inputs, nn.Identity) else None


def _last_features(seen: Seen) -> Split:
    """The last features that a leaf gives, or that a module with weights takes: what none of them turns into logits.

    What a layer turns into other maps is never taken for them.
    """
    classes = seen.logits.shape[1]
    places = [place for place, call in enumerate(seen.calls) if _makes_maps(call, classes)]
    begin = places[-1] if places else 0
    for call in reversed(seen.calls[begin:]):
        if call.whole and call.path and call.made.ndim == 2 and call.made.shape[1] != classes:
            return _carried(seen, call, "output")
    last = Call("", seen.model, seen.images, seen.logits)
    for call in reversed(seen.calls[begin + 1 :] if places else seen.calls):
        # Images are no features, and a network that turns them into tokens at once shows nothing else.
        shown = call.given.shape != seen.images.shape or call.path == seen.last
        inside = call.path.startswith(f"{last.path}." if last.path else "")
        around = bool(places) and f"{seen.calls[begin].path}.".startswith(f"{call.path}.")
        if call.learned and call.given.ndim in (2, 4) and shown and inside and not around:
            last = call
    if last.path:
        return _carried(seen, last, "input")
    if places:
        return _last_maps(seen, seen.calls[begin:])
    raise OutskirtsError(
        f"No module of {seen.kind} takes or gives features [batch, width], so they cannot be found. If its output is "
        "what you want, pass head=none."
    )


def _makes_maps(call: Call, classes: int) -> bool:
    """Whether a call is that of a layer with weights that makes maps, such as a convolution, but not one for each
    class.
    """
    maps = call.given.ndim == call.made.ndim == 4
    return call.whole and bool(call.path) and call.learned and maps and call.made.shape[1] != classes


def _last_maps(seen: Seen, calls: list[Call]) -> Split:
    """The averages of the last maps, if a linear layer or cosines make the logits of them; else the logits alone."""
    for call in reversed(calls):
        if call.path and call.made.ndim == 4 and len(call.made) == len(seen.images):
            tapped = Tapped(seen.model, [call.path], "output")
            if (head := _weighted(seen, tapped(seen.images))) is not None:
                return Split(tapped, head)
            break
    return Split(Tapped(seen.model, [], carries=True), CarriedHead(0))


def _weighted(seen: Seen, features: Tensor) -> LinearHead | None:
    """The head by a weight that is no module's, if it makes the logits, by itself or as cosines."""
    linear = _weight(seen, features)
    return _cosines(seen, features) if linear is None else LinearHead(linear)


def _carried(seen: Seen, call: Call, side: str) -> Split:
    """Features from inside; a linear layer makes the logits of them, or the logits go along."""
    features = pooled(call.made if side == "output" else call.given)
    linear = (_nearest(call, features, seen.logits) if call.path == seen.last and side == "input" else None) or _weight(
        seen, features
    )
    if linear is not None and same_answer(linear(features), seen.logits):
        return Split(Tapped(seen.model, [call.path], side), LinearHead(linear))
    if linear is None and (cosines := _cosines(seen, features)) is not None:
        return Split(Tapped(seen.model, [call.path], side), cosines)
    return Split(Tapped(seen.model, [call.path], side, carries=True), CarriedHead(features.shape[1], linear))


def _nearest(call: Call, features: Tensor, logits: Tensor) -> nn.Linear | None:
    """The linear layer that the last convolution of 1×1 is for averages over positions."""
    if call.made.shape[1] != logits.shape[1]:
        return None
    shape = (*features.shape, *(1,) * (call.given.ndim - 2))
    return _plain(call.module, features.reshape(shape))


def _weight(seen: Seen, features: Tensor) -> nn.Linear | None:
    """A linear layer of which the network has the weight alone, and no module."""
    shape = (seen.logits.shape[1], features.shape[1])
    for weight in _of_shape(seen.model, shape):
        bias = seen.logits - features @ weight.T
        if close(bias, bias.mean(0).expand_as(bias)) and close(features @ weight.T + bias.mean(0), seen.logits):
            linear = nn.Linear(shape[1], shape[0]).to(weight)
            linear.weight.copy_(weight)
            linear.bias.copy_(bias.mean(0))
            return linear
    return None


def _cosines(seen: Seen, features: Tensor) -> LinearHead | None:
    """Cosines to the rows of a weight of the network, times a number, if they are the logits."""
    shape = (seen.logits.shape[1], features.shape[1])
    for weight in _of_shape(seen.model, shape):
        rows = normalize(weight, dim=1)
        made = normalize(features, dim=1) @ rows.T
        scale = (made * seen.logits).sum() / made.square().sum()
        if close(scale * made, seen.logits):
            linear = nn.Linear(shape[1], shape[0], bias=False).to(weight)
            linear.weight.copy_(scale * rows)
            return LinearHead(linear, Normalize())
    return None


def _of_shape(model: nn.Module, shape: tuple[int, int]) -> Iterator[Tensor]:
    """The weights of a shape, trained or not."""
    return (weight for weight in chain(model.parameters(), model.buffers()) if weight.shape == shape)
