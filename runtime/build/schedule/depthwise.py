"""Depthwise convolutions: a few rows of whole vectors at a time, all taps unrolled.

With the taps unrolled LLVM loads each input vector once for all rows and taps that read it.
"""

import math
from dataclasses import dataclass
from typing import Any

from tvm import s_tir

from runtime.build.lower.context import Anchor
from runtime.build.lower.tile import largest_divisor
from runtime.build.machine import Machine
from runtime.build.schedule.contraction import unroll_tile
from runtime.build.schedule.loops import extent, name_of, own_loops, share
from runtime.build.schedule.padding import pad_at

# More multiply-adds in one straight run gain nothing and slow the compiler down.
_MOST_UNROLLED = 256
_MOST_CHANNELS = 8
_PADDED_BYTES = 16 << 10
# Where a padded plane is larger than the second of these, strips of the first are padded instead.
_STRIP_BYTES, _WHOLE_BYTES = 12 << 10, 64 << 10


@dataclass(frozen=True, slots=True)
class Rows:
    """The loops of a depthwise product, split into tiles of a few rows of whole vectors."""

    batch: Any
    channels: Any
    planes: list[Any]
    """Over the positions of tiles, columns aside."""
    outer: Any
    """Over columns of tiles."""
    taps: list[Any]
    tile: list[Any]
    """Rows, if any, vectors and lanes of a tile."""
    whole: bool
    """Whether the taps are few enough to be unrolled."""

    @classmethod
    def split(cls, sch: s_tir.Schedule, product: Any, lanes: int, machine: Machine) -> "Rows":
        """As many rows and vectors as the registers hold."""
        (batch, channels, *planes, columns), taps = own_loops(sch, product)
        count = math.prod(extent(sch, tap) for tap in taps)
        registers = max(1, machine.registers // 3)
        group = largest_divisor(extent(sch, columns) // lanes, registers)
        outer, side, lane = sch.split(columns, [None, group, lanes])
        rows: list[Any] = []
        if planes:
            most = min(registers // group, _MOST_UNROLLED // (group * count))
            tile = largest_divisor(extent(sch, planes[-1]), most)
            planes[-1], row = sch.split(planes[-1], [None, tile])
            rows = [row]
        whole = count * group <= _MOST_UNROLLED
        return cls(batch, channels, planes, outer, taps, [*rows, side, lane], whole)

    def finish(
        self, sch: s_tir.Schedule, product: Any, result: Any, at: Any, machine: Machine
    ) -> None:
        """Accumulate in registers, and store what is finished inside the loop ``at``."""
        sch.set_scope(product, 0, "local")
        sch.reverse_compute_at(result, at, preserve_unit_loops=True)
        _spell_out_rows(sch, product, len(self.taps), len(self.tile), self.whole, machine)
        _store_rows(sch, result, machine)


def schedule_depthwise(sch: s_tir.Schedule, anchor: Anchor, machine: Machine) -> set[str]:
    """Schedule a depthwise product and its consumer; returns the names of the blocks dealt with."""
    product = sch.get_sblock(anchor.block)
    (result,) = sch.get_consumers(product)
    rows = Rows.split(sch, product, anchor.lanes, machine)
    planes = list(rows.planes)
    strip = _strip(sch, product, planes)
    fair = extent(sch, rows.batch) * extent(sch, rows.channels) // (4 * machine.threads)
    most = min(_channels_at_once(sch, product), fair)
    few = largest_divisor(extent(sch, rows.channels), most)
    channels, channel = sch.split(rows.channels, [None, few])
    sch.reorder(rows.batch, channels, channel, *planes, rows.outer, *rows.taps, *rows.tile)
    shared = share(sch, [rows.batch, channels], machine)
    rows.finish(sch, product, result, planes[-1] if planes else channel, machine)
    return {anchor.block, name_of(sch, result)} | pad_at(sch, strip or shared)


def _strip(sch: s_tir.Schedule, product: Any, planes: list[Any]) -> Any:
    """Split off a loop over strips of rows, padded one at a time, where a padded plane would leave
    the first cache; None where planes are padded whole.

    Rows that two strips read are copied twice; of volumes, whole slices would be.
    """
    plane_bytes = _plane_bytes(sch, product)
    if len(planes) != 1 or plane_bytes <= _WHOLE_BYTES:
        return None
    tiles = extent(sch, planes[0])
    size = largest_divisor(tiles, tiles * _STRIP_BYTES // plane_bytes)
    if size == tiles:
        return None
    strip, rest = sch.split(planes[0], [None, size])
    planes[:] = [strip, rest]
    return strip


def _channels_at_once(sch: s_tir.Schedule, product: Any) -> int:
    """Channels to pad before the first is used: what was just stored in pieces cannot be loaded in
    other pieces until it has reached the cache.
    """
    return min(_MOST_CHANNELS, _PADDED_BYTES // _plane_bytes(sch, product))


def _plane_bytes(sch: s_tir.Schedule, product: Any) -> int:
    """Of one padded channel."""
    return 4 * math.prod(int(e) for e in sch.get(product).reads[0].source.shape[2:])


def _spell_out_rows(
    sch: s_tir.Schedule, product: Any, taps: int, tiled: int, whole: bool, machine: Machine
) -> None:
    """No loop is left inside a tile of rows, nor, if ``whole``, around its taps."""
    loops = list(sch.get_loops(product))
    first = len(loops) - tiled - taps
    unroll_tile(sch, loops[first if whole else first + taps :], machine)
    start = sch.decompose_reduction(product, loops[first])
    unroll_tile(sch, list(sch.get_loops(start))[-tiled:], machine)


def _store_rows(sch: s_tir.Schedule, result: Any, machine: Machine) -> None:
    *_, row, columns = sch.get_loops(result)
    if len(sch.get(result).iter_vars) > 3:
        sch.unroll(row)
    if machine.lanes > 1 and extent(sch, columns) <= 8 * machine.lanes:
        sch.vectorize(columns)
