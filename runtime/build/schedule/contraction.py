"""Products: a tile of accumulators stays in registers while the reduction runs.

The three things that make it fast (measured, see docs/decisions.md): weights packed so that a
step reads consecutive bytes; accumulators in a buffer of scope ``local`` whose loops are unrolled,
with the initialisation decomposed, so that LLVM keeps them in registers; no bounds check inside
the reduction.
"""

import math
from typing import Any

from tvm import s_tir

from runtime.build.lower.context import Anchor
from runtime.build.lower.tile import Tile, largest_divisor
from runtime.build.machine import Machine
from runtime.build.schedule.ahead import Panels
from runtime.build.schedule.loops import (
    MOST_UNEVEN,
    extent,
    name_of,
    own_loops,
    share,
    split_for_threads,
    vector_width,
)
from runtime.build.schedule.padding import pad_at, pad_first


def schedule_tiled_product(
    sch: s_tir.Schedule, anchor: Anchor, tile: Tile, machine: Machine
) -> set[str]:
    """Schedule a packed product and its consumer; returns the names of the blocks dealt with."""
    product = sch.get_sblock(anchor.block)
    (result,) = sch.get_consumers(product)
    loops = list(sch.get_loops(result))
    channel, space = loops[anchor.channel_axis], loops[anchor.space_axis]
    outer = [x for x in loops if x not in (channel, space)]
    channel_o, channel_i = sch.split(channel, [None, tile.channels * tile.blocks])
    if anchor.space_axis == anchor.channel_axis:
        order, inner = [*outer, channel_o], [channel_i]
    else:
        space_o, space_i = sch.split(space, [None, tile.space])
        inner = [channel_i, space_i] if tile.scheme == "vector-space" else [space_i, channel_i]
        order = _outer_order(sch, anchor, outer, channel_o, space_o, machine)
    sch.reorder(*order, *inner)
    panels = Panels(tile, math.prod(extent(sch, x) for x in order[order.index(channel_o) + 1 :]))
    at = _share_tiles(sch, order, machine)
    sch.set_scope(product, 0, "local")
    sch.compute_at(product, at, preserve_unit_loops=True)
    schedule_accumulators(sch, product, machine, panels)
    unroll_tile(sch, inner, machine)
    return {anchor.block, name_of(sch, result)} | pad_first(sch, machine)


def _outer_order(
    sch: s_tir.Schedule,
    anchor: Anchor,
    outer: list[Any],
    channel_o: Any,
    space_o: Any,
    machine: Machine,
) -> list[Any]:
    """The chosen order; else blocks of channels run inside pieces of the image."""
    lead, positions = outer[:1], [*outer[1:], space_o]
    if anchor.order == "channels-inside":
        return [*lead, *positions, channel_o]
    if anchor.order == "space-inside":
        return [*lead, channel_o, *positions]
    apart, within = pieces(sch, anchor, channel_o, positions, machine)
    return [*lead, *apart, channel_o, *within]


