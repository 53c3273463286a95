"""Products whose weight the kernel decodes: a block of channels at a time, on the stack.

All positions of a block of output channels follow one another, so that what was decoded is used
again. What the stack cannot hold is decoded a few input channels at a time, for each tile anew.
"""

import math
from typing import Any

from tvm import s_tir

from runtime.build.lower.context import Anchor
from runtime.build.lower.decoded import Decoded
from runtime.build.lower.tile import Tile, largest_divisor
from runtime.build.machine import Machine
from runtime.build.schedule.contraction import unroll_tile
from runtime.build.schedule.loops import extent, name_of, own_loops, partitioned, share
from runtime.build.schedule.padding import pad_first

_MOST_BYTES = 128 << 10
"""Decoded at once, on the stack of each thread."""
_PIECE_BYTES = 16 << 10
"""The same where it does not stay: what the first-level cache holds beside the input."""


def schedule_decoded_product(
    sch: s_tir.Schedule, anchor: Anchor, tile: Tile, decoded: Decoded, machine: Machine
) -> set[str]:
    """Schedule a product and its consumer; returns the names of the blocks dealt with."""
    product = sch.get_sblock(anchor.block)
    (result,) = sch.get_consumers(product)
    width = tile.channels * tile.blocks
    shared, at, inner = _tile_loops(sch, result, anchor, tile, machine)
    sch.set_scope(product, 0, "local")
    sch.compute_at(product, at, preserve_unit_loops=True)
    spatial, folded = own_loops(sch, product)
    sch.reorder(*folded, *spatial)
    unroll_tile(sch, spatial, machine)
    depth = math.prod(extent(sch, loop) for loop in folded)
    place, first = shared, folded[0]
    if 4 * depth * width > _MOST_BYTES:
        rows = depth // extent(sch, folded[0])
        first, _ = sch.split(folded[0], [None, _piece(extent(sch, folded[0]), rows, width)])
        place = first
    start = sch.decompose_reduction(product, first)
    unroll_tile(sch, list(sch.get_loops(start))[-len(spatial) :], machine)
    _decode_at(sch, decoded, place, machine)
    unroll_tile(sch, inner, machine)
    return {anchor.block, decoded.block, name_of(sch, result)} | pad_first(sch, machine)


def _piece(extent_: int, rows: int, width: int) -> int:
    """Input channels to decode at once."""
    return largest_divisor(extent_, max(1, _PIECE_BYTES // (4 * rows * width)))


def _tile_loops(
    sch: s_tir.Schedule, result: Any, anchor: Anchor, tile: Tile, machine: Machine
) -> tuple[Any, Any, list[Any]]:
    """The loop that threads share, the one that computes a tile, and those of the tile."""
    loops = list(sch.get_loops(result))
    channel, space = loops[anchor.channel_axis], loops[anchor.space_axis]
    outer = [x for x in loops if x not in (channel, space)]
    channel_o, channel_i = sch.split(channel, [None, tile.channels * tile.blocks])
    if anchor.space_axis == anchor.channel_axis:
        sch.reorder(*outer, channel_o, channel_i)
        shared = share(sch, [*outer, channel_o], machine)
        return shared, shared, [channel_i]
    space_o, space_i = sch.split(space, [None, tile.space])
    sch.reorder(channel_o, *outer, space_o, space_i, channel_i)
    head, rest = [channel_o], [*outer, space_o]
    if extent(sch, channel_o) < 2 * machine.threads and machine.threads > 1:
        longest = max(rest, key=lambda loop: extent(sch, loop))
        parts = largest_divisor(extent(sch, longest), 2 * machine.threads)
        part, within = sch.split(longest, [parts, None])
        rest = [within if loop is longest else loop for loop in rest]
        sch.reorder(channel_o, part, *rest, space_i, channel_i)
        head.append(part)
    return share(sch, head, machine), rest[-1], [space_i, channel_i]


def _decode_at(sch: s_tir.Schedule, decoded: Decoded, loop: Any, machine: Machine) -> None:
    """No shift is computed: the rows of a group are spelt out, lanes are vectors."""
    stage = sch.get_sblock(decoded.block)
    sch.set_scope(stage, 0, "local")
    sch.compute_at(stage, loop, preserve_unit_loops=True)
    (_, rows, lanes), _ = own_loops(sch, stage)
    groups, place = sch.split(rows, [None, decoded.group])
    partitioned(sch, groups)
    unroll_tile(sch, [place, lanes], machine)
