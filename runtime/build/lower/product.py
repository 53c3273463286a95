"""Linear layers and matrix products."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.blocked import blocked_rows, clamped
from runtime.build.lower.context import (
    Context,
    Converter,
    broadcast_read,
    compute,
    dtype_of,
    safe_name,
    with_bias,
)
from runtime.build.lower.expressions import type_of
from runtime.build.lower.packing import Packing
from runtime.build.lower.tile import Contraction
from splitter.tracing.arguments import argument, shape_of

_ROWS_WORTH_PACKING = 4
"""A product with fewer rows reads its right operand once; copying it would cost as much."""


def _linear(ctx: Context, node: fx.Node) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    depth = shape_of(node.args[1])[1]
    name = safe_name(node.name)
    k = te.reduce_axis((0, depth), name=f"{name}_k")
    *lead, columns = shape_of(node)
    if ctx.is_private_constant(node.args[1]) and dtype_of(node) == "float32":
        rows = lead[-1] if lead else 1
        tile = ctx.choose_tile(Contraction(columns, rows, depth, contiguous=False))
        weight = ctx.packed(node.args[1], Packing(tile.channels))
        product = blocked_rows(
            ctx,
            name,
            shape_of(node),
            tile,
            lambda row, r: source(*row, r),
            lambda _, block, lane: weight(block, k, lane),
            k,
        )
    else:
        plain = ctx.tensor(node.args[1])
        product = te.compute(
            shape_of(node),
            lambda *i: te.sum(source(*i[:-1], k) * plain(i[-1], k), axis=k),
            name=name,
        )
    return with_bias(ctx, node, product, argument(node, 2, "bias"), len(lead))


def _matmul(ctx: Context, node: fx.Node) -> te.Tensor:
    return _product(ctx, node, node.args[0], node.args[1])


def _product(ctx: Context, node: fx.Node, left: object, right: object) -> te.Tensor:
    a, b = ctx.tensor(left), ctx.tensor(right)
    shape = shape_of(node)
    matrices = len(a.shape) > 1 and len(b.shape) > 1
    if matrices and shape[-2] >= _ROWS_WORTH_PACKING and type_of(a) == "float32":
        return _packed_product(ctx, node, a, b)
    return _plain_product(node, a, b)


def _packed_product(ctx: Context, node: fx.Node, a: te.Tensor, b: te.Tensor) -> te.Tensor:
    """The right operand is copied into blocks of columns first, which are then read in a row."""
    shape, name = shape_of(node), safe_name(node.name)
    *batch, depth, columns = (int(e) for e in b.shape)
    tile = ctx.choose_tile(Contraction(columns, shape[-2], depth, contiguous=False))
    blocks = -(-columns // tile.channels)
    packed = te.compute(
        (*batch, blocks, depth, tile.channels),
        lambda *i: b(
            *i[:-3],
            i[-2],
            clamped(i[-3] * tile.channels + i[-1], columns, blocks * tile.channels),
        ),
        name=f"{name}_padded",
    )
    k = te.reduce_axis((0, depth), name=f"{name}_k")

    def right(lead: Sequence[Any], block: Any, lane: Any) -> Expr:
        return broadcast_read(packed, [*lead, block, k.var, lane])

    return blocked_rows(
        ctx, name, shape, tile, lambda row, r: broadcast_read(a, [*row, r.var]), right, k
    )


def _plain_product(node: fx.Node, a: te.Tensor, b: te.Tensor) -> te.Tensor:
    k = te.reduce_axis((0, int(a.shape[-1])), name=f"{safe_name(node.name)}_k")
    vector_left, vector_right = len(a.shape) == 1, len(b.shape) == 1

    def body(*i: Expr) -> Expr:
        row = [] if vector_left else [i[-1 if vector_right else -2]]
        column = [] if vector_right else [i[-1]]
        batch = list(i[: len(i) - len(row) - len(column)])
        x = a(k) if vector_left else broadcast_read(a, [*batch, row[0], k.var])
        y = b(k) if vector_right else broadcast_read(b, [*batch, k.var, column[0]])
        return te.sum(x * y, axis=k)

    return te.compute(shape_of(node), body, name=safe_name(node.name))


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
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "addmm": _product_plus,
    "baddbmm": _product_plus,
}
