"""3x3 convolutions with fewer multiplications (Winograd 1980; Lavin and Gray 2016, section 4).

Tiles of the input and the weights are transformed by small constant matrices, multiplied as
``taps`` independent matrix products, and transformed back: F(m x m, 3 x 3) takes (m + 2)^2
multiplications for m^2 outputs instead of 9 m^2. Lanes run over channels, so the input is first
copied to channels-last order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import fx
from tvm import te, tirx
from tvm.ir import Expr

from runtime.build.lower.choice import Choice, Offer
from runtime.build.lower.context import Anchor, Context, safe_name
from runtime.build.lower.packing import Packing
from runtime.build.lower.tile import Contraction, largest_divisor, ranked_tiles
from runtime.build.machine import Machine
from splitter.tracing.arguments import shape_of
from splitter.tracing.work import WINOGRAD_SCRATCH_BYTES

Matrix = Sequence[Sequence[float]]

# Of the input (columns: its rows) and of the output (columns: transformed rows), by output tile.
_INPUT: Mapping[int, Matrix] = {
    2: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    4: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
_OUTPUT: Mapping[int, Matrix] = {
    2: ((1, 1, 1, 0), (0, 1, -1, -1)),
    4: (
        (1, 1, 1, 1, 1, 0),
        (0, 1, -1, 2, -2, 0),
        (0, 1, 1, 4, 4, 0),
        (0, 1, -1, 8, -8, 1),
    ),
}


WINOGRAD = "winograd"
"""Algorithm names begin with it; the size of the output tile follows."""


def winograd_offers(machine: Machine, shape: Sequence[int], inner: int) -> Iterator[Offer]:
    """Winograd convolutions by tile, for a result of ``shape`` and ``inner`` input channels."""
    if machine.lanes == 1:
        return
    _, channels, height, width = shape
    for size in _INPUT:
        if not (strip_rows(machine, shape, inner, size) or _fits_whole(shape, inner, size)):
            continue
        down, across = -(-height // size), -(-width // size)
        taps, products = (size + 2) ** 2, channels * inner * 9 * height * width
        fewer = taps * down * across / (9 * height * width)
        weight_bytes = 4 * taps * channels * inner
        extra = _TRANSFORM_COST[size] * machine.lanes * (1 / channels + 1 / inner)
        extra += _BYTE_COST * weight_bytes * machine.lanes / products
        contraction = Contraction(channels, across, inner, contiguous=False)
        for cost, tile in ranked_tiles(machine, contraction):
            yield Offer(cost * fewer + extra, Choice(f"{WINOGRAD}{size}", tile))


def strip_rows(machine: Machine, shape: Sequence[int], inner: int, size: int) -> int:
    """Rows of tiles that are computed together, for each thread; 0 where it is the whole image.

    A strip's transformed input and products fit the cache, and strips divide the image.
    """
    _, channels, height, width = shape
    if height % size:
        return 0
    count, across = height // size, -(-width // size)
    row_bytes = 4 * (size + 2) ** 2 * across * (inner + channels)
    rows = largest_divisor(count, machine.kept_bytes // row_bytes)
    small = count // rows < machine.threads or rows * across < _LEAST_POSITIONS
    return 0 if small else rows


def _fits_whole(shape: Sequence[int], inner: int, size: int) -> bool:
    """Whether the memory for a whole image is within what plans count with."""
    batch, channels, height, width = shape
    tiles = batch * -(-height // size) * -(-width // size)
    values = (size + 2) ** 2 * (inner + channels) + size**2 * (inner + channels)
    return 4 * tiles * values <= WINOGRAD_SCRATCH_BYTES


# Fewer positions than this cannot pay for reading the weights again.
_LEAST_POSITIONS = 8
# Vector instructions, per channel and position, that bring the input and the output into form and
# back, by output tile; and those in whose time one byte of weights comes from the last cache.
_TRANSFORM_COST: Mapping[int, float] = {2: 0.43, 4: 0.6}
_BYTE_COST = 0.25


def winograd(
    ctx: Context, node: fx.Node, source: te.Tensor, padding: Sequence[int], choice: Choice
) -> te.Tensor:
    """The product of a 3x3 convolution with stride 1, shape (batch, channels, height, width)."""
    name, (batch, channels, height, width) = safe_name(node.name), shape_of(node)
    size, tile = int(choice.algorithm.removeprefix(WINOGRAD)), choice.tile
    assert tile is not None
    taps = size + 2
    down, across = -(-height // size), -(-width // size)
    inner, before = int(source.shape[1]), [int(e) for e in source.shape[2:]]

    def pixel(n: Any, y: Any, x: Any, c: Any) -> Expr:
        at = [y - padding[0], x - padding[1]]
        inside = [c for v, e in zip(at, before, strict=True) for c in (v >= 0, v < e)]
        return tirx.if_then_else(tirx.all(*inside), source(n, c, *at), tirx.const(0, "float32"))

    pixels = te.compute(
        (batch, down * size + 2, across * size + 2, inner), pixel, name=f"{name}_pixels_stored"
    )
    half = te.compute(
        (batch, down, taps, across * size + 2, inner),
        lambda n, ty, i, x, c: _combined(_INPUT[size], i, lambda r: pixels(n, ty * size + r, x, c)),
        name=f"{name}_half_stored",
    )
    tiles = te.compute(
        (batch, taps, taps, down, across, inner),
        lambda n, i, j, ty, tx, c: _combined(
            _INPUT[size], j, lambda s: half(n, ty, i, tx * size + s, c)
        ),
        name=f"{name}_tiles_stored",
    )
    weight = ctx.packed(node.args[1], Packing(tile.channels, winograd=size))
    padded = -(-across // tile.space) * tile.space
    blocks = -(-channels // tile.channels)
    depth = te.reduce_axis((0, inner), name=f"{name}_c")

    def product(n: Any, i: Any, j: Any, ty: Any, tx: Any, ko: Any, ki: Any) -> Expr:
        column = tx if padded == across else tirx.min(tx, tirx.const(across - 1, "int32"))
        return te.sum(tiles(n, i, j, ty, column, depth) * weight(i, j, ko, depth, ki), axis=depth)

    blocked = te.compute(
        (batch, taps, taps, down, padded, blocks, tile.channels), product, name=f"{name}_blocked"
    )
    products = te.compute(
        (batch, taps, taps, down, padded, blocks * tile.channels),
        lambda n, i, j, ty, tx, k: blocked(
            n, i, j, ty, tx, tirx.floordiv(k, tile.channels), tirx.floormod(k, tile.channels)
        ),
        name=f"{name}_products_stored",
    )

    wide = blocks * tile.channels
    sums = te.compute(
        (batch, down, across, size, taps, wide),
        lambda n, ty, tx, a, j, k: _combined(
            _OUTPUT[size], a, lambda i: products(n, i, j, ty, tx, k)
        ),
        name=f"{name}_sums_stored",
    )
    outputs = te.compute(
        (batch, down, across, size, size, wide),
        lambda n, ty, tx, a, b, k: _combined(_OUTPUT[size], b, lambda j: sums(n, ty, tx, a, j, k)),
        name=f"{name}_outputs_stored",
    )
    ctx.anchor = Anchor(
        *(f"{name}_blocked", 1, 3, tile, inner, ctx.order),
        winograd=size,
        strip=strip_rows(ctx.machine, shape_of(node), inner, size),
    )

    def planes(n: Any, k: Any, y: Any, x: Any) -> Expr:
        ty, tx = tirx.floordiv(y, size), tirx.floordiv(x, size)
        return outputs(n, ty, tx, tirx.floormod(y, size), tirx.floormod(x, size), k)

    return te.compute((batch, channels, height, width), planes, name=name)


def _combined(matrix: Matrix, row: Any, term: Callable[[int], Expr]) -> Expr:
    """Row number ``row`` of the matrix times the terms; loops over rows are unrolled, so only the
    one sum is left.
    """
    sums = [_sum(coefficients, term) for coefficients in matrix]
    found = sums[-1]
    for index in reversed(range(len(sums) - 1)):
        found = tirx.Select(row == index, sums[index], found)
    return found


def _sum(coefficients: Sequence[float], term: Callable[[int], Expr]) -> Expr:
    total: Any = None
    for index, factor in enumerate(coefficients):
        if factor == 0:
            continue
        value = term(index)
        if total is None:
            total = value if factor == 1 else value * tirx.const(factor, "float32")
        elif factor in (1, -1):
            total = total + value if factor == 1 else total - value
        else:
            total = total + value * tirx.const(factor, "float32")
    return total
