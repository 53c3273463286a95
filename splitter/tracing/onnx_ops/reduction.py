"""Reductions, arg-max, top-k and cumulative sums."""

from collections.abc import Callable, Sequence

import torch

from splitter.tracing.onnx_ops.node import Converter, OpNode

Reducer = Callable[[torch.Tensor, list[int], bool], torch.Tensor]


def _reduction(reducer: Reducer) -> Converter:
    def convert(node: OpNode, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
        chosen = node.axes(axes)
        if not chosen and node.get("noop_with_empty_axes", 0):
            return reducer(torch.unsqueeze(x, 0), [0], False)
        places = [axis % x.dim() for axis in chosen] if chosen else list(range(x.dim()))
        if not places:
            return reducer(torch.reshape(x, [1]), [0], False)
        return torch.Tensor.to(reducer(x, places, bool(node.get("keepdims", 1))), x.dtype)

    return convert


def _mean(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    if x.is_floating_point():
        return torch.mean(x, axes, keepdim=keep)
    count = torch.tensor([x.shape[axis] for axis in axes]).prod().item()
    return torch.div(torch.sum(x, axes, keepdim=keep), count, rounding_mode="trunc")


def _sum(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return torch.sum(x, axes, keepdim=keep)


def _product(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _extreme(function: Callable[..., torch.Tensor]) -> Reducer:
    return lambda x, axes, keep: function(x, axes, keepdim=keep)


def _log_sum_exp(x: torch.Tensor, axes: list[int], keep: bool) -> torch.Tensor:
    return torch.logsumexp(x, axes, keepdim=keep)


def arg_max(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """ArgMax."""
    return _arg(node, x, torch.argmax)


def arg_min(node: OpNode, x: torch.Tensor) -> torch.Tensor:
    """ArgMin."""
    return _arg(node, x, torch.argmin)


def _arg(node: OpNode, x: torch.Tensor, function: Callable[..., torch.Tensor]) -> torch.Tensor:
    axis, keep = node.get("axis", 0) % x.dim(), bool(node.get("keepdims", 1))
    if not node.get("select_last_index", 0):
        return function(x, axis, keepdim=keep)
    first = function(torch.flip(x, [axis]), axis, keepdim=keep)
    return torch.rsub(first, x.shape[axis] - 1)


def top_k(node: OpNode, x: torch.Tensor, k: torch.Tensor | None = None) -> Sequence[torch.Tensor]:
    """TopK; k is an attribute before operator set 10 and an input since.

    Of equal values the earlier comes first, which torch's top-k does not promise.
    """
    count = node.get("k") if k is None else node.ints(k, "k")[0]
    axis, largest = node.get("axis", -1), bool(node.get("largest", 1))
    ordered, places = torch.sort(x, stable=True, dim=axis, descending=largest)
    return torch.narrow(ordered, axis, 0, count), torch.narrow(places, axis, 0, count)


def cumulative_sum(node: OpNode, x: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """CumSum, forward or backward, with or without the element itself."""
    place = node.ints(axis, "axis")[0] % x.dim()
    ordered = torch.flip(x, [place]) if node.get("reverse", 0) else x
    sums = torch.cumsum(ordered, place, dtype=x.dtype)
    if node.get("exclusive", 0):
        sums = torch.sub(sums, ordered)
    return torch.flip(sums, [place]) if node.get("reverse", 0) else sums


mean = _reduction(_mean)
total = _reduction(_sum)
product = _reduction(_product)
maximum = _reduction(_extreme(torch.amax))
minimum = _reduction(_extreme(torch.amin))
l1 = _reduction(lambda x, axes, keep: _sum(torch.abs(x), axes, keep))
l2 = _reduction(lambda x, axes, keep: torch.sqrt(_sum(torch.mul(x, x), axes, keep)))
sum_square = _reduction(lambda x, axes, keep: _sum(torch.mul(x, x), axes, keep))
log_sum = _reduction(lambda x, axes, keep: torch.log(_sum(x, axes, keep)))
log_sum_exp = _reduction(_log_sum_exp)
