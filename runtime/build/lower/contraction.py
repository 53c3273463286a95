"""Convolutions and matrix products: the operators that do the arithmetic."""

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
from runtime.build.machine import Machine


def channel_block(machine: Machine, channels: int) -> int:
    """Output channels per packed block: two registers, or one where that wastes none."""
    lanes = machine.lanes if machine.lanes > 1 else 4
    return 2 * lanes if machine.lanes < 16 and channels >= 2 * lanes else lanes


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
        product = _blocked_product(ctx, node, read, axes)
    else:
        product = _plain_product(ctx, node, read, axes)
    return _with_bias(ctx, node, product, argument(node, 2, "bias"), 1)


def _blocked_product(ctx: Context, node: fx.Node, read: Any, axes: list[Any]) -> te.Tensor:
    """Result blocked by output channel: (n, F / block, ..., block)."""
    batch, channels, *spatial = shape_of(node)
    packing = Packing(channel_block(ctx.machine, channels))
    weight = ctx.packed(node.args[1], packing)
    name = safe_name(node.name)
    blocked = te.compute(
        (batch, -(-channels // packing.block), *spatial, packing.block),
        lambda n, fo, *rest: te.sum(
            read(n, None, rest[:-1]) * weight(fo, *axes, rest[-1]), axis=axes
        ),
        name=f"{name}_blocked",
    )
    ctx.anchor = Anchor("vector-output", f"{name}_blocked", 1)
    return te.compute(
        shape_of(node),
        lambda n, f, *x: blocked(
            n, tirx.floordiv(f, packing.block), *x, tirx.floormod(f, packing.block)
        ),
        name=name,
    )


def _plain_product(ctx: Context, node: fx.Node, read: Any, axes: list[Any]) -> te.Tensor:
    weight = ctx.tensor(node.args[1])
    name = safe_name(node.name)
    ctx.anchor = Anchor("vector-space", name, 1)
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
    ctx.anchor = Anchor("vector-space", name, 1)
    return _with_bias(ctx, node, product, argument(node, 2, "bias"), 1)


def _linear(ctx: Context, node: fx.Node) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    out, inner = shape_of(node.args[1])  # type: ignore[arg-type]
    name = safe_name(node.name)
    k = te.reduce_axis((0, inner), name=f"{name}_k")
    last = len(shape_of(node)) - 1
    if ctx.is_private_constant(node.args[1]) and dtype_of(node) == "float32":
        packing = Packing(channel_block(ctx.machine, out))
        weight = ctx.packed(node.args[1], packing)
        blocked = te.compute(
            (*shape_of(node)[:-1], -(-out // packing.block), packing.block),
            lambda *i: te.sum(source(*i[:-2], k) * weight(i[-2], k, i[-1]), axis=k),
            name=f"{name}_blocked",
        )
        ctx.anchor = Anchor("vector-output", f"{name}_blocked", last)
        product = te.compute(
            shape_of(node),
            lambda *i: blocked(
                *i[:-1], tirx.floordiv(i[-1], packing.block), tirx.floormod(i[-1], packing.block)
            ),
            name=name,
        )
    else:
        plain = ctx.tensor(node.args[1])
        product = te.compute(
            shape_of(node),
            lambda *i: te.sum(source(*i[:-1], k) * plain(i[-1], k), axis=k),
            name=name,
        )
        ctx.anchor = Anchor("vector-space", name, 0)
    return _with_bias(ctx, node, product, argument(node, 2, "bias"), last)


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

    ctx.anchor = Anchor("vector-space", name, max(0, len(shape_of(node)) - 2))
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
