"""A pointwise convolution and the depthwise one that reads it, strip by strip.

The map between the two is the largest of an inverted residual block: written whole it leaves the
caches, and comes back from memory. Here a few of its channels at a time, in a strip of rows, are
computed row by row, each into the padded copy that a depthwise product reads anyway. Rows that two
strips read are computed twice.
"""

from typing import Any

from tvm import s_tir

from runtime.build.lower.context import Anchor
from runtime.build.lower.tile import largest_divisor
from runtime.build.machine import Machine
from runtime.build.schedule.contraction import schedule_accumulators, unroll_tile
from runtime.build.schedule.depthwise import Rows
from runtime.build.schedule.loops import (
    MOST_UNEVEN,
    extent,
    name_of,
    own_loops,
    partitioned,
    share,
)
from runtime.build.schedule.padding import padded_blocks

_STRIP_BYTES = 160 << 10
"""Most of a padded strip: it shares the second cache with the input's."""


def schedule_expanded(sch: s_tir.Schedule, anchor: Anchor, machine: Machine) -> set[str]:
    """Schedule both products and the result; returns the names of the blocks dealt with."""
    assert anchor.source is not None
    expansion, product = sch.get_sblock(anchor.source.block), sch.get_sblock(anchor.block)
    (result,), (padded,) = sch.get_consumers(product), padded_blocks(sch)
    tile = anchor.source.tile
    assert tile is not None
    plane_bytes = _plane_bytes(sch, padded)
    rows = Rows.split(sch, product, anchor.lanes, machine)
    size = _tiles_of_strip(
        extent(sch, rows.planes[0]), tile.channels * plane_bytes, machine.threads
    )
    strip, within = sch.split(rows.planes[0], [None, size])
    channels, channel = sch.split(rows.channels, [None, tile.channels])
    sch.reorder(*(rows.batch, strip, channels, channel, within, rows.outer), *rows.taps, *rows.tile)
    share(sch, [rows.batch, strip], machine)
    rows.finish(sch, product, result, within, machine)
    row = _schedule_padded(sch, padded, channels)
    _schedule_rows(sch, expansion, row, tile.space, machine)
    return {anchor.source.block, anchor.block, name_of(sch, padded), name_of(sch, result)}


def _plane_bytes(sch: s_tir.Schedule, padded: Any) -> int:
    size = 4
    for loop in own_loops(sch, padded)[0][2:]:
        size *= extent(sch, loop)
    return size


def _tiles_of_strip(tiles: int, planes_bytes: int, threads: int) -> int:
    """Tiles of rows in a strip: as many as fit, if the threads get about the same number of strips.

    Args:
        tiles: in a plane.
        planes_bytes: of the planes of the channels that are computed together.
        threads: that share the strips.
    """
    most = largest_divisor(tiles, tiles * _STRIP_BYTES // planes_bytes)
    fits = [size for size in range(1, most + 1) if tiles % size == 0]

    def is_fair(size: int) -> bool:
        strips = tiles // size
        return -(-strips // threads) * threads <= MOST_UNEVEN * strips

    return max((size for size in fits if is_fair(size)), default=most)


def _schedule_padded(sch: s_tir.Schedule, padded: Any, at: Any) -> Any:
    """Channels of a row side by side; returns the loop over rows."""
    sch.compute_at(padded, at, preserve_unit_loops=True)
    sch.set_scope(padded, 0, "local")
    (batch, channel, row, *columns), _ = own_loops(sch, padded)
    sch.reorder(batch, row, channel, *columns)
    partitioned(sch, row, *columns)
    return row


def _schedule_rows(
    sch: s_tir.Schedule, expansion: Any, at: Any, columns: int, machine: Machine
) -> None:
    """A row of the map, by tiles whose accumulators stay in registers."""
    kept = sch.cache_write(expansion, 0, "local")
    sch.set_scope(kept, 0, "local")
    sch.compute_at(kept, at, preserve_unit_loops=True)
    (_batch, block, channel, row, space), _ = own_loops(sch, kept)
    across, lanes = sch.split(space, [None, columns])
    sch.reorder(block, row, across, channel, lanes)
    sch.compute_at(expansion, across, preserve_unit_loops=True)
    schedule_accumulators(sch, expansion, machine)
    unroll_tile(sch, [channel, lanes], machine)
