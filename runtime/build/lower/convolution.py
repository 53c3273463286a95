"""Convolutions and transposed convolutions of one to three spatial axes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.blocked import blocked_planes
from runtime.build.lower.choice import Choice
from runtime.build.lower.context import (
    Anchor,
    Context,
    Converter,
    dtype_of,
    safe_name,
    tiled_offers,
    with_bias,
)
from runtime.build.lower.expressions import type_of
from runtime.build.lower.packing import Packing
from runtime.build.lower.tile import Contraction, row_lanes
from runtime.build.lower.winograd import WINOGRAD, winograd, winograd_offers
from splitter.tracing.arguments import argument, listed, shape_of


@dataclass(frozen=True, slots=True)
class _Windows:
    """Where the taps of a convolution read its input."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    phased: bool
    """Whether columns are sorted by their remainder modulo the stride, so that neighbouring
    outputs read neighbouring elements."""

    def source(self, source: te.Tensor, name: str, columns: int = 0) -> te.Tensor:
        """The input as the taps read it: padded, and sorted where that is wanted; with enough
        columns that ``columns`` outputs could be computed in each row.
        """
        if self.phased:
            return _sorted_columns(source, self.padding, self.stride[-1], name, columns)
        return _padded(source, self.padding, self.padding, name, columns)

    def at(self, spatial: Sequence[Any], taps: Sequence[Any]) -> list[Any]:
        """Spatial index into `source` for an output position and a tap."""
        steps = [r * d for r, d in zip(taps, self.dilation, strict=True)]
        found = [x * s + r for x, s, r in zip(spatial, self.stride, steps, strict=True)]
        if not self.phased:
            return found
        phases = self.stride[-1]
        column = spatial[-1] + tirx.floordiv(steps[-1], phases)
        return [*found[:-1], tirx.floormod(steps[-1], phases), column]


def _padded(
    source: te.Tensor, low: Sequence[int], high: Sequence[int], name: str, columns: int = 0
) -> te.Tensor:
    """``source`` with zeros around its last axes, at least ``columns`` wide."""
    wide = max(columns - int(source.shape[-1]) - low[-1], high[-1])
    high = [*high[:-1], wide]
    if not any([*low, *high]) and isinstance(source.op, te.PlaceholderOp):
        return source
    lead = len(source.shape) - len(low)
    low, high = [0] * lead + list(low), [0] * lead + list(high)
    shape = [int(e) + a + b for e, a, b in zip(source.shape, low, high, strict=True)]
    spare = _spare_columns(math.prod(shape[lead:-1]), shape[-1])
    shape[-1] += spare

    def body(*i: Expr) -> Expr:
        index = [x - p for x, p in zip(i, low, strict=True)]
        checked = [bool(a or b) for a, b in zip(low, high, strict=True)]
        checked[-1] = checked[-1] or spare > 0
        return _or_zero(source, index, checked)

    return te.compute(shape, body, name=f"{name}_padded")


def _spare_columns(rows: int, columns: int) -> int:
    """Columns to add so that neighbouring planes do not fall into the same few cache sets."""
    return next(spare for spare in range(9) if spare == 8 or rows * (columns + spare) * 4 % 512)


