"""Table look-ups and resampling: operators that read where data or geometry say."""

from collections.abc import Mapping
from typing import Any

from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.context import Context, Converter, broadcast_read, compute
from splitter.tracing.arguments import argument, shape_of


def _wrapped(index: Expr, extent: int) -> Expr:
    """Python's negative indices, then clamped: a node must not read outside a tensor."""
    at = index.astype("int32")
    at = tirx.Select(at < 0, at + extent, at)
    return tirx.max(tirx.min(at, tirx.const(extent - 1, "int32")), tirx.const(0, "int32"))


def _embedding(ctx: Context, node: fx.Node) -> te.Tensor:
    table, index = ctx.tensor(node.args[0]), ctx.tensor(node.args[1])
    rows = int(table.shape[0])
    return compute(node, lambda *i: table(_wrapped(index(*i[:-1]), rows), i[-1]))


def _index_select(ctx: Context, node: fx.Node) -> te.Tensor:
    source, index = ctx.tensor(node.args[0]), ctx.tensor(node.args[2])
    axis = argument(node, 1, "dim") % len(source.shape)
    extent = int(source.shape[axis])

    def body(*i: Expr) -> Expr:
        at = _wrapped(index(i[axis]), extent)
        return source(*[at if a == axis else x for a, x in enumerate(i)])

    return compute(node, body)


def _gather(ctx: Context, node: fx.Node) -> te.Tensor:
    source, index = ctx.tensor(node.args[0]), ctx.tensor(node.args[2])
    axis = argument(node, 1, "dim") % len(source.shape)
    extent = int(source.shape[axis])
    return compute(
        node,
        lambda *i: source(
            *[_wrapped(index(*i), extent) if a == axis else x for a, x in enumerate(i)]
        ),
    )


def _index(ctx: Context, node: fx.Node) -> te.Tensor:
    """Advanced indexing: the index tensors' common shape stands where the first of them stood."""
    source = ctx.tensor(node.args[0])
    given: list[Any] = list(node.args[1])  # type: ignore[arg-type]
    given += [None] * (len(source.shape) - len(given))
    used = [a for a, value in enumerate(given) if value is not None]
    joined = used == list(range(used[0], used[-1] + 1))
    rank = max(len(ctx.tensor(given[a]).shape) for a in used)
    start = used[0] if joined else 0

    def body(*i: Expr) -> Expr:
        shared, plain = i[start : start + rank], iter([*i[:start], *i[start + rank :]])
        at = [
            _wrapped(broadcast_read(ctx.tensor(given[a]), shared), int(source.shape[a]))
            if a in used
            else next(plain)
            for a in range(len(given))
        ]
        return source(*at)

    return compute(node, body)


def _nearest(ctx: Context, node: fx.Node) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    (height, width), (scale_y, scale_x) = _geometry(node, source)

    def body(n: Expr, c: Expr, y: Expr, x: Expr) -> Expr:
        return source(n, c, _nearest_at(y, scale_y, height), _nearest_at(x, scale_x, width))

    return compute(node, body)


def _nearest_at(x: Expr, scale: float, extent: int) -> Expr:
    if (1 / scale).is_integer():
        return tirx.floordiv(x, int(1 / scale))
    at = tirx.floor(x.astype("float32") * tirx.const(scale, "float32")).astype("int32")
    return tirx.min(at, tirx.const(extent - 1, "int32"))


def _geometry(node: fx.Node, source: te.Tensor) -> tuple[tuple[int, int], tuple[float, float]]:
    """Input extents, and input steps per output step as torch computes them."""
    before = (int(source.shape[2]), int(source.shape[3]))
    after = shape_of(node)[2:]
    factors = node.args[-1] if isinstance(node.args[-1], list | tuple) else None
    if node.target._schema.overload_name == "vec" and factors:  # type: ignore[union-attr]
        return before, (1.0 / float(factors[0]), 1.0 / float(factors[1]))  # type: ignore[arg-type]
    return before, (before[0] / after[0], before[1] / after[1])


def _bilinear(ctx: Context, node: fx.Node) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    aligned = bool(node.args[2])
    extents, scales = _geometry(node, source)
    after = shape_of(node)[2:]
    if aligned:
        scales = tuple(  # type: ignore[assignment]
            (b - 1) / (a - 1) if a > 1 else 0.0 for b, a in zip(extents, after, strict=True)
        )

    def axis(x: Expr, extent: int, scale: float) -> tuple[Expr, Expr, Expr]:
        half = tirx.const(0.0 if aligned else 0.5, "float32")
        at = (x.astype("float32") + half) * tirx.const(scale, "float32") - half
        at = tirx.max(at, tirx.const(0.0, "float32"))
        low = tirx.min(tirx.floor(at).astype("int32"), tirx.const(extent - 1, "int32"))
        high = tirx.min(low + 1, tirx.const(extent - 1, "int32"))
        return low, high, at - low.astype("float32")

    def body(n: Expr, c: Expr, y: Expr, x: Expr) -> Expr:
        y0, y1, fy = axis(y, extents[0], scales[0])
        x0, x1, fx_ = axis(x, extents[1], scales[1])
        one = tirx.const(1.0, "float32")
        top = source(n, c, y0, x0) * (one - fx_) + source(n, c, y0, x1) * fx_
        bottom = source(n, c, y1, x0) * (one - fx_) + source(n, c, y1, x1) * fx_
        return top * (one - fy) + bottom * fy

    return compute(node, body)


CONVERTERS: Mapping[str, Converter] = {
    "embedding": _embedding,
    "index_select": _index_select,
    "gather": _gather,
    "index": _index,
    "upsample_nearest2d": _nearest,
    "upsample_bilinear2d": _bilinear,
}
