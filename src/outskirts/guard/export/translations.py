"""Operations of torch that its exporter writes as no runtime computes them, or without the digits of small numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18

__all__ = ["TRANSLATIONS"]

#: Its types are those of symbols in a graph, not of the numbers that are passed.
op: Any = opset18
#: Numbers of the types of ONNX.
_INT32, _INT64 = 6, 7


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


def _searchsorted(
    ordered: Any,
    values: Any,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """How many of the numbers [n] are smaller than each value [N], or at most as large: all, if that is no number."""
    last = op.Unsqueeze(values, op.Constant(value_ints=[-1]))
    beyond = op.Greater(ordered, last) if right or side == "right" else op.GreaterOrEqual(ordered, last)
    counted = op.Cast(op.Not(beyond), to=_INT32 if out_int32 else _INT64)
    return op.ReduceSum(counted, op.Constant(value_ints=[-1]), keepdims=0)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.log1p.default: _log1p,
    torch.ops.aten.searchsorted.Tensor: _searchsorted,
    torch.ops.aten.softplus.default: _softplus,
}
