"""Depthwise convolutions: a few rows of whole vectors at a time, all taps unrolled.

With the taps unrolled LLVM loads each input vector once for all rows and taps that read it.
"""

import math
from typing import Any

from tvm import s_tir, tirx

from runtime.build.lower.context import Anchor
from runtime.build.machine import Machine
from runtime.build.schedule.loops import extent, name_of, share
from runtime.build.schedule.padding import pad_at

# More multiply-adds in one straight run gain nothing and slow the compiler down.
_MOST_UNROLLED = 256
_MOST_CHANNELS = 8
_PADDED_BYTES = 16 << 10


def schedule_depthwise(sch: s_tir.Schedule, anchor: Anchor, machine: Machine) -> set[str]:
    """Schedule a depthwise product and its consumer; returns the names of the blocks dealt with."""
    product = sch.get_sblock(anchor.block)
    (result,) = sch.get_consumers(product)
    batch, channels, *planes, columns = _loops(sch, product, folded=False)
    taps = _loops(sch, product, folded=True)
    count = math.prod(extent(sch, tap) for tap in taps)
    registers = max(1, machine.registers // 3)
    group = _largest_divisor(extent(sch, columns) // anchor.lanes, registers)
    outer, side, lane = sch.split(columns, [None, group, anchor.lanes])
    rows: list[Any] = []
    if planes:
        most = min(registers // group, _MOST_UNROLLED // (group * count))
        tile = _largest_divisor(extent(sch, planes[-1]), most)
        planes[-1], row = sch.split(planes[-1], [None, tile])
        rows = [row]
    fair = extent(sch, batch) * extent(sch, channels) // (4 * machine.threads)
    few = _largest_divisor(extent(sch, channels), min(_channels_at_once(sch, product), fair))
    channels, channel = sch.split(channels, [None, few])
    sch.reorder(batch, channels, channel, *planes, outer, *taps, *rows, side, lane)
    shared = share(sch, [batch, channels], machine)
    sch.set_scope(product, 0, "local")
    sch.reverse_compute_at(result, planes[-1] if planes else channel, preserve_unit_loops=True)
    _spell_out_rows(sch, product, count * group <= _MOST_UNROLLED, machine)
    _store_rows(sch, result, rows, machine)
    return {anchor.block, name_of(sch, result)} | pad_at(sch, shared)


def _loops(sch: s_tir.Schedule, product: Any, folded: bool) -> list[Any]:
    """The loops that run over taps, or the other ones, while each axis still has one."""
    kinds = [v.iter_type for v in sch.get(product).iter_vars]
    loops = list(sch.get_loops(product))[-len(kinds) :]
    return [
        loop
        for loop, kind in zip(loops, kinds, strict=True)
        if (kind != tirx.IterVar.DataPar) == folded
    ]


def _channels_at_once(sch: s_tir.Schedule, product: Any) -> int:
    """Channels to pad before the first is used: what was just stored in pieces cannot be loaded in
    other pieces until it has reached the cache.
    """
    plane = math.prod(int(e) for e in sch.get(product).reads[0].source.shape[2:])
    return min(_MOST_CHANNELS, _PADDED_BYTES // (4 * plane))


def _largest_divisor(size: int, limit: int) -> int:
    return max(d for d in range(1, min(size, max(limit, 1)) + 1) if size % d == 0)


def _spell_out_rows(sch: s_tir.Schedule, product: Any, whole: bool, machine: Machine) -> None:
    """No loop is left inside a tile of rows, nor, if ``whole``, around its taps."""
    axes = [v.iter_type for v in sch.get(product).iter_vars]
    taps = sum(kind != tirx.IterVar.DataPar for kind in axes)
    rank = len(axes) - taps
    tiled = 3 if rank > 3 else 2  # rows, side by side, lanes
    loops = list(sch.get_loops(product))
    first = len(loops) - tiled - taps
    _unroll_to_lanes(sch, loops[first if whole else first + taps :], machine)
    start = sch.decompose_reduction(product, loops[first])
    _unroll_to_lanes(sch, list(sch.get_loops(start))[-tiled:], machine)


def _unroll_to_lanes(sch: s_tir.Schedule, loops: list[Any], machine: Machine) -> None:
    *unrolled, lane = loops
    if machine.lanes > 1:
        sch.vectorize(lane)
    else:
        unrolled.append(lane)
    for loop in unrolled:
        sch.unroll(loop)


def _store_rows(sch: s_tir.Schedule, result: Any, rows: list[Any], machine: Machine) -> None:
    loops = list(sch.get_loops(result))
    columns = loops[-1]
    if rows:
        sch.unroll(loops[-2])
    if machine.lanes > 1 and extent(sch, columns) <= 8 * machine.lanes:
        sch.vectorize(columns)
