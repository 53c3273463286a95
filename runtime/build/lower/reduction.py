"""Reductions, pooling, softmax and normalisation."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower import expressions as fast
from runtime.build.lower.context import Context, Converter, compute, dtype_of, safe_name
from runtime.build.lower.expressions import type_of
from splitter.tracing.arguments import argument, shape_of

Combine = Callable[..., Expr]


def _axes(node: fx.Node, dims: Any) -> list[int]:
    rank = len(shape_of(node.args[0]))
    listed = [dims] if isinstance(dims, int) else list(dims or [])
    return sorted({axis % rank for axis in listed}) or list(range(rank))


def reduce_over(
    ctx: Context,
    source: te.Tensor,
    axes: Sequence[int],
    combine: Combine,
    name: str,
    read: Combine | None = None,
) -> te.Tensor:
    """``combine`` over ``axes``, which are kept with extent 1.

    Where whole vectors do not fill the innermost axis, what is left of it is folded apart: a row of
    257 elements is one vector after the other and one element.
    """
    innermost, lanes = int(source.shape[-1]), max(ctx.machine.lanes, 1)
    rest = innermost % lanes
    if len(source.shape) - 1 not in axes or not rest or innermost < 2 * lanes:
        return _fold(source, axes, combine, name, read, (0, innermost))
    head = _fold(source, axes, combine, name, read, (0, innermost - rest))
    tail = _fold(source, axes, combine, f"{name}_rest", read, (innermost - rest, rest))
    join = _JOIN[combine]
    return te.compute(head.shape, lambda *i: join(head(*i), tail(*i)), name=f"{name}_joined")


_JOIN: Mapping[Combine, Callable[[Expr, Expr], Expr]] = {
    te.sum: operator.add,
    te.max: tirx.max,
    te.min: tirx.min,
}


def _fold(
    source: te.Tensor,
    axes: Sequence[int],
    combine: Combine,
    name: str,
    read: Combine | None,
    innermost: tuple[int, int],
) -> te.Tensor:
    """``combine`` over ``axes``; of the last axis only some elements: (first, count)."""
    shape = [int(e) for e in source.shape]
    first = [0] * (len(shape) - 1) + [innermost[0]]
    counts = [*shape[:-1], innermost[1]]
    ranges = {a: te.reduce_axis((0, counts[a]), name=f"{name}_r{a}") for a in axes}

    def body(*i: Expr) -> Expr:
        index = [ranges[a] + first[a] if a in ranges else x for a, x in enumerate(i)]
        value = source(*index) if read is None else read(source(*index), *i)
        return combine(value, axis=list(ranges.values()))

    return te.compute([1 if a in ranges else e for a, e in enumerate(shape)], body, name=name)


def _kept_index(node: fx.Node, axes: Sequence[int], index: Sequence[Expr]) -> list[Any]:
    """Index into a reduction with kept axes, from an index of ``node`` that may lack them."""
    rank = len(shape_of(node.args[0]))
    if len(index) == rank:
        return [0 if a in axes else index[a] for a in range(rank)]
    rest = iter(index)
    return [0 if a in axes else next(rest) for a in range(rank)]


def _reduction(combine: Combine, finish: Callable[[Expr, int], Expr] | None = None) -> Converter:
    def convert(ctx: Context, node: fx.Node) -> te.Tensor:
        source = ctx.tensor(node.args[0])
        axes = _axes(node, argument(node, 1, "dim"))
        dtype, name = dtype_of(node), safe_name(node.name)
        count = math.prod(int(source.shape[a]) for a in axes)
        total = reduce_over(
            ctx, source, axes, combine, f"{name}_reduced", lambda x, *_: x.astype(dtype)
        )
        last = finish or (lambda x, _: x)
        return compute(node, lambda *i: last(total(*_kept_index(node, axes, i)), count))

    return convert


def _variance(ctx: Context, node: fx.Node) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    axes = _axes(node, argument(node, 1, "dim"))
    correction: Any = node.kwargs.get("correction", 1)
    name = safe_name(node.name)
    _, squares, count = _moments(ctx, source, axes, name)
    divisor = tirx.const(
        max(count - (1 if correction is None else float(correction)), 0), "float32"
    )
    return compute(node, lambda *i: squares(*_kept_index(node, axes, i)) / divisor)


def _moments(
    ctx: Context, source: te.Tensor, axes: Sequence[int], name: str
) -> tuple[te.Tensor, te.Tensor, int]:
    """Mean and sum of squared deviations, in two passes as single precision needs."""
    count = math.prod(int(source.shape[a]) for a in axes)
    total = reduce_over(ctx, source, axes, te.sum, f"{name}_sum")
    scale = tirx.const(1.0 / count, type_of(source))
    mean = te.compute(total.shape, lambda *i: total(*i) * scale, name=f"{name}_mean")

    def deviation(x: Expr, *i: Expr) -> Expr:
        difference = x - mean(*[0 if a in axes else v for a, v in enumerate(i)])
        return difference * difference

    return mean, reduce_over(ctx, source, axes, te.sum, f"{name}_squares", deviation), count


def _arg(best: Callable[[Any, Any], Any], worst: Callable[[str], Any]) -> Converter:
    def convert(ctx: Context, node: fx.Node) -> te.Tensor:
        source = ctx.tensor(node.args[0])
        shape = [int(e) for e in source.shape]
        dim = argument(node, 1, "dim")
        axes = list(range(len(shape))) if dim is None else [dim % len(shape)]
        pick = te.comm_reducer(
            lambda a, b: (
                tirx.Select(_wins(best, a, b), a[0], b[0]),
                tirx.Select(_wins(best, a, b), a[1], b[1]),
            ),
            lambda at, value: (tirx.const(0x7FFFFFFF, at), worst(value)),
            name="pick",
        )
        ranges = {a: te.reduce_axis((0, shape[a]), name=f"{node.name}_r{a}") for a in axes}

        def body(*i: Expr) -> Any:
            index = [ranges.get(a, x) for a, x in enumerate(i)]
            position: Any = tirx.const(0, "int64")
            for a in axes:
                position = position * shape[a] + ranges[a].var.astype("int64")
            return pick((position, source(*index)), axis=list(ranges.values()))

        kept = [1 if a in ranges else e for a, e in enumerate(shape)]
        found = te.compute(kept, body, name=f"{safe_name(node.name)}_picked")
        return compute(node, lambda *i: found[0](*_kept_index(node, axes, i)))

    return convert


def _wins(best: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    return tirx.Or(best(a[1], b[1]), tirx.And(a[1] == b[1], a[0] < b[0]))


def _softmax(logarithm: bool) -> Converter:
    def convert(ctx: Context, node: fx.Node) -> te.Tensor:
        source = ctx.tensor(node.args[0])
        axes = _axes(node, argument(node, 1, "dim"))
        name = safe_name(node.name)
        top = reduce_over(ctx, source, axes, te.max, f"{name}_max")

        def at(i: Sequence[Expr]) -> list[Any]:
            return [0 if a in axes else x for a, x in enumerate(i)]

        powers = te.compute(
            source.shape, lambda *i: fast.exp(source(*i) - top(*at(i))), name=f"{name}_exp_stored"
        )
        total = reduce_over(ctx, powers, axes, te.sum, f"{name}_total")
        if logarithm:
            return compute(node, lambda *i: source(*i) - top(*at(i)) - tirx.log(total(*at(i))))
        return compute(node, lambda *i: powers(*i) / total(*at(i)))

    return convert


def _layer_norm(ctx: Context, node: fx.Node) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    rank, count = len(source.shape), len(argument(node, 1, "normalized_shape"))
    axes = list(range(rank - count, rank))
    weight, bias = argument(node, 2, "weight"), argument(node, 3, "bias")
    eps = argument(node, 4, "eps", 1e-5)
    return _normalized(ctx, node, source, axes, eps, weight, bias, lambda i: i[rank - count :])


def _native_group_norm(ctx: Context, node: fx.Node) -> te.Tensor:
    weight, bias = node.args[1], node.args[2]
    groups, eps = int(node.args[6]), node.args[7]  # type: ignore[arg-type]
    source = ctx.tensor(node.args[0])
    batch, channels, *spatial = (int(e) for e in source.shape)
    inner = channels // groups
    name = safe_name(node.name)
    grouped = te.compute(
        (batch, groups, inner, *spatial),
        lambda n, g, c, *x: source(n, g * inner + c, *x),
        name=f"{name}_grouped",
    )
    axes = list(range(2, len(grouped.shape)))
    mean, squares, count = _moments(ctx, grouped, axes, name)
    norm = _reciprocal_deviation(squares, count, float(eps), name)  # type: ignore[arg-type]

    def body(n: Expr, c: Expr, *x: Expr) -> Expr:
        at = [n, tirx.floordiv(c, inner), *[0] * (1 + len(x))]
        value = (source(n, c, *x) - mean(*at)) * norm(*at)
        value = value if weight is None else value * ctx.tensor(weight)(c)
        return value if bias is None else value + ctx.tensor(bias)(c)

    return te.compute(tuple(source.shape), body, name=name)


def _reciprocal_deviation(squares: te.Tensor, count: int, eps: float, name: str) -> te.Tensor:
    one, scale = tirx.const(1.0, type_of(squares)), tirx.const(1.0 / count, type_of(squares))
    offset = tirx.const(eps, type_of(squares))
    return te.compute(
        squares.shape,
        lambda *i: one / tirx.sqrt(squares(*i) * scale + offset),
        name=f"{name}_norm_stored",
    )


def _normalized(
    ctx: Context,
    node: fx.Node,
    source: te.Tensor,
    axes: Sequence[int],
    eps: float,
    weight: object,
    bias: object,
    affine_index: Callable[[Sequence[Any]], Sequence[Any]],
) -> te.Tensor:
    name = safe_name(node.name)
    mean, squares, count = _moments(ctx, source, axes, name)
    norm = _reciprocal_deviation(squares, count, eps, name)

    def body(*i: Expr) -> Expr:
        at = [0 if a in axes else x for a, x in enumerate(i)]
        value = (source(*i) - mean(*at)) * norm(*at)
        value = value if weight is None else value * ctx.tensor(weight)(*affine_index(i))
        return value if bias is None else value + ctx.tensor(bias)(*affine_index(i))

    return te.compute(tuple(int(e) for e in source.shape), body, name=name)


def _norm(ctx: Context, node: fx.Node) -> te.Tensor:
    order = float(argument(node, 1, "ord", 2))
    axes = _axes(node, argument(node, 2, "dim"))
    source, name = ctx.tensor(node.args[0]), safe_name(node.name)
    if order == 1.0:
        total = reduce_over(ctx, source, axes, te.sum, f"{name}_sum", lambda x, *_: tirx.abs(x))
        return compute(node, lambda *i: total(*_kept_index(node, axes, i)))
    if order == math.inf:
        top = reduce_over(ctx, source, axes, te.max, f"{name}_max", lambda x, *_: tirx.abs(x))
        return compute(node, lambda *i: top(*_kept_index(node, axes, i)))
    power = tirx.const(order, type_of(source))

    def term(x: Expr, *_: Expr) -> Expr:
        return x * x if order == 2.0 else tirx.power(tirx.abs(x), power)

    total = reduce_over(ctx, source, axes, te.sum, f"{name}_sum", term)
    root = tirx.const(1.0 / order, type_of(source))

    def body(*i: Expr) -> Expr:
        value = total(*_kept_index(node, axes, i))
        return tirx.sqrt(value) if order == 2.0 else tirx.power(value, root)

    return compute(node, body)


def _cumulative(ctx: Context, node: fx.Node) -> te.Tensor:
    source = ctx.tensor(node.args[0])
    shape = shape_of(node)
    axis = argument(node, 1, "dim") % len(shape)
    dtype, name = dtype_of(node), safe_name(node.name)
    k = te.reduce_axis((0, shape[axis]), name=f"{name}_k")

    def body(*i: Expr) -> Expr:
        index = [k if a == axis else x for a, x in enumerate(i)]
        value = source(*index).astype(dtype)
        return te.sum(tirx.Select(k <= i[axis], value, tirx.const(0, dtype)), axis=k)

    return te.compute(shape, body, name=name)


CONVERTERS: Mapping[str, Converter] = {
    "sum": _reduction(te.sum),
    "mean": _reduction(te.sum, lambda x, n: x * tirx.const(1.0 / n, type_of(x))),
    "amax": _reduction(te.max),
    "amin": _reduction(te.min),
    "max": _reduction(te.max),
    "min": _reduction(te.min),
    "var": _variance,
    "argmax": _arg(lambda a, b: a > b, te.min_value),
    "argmin": _arg(lambda a, b: a < b, te.max_value),
    "linalg_vector_norm": _norm,
    "cumsum": _cumulative,
    "softmax": _softmax(logarithm=False),
    "_softmax": _softmax(logarithm=False),
    "log_softmax": _softmax(logarithm=True),
    "_log_softmax": _softmax(logarithm=True),
    "layer_norm": _layer_norm,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _native_group_norm,
}
