"""Products computed by register tiles: the tensor expressions that the tiled schedule expects.

Each makes a ``_blocked`` reduction, whose loops are those of one tile, and its unblocked consumer.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.context import Anchor, Context
from runtime.build.lower.movement import ravel, unravel
from runtime.build.lower.tile import Tile, can_turn


def clamped(index: Expr, extent: int, padded: int) -> Expr:
    """``index``, or the last one past the end: rows beyond a tile's end repeat the last row."""
    return index if extent == padded else tirx.min(index, tirx.const(extent - 1, "int32"))


def _is_turned(ctx: Context, tile: Tile, spatial: Sequence[int]) -> bool:
    """Whether the result is kept with channels last, then turned; see `schedule.turned`."""
    if ctx.machine.lanes <= 1 or ctx.decoded is not None or ctx.order == "channels-inside":
        return False
    return can_turn(tile, spatial)


def _turned(blocked: te.Tensor, name: str) -> te.Tensor:
    """A product with channels last as planes, whose positions are one axis."""
    batch, blocks, *spatial, block = (int(e) for e in blocked.shape)

    def body(n: Expr, fo: Expr, fi: Expr, position: Expr) -> Expr:
        return blocked(n, fo, *unravel(position, spatial), fi)

    return te.compute((batch, blocks, block, prod(spatial)), body, name=f"{name}_turned")


def blocked_planes(
    ctx: Context,
    name: str,
    shape: Sequence[int],
    tile: Tile,
    read: Callable[[Any, Sequence[Any]], Expr],
    weight: te.Tensor,
    axes: list[Any],
) -> te.Tensor:
    """A convolution's product, shape (batch, channels, *spatial).

    Args:
        ctx: gets the anchor.
        name: name of the result.
        shape: of the result.
        tile: register tile.
        read: the input element that meets a tap, from batch index and spatial indices.
        weight: packed by ``tile.channels``.
        axes: the reduction, in the weight's order.
    """
    batch, channels, *spatial = shape
    block, last = tile.channels, spatial[-1]
    blocks = -(-channels // block)
    by_space = tile.scheme == "vector-space"
    if by_space:
        blocked = te.compute(
            (batch, blocks, block, *spatial),
            lambda n, fo, fi, *x: te.sum(read(n, x) * weight(fo, *axes, fi), axis=axes),
            name=f"{name}_blocked",
        )
    else:
        padded = -(-last // tile.space) * tile.space
        blocked = te.compute(
            (batch, blocks, *spatial[:-1], padded, block),
            lambda n, fo, *x: te.sum(
                read(n, [*x[:-2], clamped(x[-2], last, padded)]) * weight(fo, *axes, x[-1]),
                axis=axes,
            ),
            name=f"{name}_blocked",
        )
    turned = not by_space and _is_turned(ctx, tile, spatial)
    if turned:
        rows, blocked = blocked, _turned(blocked, name)
    channels_in = int(axes[0].dom.extent)
    ctx.anchor = Anchor(
        *(f"{name}_blocked", 1, len(shape) - 1, tile, channels_in, ctx.order),
        decoded=ctx.decoded,
        turned=f"{name}_turned" if turned else "",
    )

    def unblocked(n: Expr, f: Expr, *x: Expr) -> Expr:
        fo, fi = tirx.floordiv(f, block), tirx.floormod(f, block)
        if turned:
            return blocked(n, fo, fi, ravel(x, [int(e) for e in rows.shape[2:-1]]))
        return blocked(n, fo, fi, *x) if by_space else blocked(n, fo, *x, fi)

    return te.compute(tuple(shape), unblocked, name=name)


def blocked_rows(
    ctx: Context,
    name: str,
    shape: Sequence[int],
    tile: Tile,
    left: Callable[[Sequence[Any], Any], Expr],
    right: Callable[[Sequence[Any], Any, Any], Expr],
    depth: Any,
) -> te.Tensor:
    """A matrix product, shape (*lead, rows, columns), or (columns,).

    Args:
        ctx: gets the anchor.
        name: name of the result.
        shape: of the result.
        tile: register tile, its channels being the columns.
        left: element of the left operand at (lead and row index, reduction index).
        right: element of the packed right operand at (lead index, block, lane), reduced over
            ``depth``.
        depth: the reduction axis.
    """
    *lead, columns = shape
    block = tile.channels
    blocks = -(-columns // block)
    rows = lead[-1] if lead else 1
    padded = -(-rows // tile.space) * tile.space

    def product(*i: Expr) -> Expr:
        row = [*i[:-3], clamped(i[-3], rows, padded)] if lead else []
        return te.sum(left(row, depth) * right(i[:-3], i[-2], i[-1]), axis=depth)

    loops = (*lead[:-1], padded, blocks, block) if lead else (blocks, block)
    blocked = te.compute(loops, product, name=f"{name}_blocked")
    ctx.anchor = Anchor(
        f"{name}_blocked",
        len(lead),
        max(len(lead) - 1, 0),
        tile,
        int(depth.dom.extent),
        ctx.order,
        decoded=ctx.decoded,
    )
    return te.compute(
        tuple(shape),
        lambda *i: blocked(*i[:-1], tirx.floordiv(i[-1], block), tirx.floormod(i[-1], block)),
        name=name,
    )
