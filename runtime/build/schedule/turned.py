"""Products with vectors over channels, whose results are planes: computed, turned, then finished.

A tile of such a product holds the channels of a position side by side; the result wants positions
side by side. Storing lane by lane takes two instructions for each element, a third of the time of a
pointwise convolution of few channels. So a piece of the product is kept with channels last, small
enough for the first caches, turned in squares of vectors, and finished (bias, activation, residual)
by whole vectors of positions.
"""

import math
from typing import Any

from tvm import s_tir

from runtime.build.lower.context import Anchor
from runtime.build.lower.tile import Tile, largest_divisor
from runtime.build.machine import Machine
from runtime.build.schedule.ahead import Panels
from runtime.build.schedule.contraction import pieces, schedule_accumulators, unroll_tile
from runtime.build.schedule.loops import blocks, extent, name_of, own_loops, share, vectorize_inner
from runtime.build.schedule.padding import pad_first

_PIECE_BYTES = 16 << 10
"""Most of a product that is kept before it is turned."""


def schedule_turned_product(
    sch: s_tir.Schedule, anchor: Anchor, tile: Tile, machine: Machine
) -> set[str]:
    """Schedule product, turning block and result; returns the names of the blocks dealt with."""
    product, turned = sch.get_sblock(anchor.block), sch.get_sblock(anchor.turned)
    (result,) = sch.get_consumers(turned)
    loops = list(sch.get_loops(result))
    channel, space = loops[anchor.channel_axis], loops[anchor.space_axis]
    lead, *rows = [x for x in loops if x not in (channel, space)]
    width = tile.channels * tile.blocks
    full = extent(sch, channel) % width == 0
    channel_o, channel_i = sch.split(channel, [None, width])
    columns, flat = extent(sch, space), not rows and extent(sch, space) % tile.space == 0
    if flat:
        columns = tile.space
        across, space = sch.split(space, [None, columns])
        rows = [across]
    apart, within = pieces(sch, anchor, channel_o, rows, machine) if rows else ([], [])
    steps, rest = _steps(sch, within, 4 * width * columns)
    order = [lead, *apart, channel_o, *steps]
    sch.reorder(*order, channel_i, *rest, space)
    tiles = math.prod(extent(sch, x) for x in [*steps, *rest]) * -(-columns // tile.space)
    at = share(sch, order, machine)
    if flat:
        sch.fuse(*rest, space)
    kept = sch.cache_write(product, 0, "local")
    for block in (turned, kept):
        sch.compute_at(block, at, preserve_unit_loops=True)
        sch.set_scope(block, 0, "local")
    _schedule_product(sch, product, kept, Panels(tile, tiles), machine)
    _schedule_turned(sch, turned, machine)
    done = {anchor.block, anchor.turned, name_of(sch, result)} | pad_first(sch, machine)
    if full:  # under a condition it is for LLVM to vectorise
        _vectorize_rows(sch, result, machine)
    return done


def _steps(sch: s_tir.Schedule, within: list[Any], tile_bytes: int) -> tuple[list[Any], list[Any]]:
    """Loops over parts of a piece that are small enough to be kept, and the loops inside a part."""
    for index, loop in enumerate(within):
        inner = math.prod(extent(sch, x) for x in within[index + 1 :])
        size = largest_divisor(extent(sch, loop), _PIECE_BYTES // (tile_bytes * inner))
        if tile_bytes * inner <= _PIECE_BYTES or index == len(within) - 1:
            step, rest = sch.split(loop, [None, size])
            return [*within[:index], step], [rest, *within[index + 1 :]]
    return [], within


def _schedule_product(
    sch: s_tir.Schedule, product: Any, kept: Any, panels: Panels, machine: Machine
) -> None:
    """Tiles of the piece one after the other; the accumulators of each in registers."""
    (_lead, block, *rows, space, lanes), _ = own_loops(sch, kept)
    space_o, space_i = sch.split(space, [None, panels.tile.space])
    inner = [block, space_i, lanes]
    sch.reorder(*rows, space_o, *inner)
    sch.compute_at(product, space_o, preserve_unit_loops=True)
    schedule_accumulators(sch, product, machine, panels)
    unroll_tile(sch, inner, machine)


def _vectorize_rows(sch: s_tir.Schedule, result: Any, machine: Machine) -> None:
    """Whole vectors, and apart from them what they do not fill: not every target's LLVM does so."""
    row = list(sch.get_loops(result))[-1]
    whole = extent(sch, row) // machine.lanes * machine.lanes
    if 0 < whole < extent(sch, row):
        result, _ = _cut(sch, row, [whole, None])
    vectorize_inner(sch, result, machine)


def _schedule_turned(sch: s_tir.Schedule, turned: Any, machine: Machine) -> None:
    """Squares of as many channels as positions; what is left over in smaller ones."""
    (_lead, block, channel, position), _ = own_loops(sch, turned)
    sch.reorder(block, position, channel)
    sizes = _squares(extent(sch, position), machine.lanes)
    if len(sizes) == 1:
        _schedule_square(sch, position, channel, sizes[0][1])
        return
    parts = _cut(sch, position, [*(count for count, _ in sizes[:-1]), None])
    for part, (_, side) in zip(parts, sizes, strict=True):
        position, channel = list(sch.get_loops(part))[-2:]
        _schedule_square(sch, position, channel, side)


def _cut(sch: s_tir.Schedule, loop: Any, counts: list[int | None]) -> list[Any]:
    """The blocks of a loop cut into runs of so many iterations."""
    before = {name_of(sch, block) for block in blocks(sch)}
    sch.loop_partition(loop, counts)
    (common,) = [block for block in blocks(sch) if name_of(sch, block) not in before]
    return [sch.get_child_blocks(part)[0] for part in sch.get_child_blocks(common)]


def _squares(positions: int, lanes: int) -> list[tuple[int, int]]:
    """Numbers of positions, and the side of the squares that they are turned in."""
    found = []
    side = lanes
    while positions:
        if positions >= side:
            found.append((positions // side * side, side))
            positions %= side
        side //= 2
    return found


def _schedule_square(sch: s_tir.Schedule, position: Any, channel: Any, side: int) -> None:
    positions, position_i = [], position
    if extent(sch, position) > side:
        *positions, position_i = sch.split(position, [None, side])
    channel_o, channel_i = sch.split(channel, [None, side])
    sch.reorder(channel_o, *positions, channel_i, position_i)
    if side > 1:
        sch.vectorize(position_i)
        sch.unroll(channel_i)
