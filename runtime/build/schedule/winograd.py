"""Winograd convolutions: a strip of tile rows at a time, so that its products stay in the cache."""

from typing import Any

from tvm import s_tir

from runtime.build.lower.context import Anchor
from runtime.build.machine import Machine
from runtime.build.schedule.ahead import Panels
from runtime.build.schedule.contraction import schedule_accumulators, unroll_tile
from runtime.build.schedule.loops import (
    extent,
    name_of,
    own_loops,
    partitioned,
    share,
    vector_width,
)


def schedule_winograd(sch: s_tir.Schedule, anchor: Anchor, machine: Machine) -> set[str]:
    """Schedule all stages; returns the names of the blocks dealt with."""
    tile = anchor.tile
    assert tile is not None
    name = anchor.block.removesuffix("_blocked")
    parts = ("pixels", "half", "tiles", "products", "sums", "outputs")
    stages = [f"{name}_{part}_stored" for part in parts]
    pixels, half, tiles, products, sums, outputs = (sch.get_sblock(stage) for stage in stages)
    (result,) = sch.get_consumers(outputs)
    blocked = sch.get_sblock(anchor.block)
    strip = _strip(sch, result, anchor, machine)
    _scatter(sch, result, anchor.winograd)
    if strip is not None:
        for block in (outputs, sums, products, blocked, tiles, half, pixels):
            sch.compute_at(block, strip, preserve_unit_loops=True)
    _transform_back(sch, result, sums, outputs, machine, strip)
    _multiply(sch, products, blocked, anchor, machine, strip)
    _transform(sch, half, tiles, machine, strip)
    _gather(sch, pixels, machine, strip)
    return {*stages, anchor.block, name_of(sch, result)}


def _scatter(sch: s_tir.Schedule, result: Any, size: int) -> None:
    """The columns of a tile as a loop of their own spare a division for each element."""
    columns = list(sch.get_loops(result))[-1]
    if extent(sch, columns) % size == 0:
        _, inner = sch.split(columns, [None, size])
        sch.unroll(inner)


def _strip(sch: s_tir.Schedule, result: Any, anchor: Anchor, machine: Machine) -> Any:
    """The loop over strips, shared by the threads; None where the whole image is one strip."""
    if not anchor.strip:
        return None
    batch, channels, rows, columns = sch.get_loops(result)
    strips, inner = sch.split(rows, [None, anchor.strip * anchor.winograd])
    sch.reorder(batch, strips, channels, inner, columns)
    return share(sch, [batch, strips], machine)


def _lanes(sch: s_tir.Schedule, loop: Any, machine: Machine) -> tuple[Any, Any]:
    return tuple(sch.split(loop, [None, vector_width(extent(sch, loop), machine)]))


def _spell_out(sch: s_tir.Schedule, *loops: Any) -> None:
    """The last of the loops as one vector, the others unrolled."""
    *unrolled, lane = loops
    sch.vectorize(lane)
    for loop in unrolled:
        sch.unroll(loop)


def _shared(sch: s_tir.Schedule, loops: list[Any], strip: Any, machine: Machine) -> Any:
    """Share the loops among the threads unless the strip is shared; returns the innermost."""
    return share(sch, loops, machine) if strip is None else loops[-1]


def _gather(sch: s_tir.Schedule, pixels: Any, machine: Machine, strip: Any) -> None:
    (batch, row, column, channel), _ = own_loops(sch, pixels)
    sch.reorder(batch, row, channel, column)
    _shared(sch, [batch, row], strip, machine)
    partitioned(sch, column)


def _transform(sch: s_tir.Schedule, half: Any, tiles: Any, machine: Machine, strip: Any) -> None:
    (batch, i, j, down, across, channel), _ = own_loops(sch, tiles)
    outer, lane = _lanes(sch, channel, machine)
    sch.reorder(batch, down, outer, across, i, j, lane)
    _spell_out(sch, i, j, lane)
    outer = _shared(sch, [batch, down, outer], strip, machine)
    sch.compute_at(half, outer, preserve_unit_loops=True)
    (*_, i, column, channel), _ = own_loops(sch, half)
    sch.reorder(column, i, channel)
    _, lane = _lanes(sch, channel, machine)
    _spell_out(sch, i, lane)
    sch.set_scope(half, 0, "local")


def _multiply(
    sch: s_tir.Schedule,
    products: Any,
    blocked: Any,
    anchor: Anchor,
    machine: Machine,
    strip: Any,
) -> None:
    tile = anchor.tile
    assert tile is not None
    (batch, i, j, down, across, channel), _ = own_loops(sch, products)
    channel_o, channel_i = sch.split(channel, [None, tile.channels * tile.blocks])
    across_o, across_i = sch.split(across, [None, tile.space])
    sch.reorder(batch, i, j, channel_o, down, across_o, across_i, channel_i)
    tiles = extent(sch, down) * extent(sch, across_o)
    _shared(sch, [batch, i, j, channel_o], strip, machine)
    sch.set_scope(blocked, 0, "local")
    sch.compute_at(blocked, across_o, preserve_unit_loops=True)
    schedule_accumulators(sch, blocked, machine, Panels(tile, tiles))
    unroll_tile(sch, [across_i, channel_i], machine)


def _transform_back(
    sch: s_tir.Schedule, result: Any, sums: Any, outputs: Any, machine: Machine, strip: Any
) -> None:
    (batch, down, across, a, b, channel), _ = own_loops(sch, outputs)
    outer, lane = _lanes(sch, channel, machine)
    sch.reorder(batch, down, across, outer, a, b, lane)
    _spell_out(sch, a, b, lane)
    if strip is None:
        share(sch, [batch, down], machine)
        batch, channels, *_ = sch.get_loops(result)
        share(sch, [batch, channels], machine)
    sch.compute_at(sums, outer, preserve_unit_loops=True)
    (*_, a, j, channel), _ = own_loops(sch, sums)
    _, lane = _lanes(sch, channel, machine)
    _spell_out(sch, a, j, lane)
    sch.set_scope(sums, 0, "local")
