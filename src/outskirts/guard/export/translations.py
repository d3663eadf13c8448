"""Operations of torch that its exporter writes as no runtime computes them, or without the digits of small numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18 as op

__all__ = ["TRANSLATIONS"]


def _log1p(values: Any) -> Any:
    """log(1 + x) with all digits of a small x, of which 1 + x keeps few: what is lost in the sum is divided out."""
    one = op.CastLike(1.0, values)
    whole = op.Add(values, one)
    lost = op.Equal(whole, one)
    difference = op.Where(lost, one, op.Sub(whole, one))
    exact = op.Div(op.Mul(op.Log(whole), values), difference)
    return op.Where(lost, values, op.Where(op.IsInf(whole), whole, exact))


def _softplus(values: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(x)), in double precision too, and without a threshold."""
    scale = op.CastLike(beta, values)
    scaled = op.Mul(values, scale)
    soft = _log1p(op.Exp(op.Neg(op.Abs(scaled))))
    return op.Div(op.Add(op.Max(scaled, op.CastLike(0.0, values)), soft), scale)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.log1p.default: _log1p,
    torch.ops.aten.softplus.default: _softplus,
}