def pieces(
    sch: s_tir.Schedule, anchor: Anchor, channel_o: Any, positions: list[Any], machine: Machine
) -> tuple[list[Any], list[Any]]:
    """A loop over pieces of the image, if any, and the loops inside a piece.

    A piece's input is read again for every block of channels, and the weights for every piece: both
    shall come from the cache. Where the weights do not fit it, the whole image is one piece unless
    reading them several times is less than reading the image for every block of channels.
    """
    tile = anchor.tile
    assert tile is not None
    tiles, blocks = math.prod(extent(sch, x) for x in positions), extent(sch, channel_o)
    input_bytes = 4 * anchor.depth * tiles * tile.space
    weight_bytes = 4 * _depth(sch, anchor) * blocks * tile.channels * tile.blocks
    if input_bytes <= machine.kept_bytes >= weight_bytes:
        return split_for_threads(sch, positions, machine)
    fits = weight_bytes <= machine.kept_bytes
    count = extent(sch, positions[0])
    room = machine.kept_bytes // 2 if fits else machine.kept_bytes
    size = largest_divisor(count, count * room // input_bytes)
    pieces = count // size
    if not fits and (
        pieces == 1 or pieces * weight_bytes + input_bytes > blocks * input_bytes + weight_bytes
    ):
        return [], positions
    piece, rest = sch.split(positions[0], [None, size])
    return [piece], [rest, *positions[1:]]


def _depth(sch: s_tir.Schedule, anchor: Anchor) -> int:
    """Products that each output sums up, taps included."""
    _, folded = own_loops(sch, sch.get_sblock(anchor.block))
    return math.prod(extent(sch, loop) for loop in folded)


def _share_tiles(sch: s_tir.Schedule, order: list[Any], machine: Machine) -> Any:
    """Give each thread a run of tiles; returns the loop inside which one tile is computed."""
    runs = math.prod(extent(sch, loop) for loop in order[:-1])
    longest = -(-runs // machine.threads)
    if runs >= 2 * machine.threads and longest * machine.threads <= MOST_UNEVEN * runs:
        share(sch, order[:-1], machine)
        return order[-1]
    return share(sch, order, machine)


def schedule_accumulators(
    sch: s_tir.Schedule, product: Any, machine: Machine, panels: Panels | None = None
) -> None:
    """Reduction outside, the tile inside: unrolled, its last axis as vectors."""
    spatial, folded = own_loops(sch, product)
    if panels is not None:
        folded = panels.mark(sch, product, folded, machine)
    sch.reorder(*folded, *spatial)
    unroll_tile(sch, spatial, machine)
    start = sch.decompose_reduction(product, folded[0])
    unroll_tile(sch, list(sch.get_loops(start))[-len(spatial) :], machine)


def unroll_tile(sch: s_tir.Schedule, loops: list[Any], machine: Machine) -> None:
    """The last loop as whole vectors, everything else unrolled.

    Vectors longer than a register are spelt out: LLVM takes those of odd length apart entirely.
    """
    *unrolled, lanes = loops
    if machine.lanes <= 1:
        unrolled.append(lanes)
    else:
        width = vector_width(extent(sch, lanes), machine)
        if width < extent(sch, lanes):
            vectors, lanes = sch.split(lanes, [None, width])
            unrolled.append(vectors)
        if width > 1:
            sch.vectorize(lanes)
    for loop in unrolled:
        sch.unroll(loop)


def schedule_plain_convolution(sch: s_tir.Schedule, anchor: Anchor, machine: Machine) -> set[str]:
    """Schedule a convolution whose weights are not packed: depthwise, grouped, transposed."""
    product = sch.get_sblock(anchor.block)
    consumers = list(sch.get_consumers(product))
    if not consumers:
        sch.cache_write(product, 0, "local")
        (result,) = sch.get_consumers(product)
    else:
        (result,) = consumers
        sch.set_scope(product, 0, "local")
    loops = list(sch.get_loops(result))
    channels, columns = loops[anchor.channel_axis], loops[anchor.space_axis]
    outer = [x for x in loops if x not in (channels, columns)]
    lanes = max(machine.lanes, 1)
    column_tile = _best_divisor(extent(sch, columns), 4 * lanes, lanes)
    columns_o, columns_i = sch.split(columns, [None, column_tile])
    sch.reorder(*outer[:1], channels, *outer[1:], columns_o, columns_i)
    shared = share(sch, [*outer[:1], channels], machine)
    sch.compute_at(product, columns_o, preserve_unit_loops=True)
    schedule_accumulators(sch, product, machine)
    unroll_tile(sch, [columns_i], machine)
    return {anchor.block, name_of(sch, result)} | pad_at(sch, shared)


def _best_divisor(size: int, limit: int, multiple: int) -> int:
    """The largest divisor of ``size`` up to ``limit``, if possible a multiple of ``multiple``."""
    divisors = [d for d in range(1, min(size, limit) + 1) if size % d == 0]
    whole = [d for d in divisors if d % multiple == 0]
    return max(whole or divisors)
