"""Pooling windows: maximum and average, fixed and adaptive."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.context import Context, Converter, compute, dtype_of, safe_name
from runtime.build.lower.expressions import type_of
from splitter.tracing.arguments import argument, listed, shape_of


def _inside(at: Sequence[Any], extents: Sequence[int]) -> Expr:
    return tirx.all(*[c for x, e in zip(at, extents, strict=True) for c in (x >= 0, x < e)])


def _window(node: fx.Node, rank: int, stride_at: int) -> tuple[list[int], list[int], list[int]]:
    kernel = listed(argument(node, 1, "kernel_size"), rank)
    stride = argument(node, stride_at, "stride", None)
    padding = listed(argument(node, stride_at + 1, "padding", 0), rank)
    return kernel, listed(stride, rank) if stride else kernel, padding


def _max_pool(ctx: Context, node: fx.Node) -> te.Tensor:
    source, result = ctx.tensor(node.args[0]), _first(node)
    rank = _rank(node)
    kernel, stride, padding = _window(node, rank, 2)
    dilation = listed(argument(node, 4, "dilation", 1), rank)
    name = safe_name(node.name)
    extents = [int(e) for e in source.shape[-rank:]]
    taps = [te.reduce_axis((0, e), name=f"{name}_r{k}") for k, e in enumerate(kernel)]

    def body(*i: Expr) -> Expr:
        lead, x = i[: len(i) - rank], i[len(i) - rank :]
        at = [
            a * s + r * d - p
            for a, s, r, d, p in zip(x, stride, taps, dilation, padding, strict=True)
        ]
        value = tirx.if_then_else(
            _inside(at, extents), source(*lead, *at), te.min_value(type_of(source))
        )
        return te.max(value, axis=taps)

    return te.compute(result, body, name=name)


def _first(node: fx.Node) -> tuple[int, ...]:
    value = node.meta["val"]
    return tuple(int(e) for e in (value[0] if isinstance(value, tuple | list) else value).shape)


def _rank(node: fx.Node) -> int:
    name = node.target._schema.name  # type: ignore[union-attr]
    return next(rank for rank in (1, 2, 3) if f"{rank}d" in name)


def _average_pool(ctx: Context, node: fx.Node) -> te.Tensor:
    source, rank = ctx.tensor(node.args[0]), _rank(node)
    kernel, stride, padding = _window(node, rank, 2)
    counts_padding = argument(node, 5, "count_include_pad", True)
    divisor = argument(node, 6, "divisor_override")
    name = safe_name(node.name)
    extents = [int(e) for e in source.shape[-rank:]]
    taps = [te.reduce_axis((0, e), name=f"{name}_r{k}") for k, e in enumerate(kernel)]

    def body(*i: Expr) -> Expr:
        lead, x = i[: len(i) - rank], i[len(i) - rank :]
        at = [a * s + r - p for a, s, r, p in zip(x, stride, taps, padding, strict=True)]
        zero = tirx.const(0, type_of(source))
        return te.sum(tirx.if_then_else(_inside(at, extents), source(*lead, *at), zero), axis=taps)

    total = te.compute(shape_of(node), body, name=f"{name}_sum")

    def count(x: Sequence[Expr]) -> Expr:
        if divisor:
            return tirx.const(divisor, "int32")
        value: Expr = tirx.const(1, "int32")
        for a, s, k, p, e in zip(x, stride, kernel, padding, extents, strict=True):
            low = a * s - p
            # A window may reach past the padding (ceil mode); that part is never counted.
            high = tirx.min(low + k, e + p)
            if not counts_padding:
                low, high = tirx.max(low, 0), tirx.min(high, e)
            value = value * (high - low)
        return value

    return compute(node, lambda *i: total(*i) / count(i[len(i) - rank :]).astype(dtype_of(node)))


def _adaptive_average_pool(ctx: Context, node: fx.Node) -> te.Tensor:
    source, rank = ctx.tensor(node.args[0]), _rank(node)
    before = [int(e) for e in source.shape[-rank:]]
    after = list(shape_of(node)[-rank:])
    name = safe_name(node.name)
    # Window k of axis covers floor(k * in / out) up to ceil((k + 1) * in / out).
    longest = [
        max(math.ceil((k + 1) * b / a) - k * b // a for k in range(a))
        for b, a in zip(before, after, strict=True)
    ]
    taps = [te.reduce_axis((0, e), name=f"{name}_r{k}") for k, e in enumerate(longest)]

    def bounds(x: Expr, b: int, a: int) -> tuple[Expr, Expr]:
        return tirx.floordiv(x * b, a), tirx.floordiv((x + 1) * b + a - 1, a)

    def body(*i: Expr) -> Expr:
        lead, x = i[: len(i) - rank], i[len(i) - rank :]
        windows = [bounds(v, b, a) for v, b, a in zip(x, before, after, strict=True)]
        at = [w[0] + r for w, r in zip(windows, taps, strict=True)]
        even = all(b % a == 0 for b, a in zip(before, after, strict=True))
        value = source(*lead, *at)
        if not even:
            inside = tirx.all(*[p < w[1] for p, w in zip(at, windows, strict=True)])
            value = tirx.if_then_else(inside, value, tirx.const(0, type_of(source)))
        return te.sum(value, axis=taps)

    total = te.compute(shape_of(node), body, name=f"{name}_sum")

    def mean(*i: Expr) -> Expr:
        size: Expr = tirx.const(1, "int32")
        for v, b, a in zip(i[len(i) - rank :], before, after, strict=True):
            low, high = bounds(v, b, a)
            size = size * (high - low if b % a else tirx.const(b // a, "int32"))
        return total(*i) / size.astype(dtype_of(node))

    return compute(node, mean)


CONVERTERS: Mapping[str, Converter] = {
    "max_pool1d": _max_pool,
    "max_pool2d": _max_pool,
    "max_pool3d": _max_pool,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "avg_pool3d": _average_pool,
    "adaptive_avg_pool1d": _adaptive_average_pool,
    "adaptive_avg_pool2d": _adaptive_average_pool,
    "_adaptive_avg_pool2d": _adaptive_average_pool,
}
