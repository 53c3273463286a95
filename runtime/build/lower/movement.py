"""Operators that only put elements elsewhere: an index map each."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.context import Context, Converter, compute, dtype_of
from splitter.tracing.arguments import argument, shape_of

IndexMap = Callable[..., Sequence[Any]]


def _moved(ctx: Context, node: fx.Node, index_map: IndexMap) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    return compute(node, lambda *i: source(*index_map(*i)))


def _reshape(ctx: Context, node: fx.Node) -> te.Tensor:
    before, after = shape_of(node.args[0]), shape_of(node)
    return _moved(ctx, node, lambda *i: unravel(ravel(i, after), before))


def ravel(index: Sequence[Any], shape: Sequence[int]) -> Any:
    """Row-major position of ``index`` in ``shape``."""
    position: Any = tirx.const(0, "int32")
    for i, extent in zip(index, shape, strict=True):
        position = position * extent + (i if extent != 1 else 0)
    return position


def unravel(position: Any, shape: Sequence[int]) -> list[Any]:
    """Index in ``shape`` of the row-major ``position``."""
    index: list[Any] = []
    for axis, extent in enumerate(shape):
        step = prod(shape[axis + 1 :])
        value = tirx.floordiv(position, step) if step > 1 else position
        index.append(tirx.const(0, "int32") if extent == 1 else tirx.floormod(value, extent))
    return index


def _permute(ctx: Context, node: fx.Node) -> te.Tensor:
    order = [axis % len(shape_of(node)) for axis in argument(node, 1, "dims")]
    return _moved(ctx, node, lambda *i: [i[order.index(axis)] for axis in range(len(order))])


def _transpose(ctx: Context, node: fx.Node) -> te.Tensor:
    rank = len(shape_of(node))
    first, second = (0, 1) if len(node.args) == 1 else (int(a) % rank for a in node.args[1:3])  # type: ignore[arg-type]

    def swap(*i: Expr) -> list[Expr]:
        index = list(i)
        index[first], index[second] = index[second], index[first]
        return index

    return _moved(ctx, node, swap)


def _slice(ctx: Context, node: fx.Node) -> te.Tensor:
    before = shape_of(node.args[0])
    axis = argument(node, 1, "dim", 0) % len(before)
    start, step = argument(node, 2, "start") or 0, argument(node, 4, "step", 1)
    start = min(start + before[axis] if start < 0 else start, before[axis])

    def shift(*i: Expr) -> list[Expr]:
        return [x * step + start if a == axis else x for a, x in enumerate(i)]

    return _moved(ctx, node, shift)


def _select(ctx: Context, node: fx.Node) -> te.Tensor:
    before = shape_of(node.args[0])
    axis, at = argument(node, 1, "dim") % len(before), argument(node, 2, "index")
    chosen = tirx.const(at % before[axis], "int32")
    return _moved(ctx, node, lambda *i: [*i[:axis], chosen, *i[axis:]])


def _expand(ctx: Context, node: fx.Node) -> te.Tensor:
    before, rank = shape_of(node.args[0]), len(shape_of(node))
    skip = rank - len(before)
    zero = tirx.const(0, "int32")
    return _moved(
        ctx,
        node,
        lambda *i: [zero if extent == 1 else i[skip + a] for a, extent in enumerate(before)],
    )


def _repeat(ctx: Context, node: fx.Node) -> te.Tensor:
    before, skip = shape_of(node.args[0]), len(shape_of(node)) - len(shape_of(node.args[0]))
    return _moved(
        ctx,
        node,
        lambda *i: [tirx.floormod(i[skip + a], extent) for a, extent in enumerate(before)],
    )


def _flip(ctx: Context, node: fx.Node) -> te.Tensor:
    shape = shape_of(node)
    axes = {axis % len(shape) for axis in argument(node, 1, "dims")}
    return _moved(
        ctx, node, lambda *i: [shape[a] - 1 - x if a in axes else x for a, x in enumerate(i)]
    )


def _roll(ctx: Context, node: fx.Node) -> te.Tensor:
    shape = shape_of(node)
    shifts, dims = argument(node, 1, "shifts"), argument(node, 2, "dims", [])
    if not dims:
        total = prod(shape)
        return _moved(
            ctx,
            node,
            lambda *i: unravel(tirx.floormod(ravel(i, shape) - shifts[0] + total, total), shape),
        )
    by_axis = {axis % len(shape): shift for axis, shift in zip(dims, shifts, strict=True)}
    return _moved(
        ctx,
        node,
        lambda *i: [
            tirx.floormod(x + (-by_axis.get(a, 0)) % shape[a], shape[a]) for a, x in enumerate(i)
        ],
    )


def _pixel_shuffle(ctx: Context, node: fx.Node) -> te.Tensor:
    factor = argument(node, 1, "upscale_factor")

    def gather(*i: Expr) -> list[Expr]:
        *batch, c, y, x = i
        channel = (c * factor + tirx.floormod(y, factor)) * factor + tirx.floormod(x, factor)
        return [*batch, channel, tirx.floordiv(y, factor), tirx.floordiv(x, factor)]

    return _moved(ctx, node, gather)


def _pad(ctx: Context, node: fx.Node) -> te.Tensor:
    before, rank = shape_of(node.args[0]), len(shape_of(node))
    pads, value = argument(node, 1, "pad"), argument(node, 2, "value", 0)
    low = [0] * rank
    for position in range(len(pads) // 2):
        low[rank - 1 - position] = pads[2 * position]
    source = ctx.tensor(node.args[0])
    filler = tirx.const(value or 0, dtype_of(node))

    def body(*i: Expr) -> Expr:
        index = [x - low[a] for a, x in enumerate(i)]
        inside = [
            c
            for a, x in enumerate(index)
            if shape_of(node)[a] != before[a] or low[a]
            for c in (x >= 0, x < before[a])
        ]
        return (
            tirx.if_then_else(tirx.all(*inside), source(*index), filler) if inside else source(*i)
        )

    return compute(node, body)


def _concatenate(ctx: Context, node: fx.Node) -> te.Tensor:
    parts = [ctx.tensor(part) for part in node.args[0]]  # type: ignore[union-attr]
    axis = argument(node, 1, "dim", 0) % len(shape_of(node))
    starts = [sum(int(p.shape[axis]) for p in parts[:k]) for k in range(len(parts))]
    dtype = dtype_of(node)

    def body(*i: Expr) -> Expr:
        value: Expr | None = None
        for part, start in zip(reversed(parts), reversed(starts), strict=True):
            index = [x - start if a == axis else x for a, x in enumerate(i)]
            piece = part(*index).astype(dtype)
            value = (
                piece
                if value is None
                else tirx.if_then_else(i[axis] < _end(part, axis, start), piece, value)
            )
        assert value is not None
        return value

    return compute(node, body)


def _end(part: te.Tensor, axis: int, start: int) -> int:
    return start + int(part.shape[axis])


def _stack(ctx: Context, node: fx.Node) -> te.Tensor:
    parts = [ctx.tensor(part) for part in node.args[0]]  # type: ignore[union-attr]
    axis = argument(node, 1, "dim", 0) % len(shape_of(node))

    def body(*i: Expr) -> Expr:
        inner = [x for a, x in enumerate(i) if a != axis]
        value = parts[-1](*inner)
        for k in reversed(range(len(parts) - 1)):
            value = tirx.if_then_else(i[axis] <= k, parts[k](*inner), value)
        return value

    return compute(node, body)


def _triangle(keep: Callable[[Expr, Expr, int], Expr]) -> Converter:
    def convert(ctx: Context, node: fx.Node) -> te.Tensor:
        source, diagonal = ctx.tensor(node.args[0]), argument(node, 1, "diagonal", 0)
        zero = tirx.const(0, dtype_of(node))
        return compute(node, lambda *i: tirx.Select(keep(i[-2], i[-1], diagonal), source(*i), zero))

    return convert


def _insert(ctx: Context, node: fx.Node) -> te.Tensor:
    """slice_scatter: the second operand takes the place of a slice of the first."""
    base, piece = ctx.tensor(node.args[0]), ctx.tensor(node.args[1])
    shape = shape_of(node)
    axis = argument(node, 2, "dim", 0) % len(shape)
    start, end, step = (
        argument(node, 3, "start") or 0,
        argument(node, 4, "end"),
        argument(node, 5, "step", 1),
    )
    start = start % shape[axis] if start < 0 else start
    end = shape[axis] if end is None else min(end % shape[axis] if end < 0 else end, shape[axis])

    def body(*i: Expr) -> Expr:
        at = i[axis]
        inside = tirx.all(at >= start, at < end, tirx.floormod(at - start, step) == 0)
        index = [tirx.floordiv(x - start, step) if a == axis else x for a, x in enumerate(i)]
        return tirx.if_then_else(inside, piece(*index), base(*i))

    return compute(node, body)


def _insert_one(ctx: Context, node: fx.Node) -> te.Tensor:
    """select_scatter: the second operand takes the place of one index of the first."""
    base, piece = ctx.tensor(node.args[0]), ctx.tensor(node.args[1])
    shape = shape_of(node)
    axis = argument(node, 2, "dim") % len(shape)
    at = argument(node, 3, "index") % shape[axis]
    return compute(
        node,
        lambda *i: tirx.if_then_else(
            i[axis] == at, piece(*[x for a, x in enumerate(i) if a != axis]), base(*i)
        ),
    )


CONVERTERS: Mapping[str, Converter] = {
    "view": _reshape,
    "reshape": _reshape,
    "_unsafe_view": _reshape,
    "flatten": _reshape,
    "unflatten": _reshape,
    "squeeze": _reshape,
    "unsqueeze": _reshape,
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "slice": _slice,
    "select": _select,
    "expand": _expand,
    "repeat": _repeat,
    "flip": _flip,
    "roll": _roll,
    "pixel_shuffle": _pixel_shuffle,
    "constant_pad_nd": _pad,
    "cat": _concatenate,
    "stack": _stack,
    "triu": _triangle(lambda row, column, diagonal: column - row >= diagonal),
    "tril": _triangle(lambda row, column, diagonal: column - row <= diagonal),
    "slice_scatter": _insert,
    "select_scatter": _insert_one,
}