def _sorted_columns(
    source: te.Tensor, padding: Sequence[int], phases: int, name: str, columns: int = 0
) -> te.Tensor:
    """``source`` with zeros around it and its last axis split into (phase, column / phases)."""
    lead = len(source.shape) - len(padding)
    pads = [0] * lead + list(padding)
    *rest, last = [int(e) + 2 * p for e, p in zip(source.shape, pads, strict=True)]
    shape = [*rest, phases, max(columns, -(-last // phases))]

    def body(*i: Expr) -> Expr:
        column = i[-1] * phases + i[-2]
        index = [x - p for x, p in zip([*i[:-2], column], pads, strict=True)]
        checked = [bool(p) for p in pads[:-1]] + [True]
        return _or_zero(source, index, checked)

    return te.compute(shape, body, name=f"{name}_padded")


def _or_zero(source: te.Tensor, index: Sequence[Any], checked: Sequence[bool]) -> Expr:
    inside = [
        c
        for x, e, check in zip(index, source.shape, checked, strict=True)
        if check
        for c in (x >= 0, x < e)
    ]
    if not inside:
        return source(*index)
    return tirx.if_then_else(tirx.all(*inside), source(*index), tirx.const(0, type_of(source)))


def _convolution(ctx: Context, node: fx.Node) -> te.Tensor:
    rank = len(shape_of(node)) - 2
    groups = argument(node, 6, "groups", 1)
    weight_shape = shape_of(node.args[1])
    stride = listed(argument(node, 3, "stride", 1), rank)
    windows = _Windows(
        stride=stride,
        padding=listed(argument(node, 4, "padding", 0), rank),
        dilation=listed(argument(node, 5, "dilation", 1), rank),
        phased=stride[-1] > 1 and _worth_sorting(weight_shape, groups),
    )
    if groups > 1 and weight_shape[1] == 1 and dtype_of(node) == "float32":
        product = _depthwise(ctx, node, windows)
        return with_bias(ctx, node, product, argument(node, 2, "bias"), 1)
    packed = groups == 1 and ctx.is_private_constant(node.args[1]) and dtype_of(node) == "float32"
    product = _packed(ctx, node, windows) if packed else _unpacked(ctx, node, windows, groups)
    return with_bias(ctx, node, product, argument(node, 2, "bias"), 1)


def _worth_sorting(weight_shape: Sequence[int], groups: int) -> bool:
    """Copying the input is little beside the product when each element is read many times."""
    taps = math.prod(weight_shape[2:])
    readers = weight_shape[0] // groups * taps
    return taps > 1 and (groups > 1 or readers >= 16 * weight_shape[1])


def _packed(ctx: Context, node: fx.Node, windows: _Windows) -> te.Tensor:
    name, shape, given = safe_name(node.name), shape_of(node), ctx.tensor(node.args[0])
    channels, *inner = shape_of(node.args[1])
    pointwise = max(inner[1:]) == 1 and not any(windows.padding)
    contiguous = windows.phased or windows.stride[-1] == 1 or pointwise
    contraction = Contraction(channels, shape[-1], math.prod(inner), contiguous, shape[2:])
    offers = [*tiled_offers(ctx.machine, contraction)]
    if inner[1:] == [3, 3] and {*windows.stride, *windows.dilation} == {1}:
        offers += winograd_offers(ctx.machine, shape, inner[0])
    if ctx.feeds_rows:
        offers = [offer for offer in offers if fills_rows(offer.choice, channels)]
    choice = ctx.choose(offers)
    tile = choice.tile
    assert tile is not None
    if choice.algorithm.startswith(WINOGRAD):
        return winograd(ctx, node, given, windows.padding, choice)
    if pointwise and max(windows.stride) > 1:
        source, windows = _thinned(given, shape, windows, name), _PLAIN[len(inner) - 1]
    else:
        source = windows.source(given, name)
    axes = [te.reduce_axis((0, e), name=f"{name}_r{k}") for k, e in enumerate(inner)]

    def read(n: Any, x: Sequence[Any]) -> Expr:
        return source(n, axes[0], *windows.at(x, axes[1:]))

    weight = ctx.packed(node.args[1], Packing(tile.channels))
    return blocked_planes(ctx, name, shape, tile, read, weight, axes)


def fills_rows(choice: Choice, channels: int) -> bool:
    """Whether a product makes rows of planes, of as many channels at a time as divide them all."""
    tile = choice.tile
    return (
        tile is not None
        and choice.is_compact
        and not choice.order
        and tile.scheme == "vector-space"
        and channels % tile.channels == 0
    )


def _thinned(source: te.Tensor, shape: Sequence[int], windows: _Windows, name: str) -> te.Tensor:
    """A copy of the elements that a strided pointwise convolution reads."""

    def body(n: Any, c: Any, *x: Any) -> Expr:
        return source(n, c, *(v * s for v, s in zip(x, windows.stride, strict=True)))

    return te.compute((*map(int, source.shape[:2]), *shape[2:]), body, name=f"{name}_padded")


_PLAIN = {rank: _Windows([1] * rank, [0] * rank, [1] * rank, phased=False) for rank in (1, 2, 3)}


def _depthwise(ctx: Context, node: fx.Node, windows: _Windows) -> te.Tensor:
    """Rows of whole vectors: what is computed past the end of a row is dropped."""
    name, shape = safe_name(node.name), shape_of(node)
    channels, _, *kernel = shape_of(node.args[1])
    lanes = row_lanes(ctx.machine, shape[-1])
    wide = -(-shape[-1] // lanes) * lanes
    reach = (kernel[-1] - 1) * windows.dilation[-1]
    if windows.phased:
        columns = wide + reach // windows.stride[-1]
    else:
        columns = (wide - 1) * windows.stride[-1] + reach + 1
    source = windows.source(ctx.tensor(node.args[0]), name, columns)
    weight = ctx.tensor(node.args[1])
    axes = [te.reduce_axis((0, e), name=f"{name}_r{k}") for k, e in enumerate(kernel)]
    repeats = channels // shape_of(node.args[0])[1]

    def body(n: Any, f: Any, *x: Any) -> Expr:
        value = source(n, f if repeats == 1 else tirx.floordiv(f, repeats), *windows.at(x, axes))
        return te.sum(value * weight(f, 0, *axes), axis=axes)

    rows = te.compute((*shape[:-1], wide), body, name=f"{name}_rows")
    anchor = Anchor(f"{name}_rows", 1, len(shape) - 1, None, lanes=lanes, source=ctx.anchor)
    ctx.anchor = anchor
    return te.compute(shape, lambda *i: rows(*i), name=name)


def _unpacked(ctx: Context, node: fx.Node, windows: _Windows, groups: int) -> te.Tensor:
    name = safe_name(node.name)
    source, weight = windows.source(ctx.tensor(node.args[0]), name), ctx.tensor(node.args[1])
    channels, inner, *kernel = (int(e) for e in weight.shape)
    per_group = channels // groups
    axes = [te.reduce_axis((0, e), name=f"{name}_r{k}") for k, e in enumerate([inner, *kernel])]

    def channel(f: Any) -> Any:
        if inner == 1 and per_group == 1:
            return f
        return tirx.floordiv(f, per_group) * inner + axes[0].var

    def body(n: Any, f: Any, *x: Any) -> Expr:
        value = source(n, channel(f), *windows.at(x, axes[1:]))
        return te.sum(value * weight(f, *axes), axis=axes)

    ctx.anchor = Anchor(name, 1, len(shape_of(node)) - 1, None)
    return te.compute(shape_of(node), body, name=name)


def _transposed(ctx: Context, node: fx.Node) -> te.Tensor:
    groups, dilation = argument(node, 6, "groups", 1), argument(node, 7, "dilation", 1)
    plain = groups != 1 or any(d != 1 for d in listed(dilation, 1))
    if plain or not ctx.is_private_constant(node.args[1]) or dtype_of(node) != "float32":
        return _transposed_plain(ctx, node)
    return _transposed_by_phase(ctx, node)


def _transposed_by_phase(ctx: Context, node: fx.Node) -> te.Tensor:
    """One stride-1 convolution whose output channels are (channel, phase), then a shuffle."""
    rank = len(shape_of(node)) - 2
    stride = listed(argument(node, 3, "stride", 1), rank)
    padding = listed(argument(node, 4, "padding", 0), rank)
    batch, channels, *after = shape_of(node)
    inner, _, *kernel = shape_of(node.args[1])
    before = shape_of(node.args[0])[2:]
    taps = [-(-k // s) for k, s in zip(kernel, stride, strict=True)]
    # Output x is phase (x + padding) % stride of base (x + padding) // stride.
    first = [p // s for p, s in zip(padding, stride, strict=True)]
    last = [(e - 1 + p) // s for e, p, s in zip(after, padding, stride, strict=True)]
    name = safe_name(node.name)
    low = [max(0, t - 1 - f) for t, f in zip(taps, first, strict=True)]
    high = [max(0, b - e + 1) for b, e in zip(last, before, strict=True)]
    source = _padded(ctx.tensor(node.args[0]), low, high, name)
    axes = [te.reduce_axis((0, e), name=f"{name}_r{k}") for k, e in enumerate([inner, *taps])]
    planes = (
        batch,
        channels * math.prod(stride),
        *(b - f + 1 for b, f in zip(last, first, strict=True)),
    )
    depth = inner * math.prod(taps)
    tile = ctx.choose_tile(Contraction(planes[1], planes[-1], depth, True, planes[2:]))

    def read(n: Any, x: Sequence[Any]) -> Expr:
        at = [v + f - r + pad for v, f, r, pad in zip(x, first, axes[1:], low, strict=True)]
        return source(n, axes[0], *at)

    weight = ctx.packed(node.args[1], Packing(tile.channels, tuple(stride)))
    phased = blocked_planes(ctx, f"{name}_stored", planes, tile, read, weight, axes)

    def shuffled(n: Expr, f: Expr, *x: Expr) -> Expr:
        channel: Any = f
        base: list[Any] = []
        for v, s, p, start in zip(x, stride, padding, first, strict=True):
            channel = channel * s + tirx.floormod(v + p, s)
            base.append(tirx.floordiv(v + p, s) - start)
        return phased(n, channel, *base)

    product = te.compute(shape_of(node), shuffled, name=name)
    return with_bias(ctx, node, product, argument(node, 2, "bias"), 1)


def _transposed_plain(ctx: Context, node: fx.Node) -> te.Tensor:
    rank = len(shape_of(node)) - 2
    stride = listed(argument(node, 3, "stride", 1), rank)
    padding = listed(argument(node, 4, "padding", 0), rank)
    groups = argument(node, 6, "groups", 1)
    dilation = listed(argument(node, 7, "dilation", 1), rank)
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
    return with_bias(ctx, node, product, argument(node, 2, "bias"), 1)


CONVERTERS: Mapping[str, Converter] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "conv_transpose1d": _transposed,
    "conv_transpose2d": _transposed,
}
