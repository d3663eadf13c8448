"""Find the head and the penultimate features of any classifier, asking nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import OutskirtsError, unknown
from ..seeding import generator
from .classifier import Backbone

__all__ = ["adapt"]


def adapt(
    model: nn.Module, example: Tensor, head: str | None = None, name: str | None = None
) -> tuple[Backbone, nn.Linear]:
    """Split a classifier into the network up to its penultimate features, and its last linear layer.

    The head is the linear layer whose output *is* the model's output; it is replaced by the identity, so the
    model then returns its features. The split is checked before it is returned.

    Arguments:
        model: Maps images [B, C, H, W] to logits [B, classes]; changed in place, unless the split fails.
        example: A batch of images; its shape, type and device count, and noise takes the place of its values.
        head: Dotted name of the head, such as ``"classifier.1"``, where it cannot be found.
        name: What to call the architecture; the name of its class unless given.

    Raises:
        OutskirtsError: If the model does not take such images or return logits, or if no linear layer is the
            last step before them; the message says which attribute to pass as `head`.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> backbone, head = adapt(model, torch.randn(2, 3, 2, 2))
    >>> backbone.dim, head
    (5, Linear(in_features=5, out_features=3, bias=True))
    """
    linears = {path: module for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    # Constant images could make different layers agree.
    images = torch.randn(example.shape, generator=generator(0, "adapt")).to(example)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), _recorded(linears) as recorded:
            logits = _logits(model, images)
            path = _find(model, linears, recorded, logits, head)
            linear = linears[path]
            model.set_submodule(path, nn.Identity())
            features = model(images)
            faithful = (
                isinstance(features, Tensor)
                and features.shape == (len(images), linear.in_features)
                and torch.allclose(linear(features), logits, atol=1e-4, rtol=1e-4)
            )
            if not faithful:
                model.set_submodule(path, linear)
                raise _not_last(model, path, linears)
    finally:
        model.train(training)
    return Backbone(model, linear.in_features, name or type(model).__name__), linear


@contextmanager
def _recorded(linears: dict[str, nn.Linear]) -> Iterator[dict[str, Tensor]]:
    """Record the output of each linear layer inside the block."""
    outputs: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, output, path=path: outputs.__setitem__(path, output))
        for path, module in linears.items()
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    kind = type(model).__name__
    try:
        logits = model(images)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise OutskirtsError(f"{kind} cannot take images of shape {tuple(images.shape[1:])}: {error}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        returned = f"a tensor of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise OutskirtsError(f"{kind} returns {returned}; a classifier returns logits of shape [batch, classes].")
    return logits


def _find(
    model: nn.Module, linears: dict[str, nn.Linear], recorded: dict[str, Tensor], logits: Tensor, head: str | None
) -> str:
    kind = type(model).__name__
    if head is not None and head not in linears:
        raise unknown("linear layer", head, linears, f"in {kind}")
    for path in [head] if head is not None else reversed(recorded):
        if path in recorded and recorded[path].shape == logits.shape and torch.equal(recorded[path], logits):
            return path
    if head is not None:
        raise _not_last(model, head, linears)
    raise OutskirtsError(
        f"No linear layer of {kind} produces its logits, so its head cannot be found; "
        f"pass head=NAME with one of its linear layers: {', '.join(linears) or 'it has none'}."
    )


def _not_last(model: nn.Module, path: str, linears: dict[str, nn.Linear]) -> OutskirtsError:
    return OutskirtsError(
        f"The layer '{path}' of {type(model).__name__} is not the last step before its logits, so it "
        f"cannot be taken as the head; pass head=NAME with one of: {', '.join(linears)}."
    )
