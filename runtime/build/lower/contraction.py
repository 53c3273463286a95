"""Convolutions and matrix products: the operators that do the arithmetic."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.context import (
    Anchor,
    Context,
    Converter,
    argument,
    broadcast_read,
    compute,
    dtype_of,
    safe_name,
    shape_of,
)
from runtime.build.lower.expressions import type_of
from runtime.build.lower.packing import Packing
from runtime.build.lower.tile import choose_tile


def _listed(value: Any, rank: int) -> list[int]:
    values = [int(v) for v in value] if isinstance(value, Sequence) else [int(value)]
    return values * rank if len(values) == 1 else values


def _padded(source: te.Tensor, pads: Sequence[int], name: str) -> te.Tensor:
    if not any(pads):
        return source
    lead = len(source.shape) - len(pads)
    low = [0] * lead + list(pads)
    shape = [int(e) + 2 * p for e, p in zip(source.shape, low, strict=True)]

    def body(*i: Expr) -> Expr:
        index = [x - p for x, p in zip(i, low, strict=True)]
        inside = [
            c
            for x, p, e in zip(index, low, source.shape, strict=True)
            if p
            for c in (x >= 0, x < e)
        ]
        return tirx.if_then_else(tirx.all(*inside), source(*index), tirx.const(0, type_of(source)))

    return te.compute(shape, body, name=f"{name}_padded")


def _convolution(ctx: Context, node: fx.Node) -> te.Tensor:
    rank = len(shape_of(node)) - 2
    stride = _listed(argument(node, 3, "stride", 1), rank)
    padding = argument(node, 4, "padding", 0)
    dilation = _listed(argument(node, 5, "dilation", 1), rank)
    groups = argument(node, 6, "groups", 1)
    weight_shape = shape_of(node.args[1])  # type: ignore[arg-type]
    name = safe_name(node.name)
    source = _padded(ctx.tensor(node.args[0]), _listed(padding, rank), name)
    per_group = weight_shape[0] // groups
    axes = [te.reduce_axis((0, e), name=f"{name}_r{k}") for k, e in enumerate(weight_shape[1:])]

    def read(n: Any, f: Any, spatial: Sequence[Any]) -> Expr:
        if groups == 1:
            channel = axes[0].var
        elif weight_shape[1] == 1 and per_group == 1:
            channel = f
        else:
            channel = tirx.floordiv(f, per_group) * weight_shape[1] + axes[0].var
        at = [x * s + r * d for x, s, r, d in zip(spatial, stride, axes[1:], dilation, strict=True)]
        return source(n, channel, *at)

    if groups == 1 and ctx.is_private_constant(node.args[1]) and dtype_of(node) == "float32":
        product = _blocked_product(ctx, node, read, axes, stride[-1] == 1)
    else:
        product = _plain_product(ctx, node, read, axes)
    return _with_bias(ctx, node, product, argument(node, 2, "bias"), 1)


def _blocked_product(
    ctx: Context, node: fx.Node, read: Any, axes: list[Any], contiguous: bool
) -> te.Tensor:
    """The product by blocks of output channels, as its register tile wants it, then unblocked."""
    batch, channels, *spatial = shape_of(node)
    depth = math.prod(int(axis.dom.extent) for axis in axes)
    tile = choose_tile(ctx.machine, channels, spatial[-1], depth, contiguous)
    packing = Packing(tile.channels)
    weight = ctx.packed(node.args[1], packing)
    name = safe_name(node.name)
    blocks = -(-channels // packing.block)
    lead, last = spatial[:-1], spatial[-1]
    if tile.scheme == "vector-space":
        blocked = te.compute(
            (batch, blocks, packing.block, *spatial),
            lambda n, fo, fi, *x: te.sum(read(n, None, x) * weight(fo, *axes, fi), axis=axes),
            name=f"{name}_blocked",
        )
    else:
        # Rows past the end repeat the last one: no bounds check inside the loops.
        padded = -(-last // tile.space) * tile.space
        blocked = te.compute(
            (batch, blocks, *lead, padded, packing.block),
            lambda n, fo, *x: te.sum(
                read(n, None, [*x[:-2], _clamped(x[-2], last, padded)]) * weight(fo, *axes, x[-1]),
                axis=axes,
            ),
            name=f"{name}_blocked",
        )
    ctx.anchor = Anchor(f"{name}_blocked", 1, len(spatial) + 1, tile)

    def unblocked(n: Expr, f: Expr, *x: Expr) -> Expr:
        fo, fi = tirx.floordiv(f, packing.block), tirx.floormod(f, packing.block)
        return blocked(n, fo, fi, *x) if tile.scheme == "vector-space" else blocked(n, fo, *x, fi)

    return te.compute(shape_of(node), unblocked, name=name)


def _clamped(index: Expr, extent: int, padded: int) -> Expr:
    return index if extent == padded else tirx.min(index, tirx.const(extent - 1, "int32"))


def _plain_product(ctx: Context, node: fx.Node, read: Any, axes: list[Any]) -> te.Tensor:
    weight = ctx.tensor(node.args[1])
    name = safe_name(node.name)
    ctx.anchor = Anchor(name, 1, len(shape_of(node)) - 1, None)
    return te.compute(
        shape_of(node),
        lambda n, f, *x: te.sum(read(n, f, x) * weight(f, *axes), axis=axes),
        name=name,
    )


def _with_bias(
    ctx: Context, node: fx.Node, product: te.Tensor, bias: object, axis: int
) -> te.Tensor:
    if bias is None:
        return product
    values = ctx.tensor(bias)
    return compute(
        node, lambda *i: product(*i) + values(i[axis]), name=f"{safe_name(node.name)}_bias"
    )


def _transposed(ctx: Context, node: fx.Node) -> te.Tensor:
    rank = len(shape_of(node)) - 2
    stride = _listed(argument(node, 3, "stride", 1), rank)
    padding = _listed(argument(node, 4, "padding", 0), rank)
    groups = argument(node, 6, "groups", 1)
    dilation = _listed(argument(node, 7, "dilation", 1), rank)
    source, weight = ctx.tensor(node.args[0]), ctx.tensor(node.args[1])
    inner, per_group, *kernel = (int(e) for e in weight.shape)
    name = safe_name(node.name)
    channel = te.reduce_axis((0, inner // groups), name=f"{name}_rc")
    taps = [te.reduce_axis((0, e), name=f"{name}_r{k}") for k, e in enumerate(kernel)]

    def term(n: Any, f: Any, *x: Any) -> Expr:
        # Output x takes input i through tap r exactly when i * stride + r * dilation - padding = x.
        numerators = [a + p - r * d for a, p, r, d in zip(x, padding, taps, dilation, strict=True)]
        at = [tirx.floordiv(a, s) for a, s in zip(numerators, stride, strict=True)]
        c = tirx.floordiv(f, per_group) * (inner // groups) + channel
        meets = [tirx.floormod(a, s) == 0 for a, s in zip(numerators, stride, strict=True) if s > 1]
        meets += [a >= 0 for a in numerators]
        meets += [a < e for a, e in zip(at, source.shape[2:], strict=True)]
        zero = tirx.const(0, type_of(source))
        value = tirx.if_then_else(tirx.all(*meets), source(n, c, *at), zero)
        return value * weight(c, tirx.floormod(f, per_group), *taps)

    product = te.compute(
        shape_of(node),
        lambda n, f, *x: te.sum(term(n, f, *x), axis=[channel, *taps]),
        name=name,
    )
    ctx.anchor = Anchor(name, 1, len(shape_of(node)) - 1, None)
    return _with_bias(ctx, node, product, argument(node, 2, "bias"), 1)


def _linear(ctx: Context, node: fx.Node) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    inner = shape_of(node.args[1])[1]  # type: ignore[arg-type]
    name = safe_name(node.name)
    k = te.reduce_axis((0, inner), name=f"{name}_k")
    last = len(shape_of(node)) - 1
    if ctx.is_private_constant(node.args[1]) and dtype_of(node) == "float32":
        product = _blocked_rows(ctx, node, source, k)
    else:
        plain = ctx.tensor(node.args[1])
        product = te.compute(
            shape_of(node),
            lambda *i: te.sum(source(*i[:-1], k) * plain(i[-1], k), axis=k),
            name=name,
        )
    return _with_bias(ctx, node, product, argument(node, 2, "bias"), last)


def _blocked_rows(ctx: Context, node: fx.Node, source: te.Tensor, k: Any) -> te.Tensor:
    """Rows times packed weights: (..., rows, blocks, block), then unblocked."""
    *lead, channels = shape_of(node)
    rows = lead[-1] if lead else 1
    machine, depth = ctx.machine, int(k.dom.extent)
    tile = choose_tile(machine, channels, rows, depth, contiguous=False)
    packing = Packing(tile.channels)
    weight = ctx.packed(node.args[1], packing)
    name = safe_name(node.name)
    padded = -(-rows // tile.space) * tile.space
    blocks = -(-channels // packing.block)

    def product(*i: Expr) -> Expr:
        row = [*i[:-3], _clamped(i[-3], rows, padded)] if lead else []
        return te.sum(source(*row, k) * weight(i[-2], k, i[-1]), axis=k)

    shape = (*lead[:-1], padded, blocks, packing.block) if lead else (blocks, packing.block)
    blocked = te.compute(shape, product, name=f"{name}_blocked")
    ctx.anchor = Anchor(f"{name}_blocked", len(lead), max(len(lead) - 1, 0), tile)
    return te.compute(
        shape_of(node),
        lambda *i: blocked(
            *i[:-1], tirx.floordiv(i[-1], packing.block), tirx.floormod(i[-1], packing.block)
        ),
        name=name,
    )


def _matmul(ctx: Context, node: fx.Node) -> te.Tensor:
    return _product(ctx, node, node.args[0], node.args[1])


def _product(ctx: Context, node: fx.Node, left: object, right: object) -> te.Tensor:
    a, b = ctx.tensor(left), ctx.tensor(right)
    name = safe_name(node.name)
    k = te.reduce_axis((0, int(a.shape[-1])), name=f"{name}_k")
    vector_left, vector_right = len(a.shape) == 1, len(b.shape) == 1

    def body(*i: Expr) -> Expr:
        row = [] if vector_left else [i[-1 if vector_right else -2]]
        column = [] if vector_right else [i[-1]]
        batch = list(i[: len(i) - len(row) - len(column)])
        x = a(k) if vector_left else broadcast_read(a, [*batch, row[0], k])
        y = b(k) if vector_right else broadcast_read(b, [*batch, k, column[0]])
        return te.sum(x * y, axis=k)

    rank = len(shape_of(node))
    if not (vector_left or vector_right):
        ctx.anchor = Anchor(name, rank - 2, rank - 1, None, is_matrix=True)
    return te.compute(shape_of(node), body, name=name)


def _product_plus(ctx: Context, node: fx.Node) -> te.Tensor:
    """Addmm and baddbmm: beta * bias + alpha * (left @ right)."""
    bias, left, right = node.args[:3]
    beta, alpha = node.kwargs.get("beta", 1), node.kwargs.get("alpha", 1)
    product = _product(ctx, node, left, right)
    values = ctx.tensor(bias)

    def body(*i: Expr) -> Expr:
        total = product(*i) if alpha == 1 else product(*i) * tirx.const(alpha, type_of(product))
        term = broadcast_read(values, i)
        return total + (term if beta == 1 else term * tirx.const(beta, type_of(product)))

    return compute(node, body, name=f"{safe_name(node.name)}_bias")


CONVERTERS: Mapping[str, Converter] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "conv_transpose1d": _transposed,
    "conv_transpose2d": _transposed,
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "addmm": _product_plus,
    "baddbmm": _product_plus,
}
