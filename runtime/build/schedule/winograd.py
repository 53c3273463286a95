"""Winograd convolutions: a strip of tile rows at a time, so that its products stay in the cache."""

from typing import Any

from tvm import s_tir

from runtime.build.lower.context import Anchor
from runtime.build.machine import Machine
from runtime.build.schedule.contraction import schedule_accumulators, unroll_tile
from runtime.build.schedule.loops import extent, name_of, share, vector_width


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
    """Rows and columns of a tile as loops of their own spare a division for each element."""
    columns = list(sch.get_loops(result))[-1]
    if extent(sch, columns) % size == 0:
        _, inner = sch.split(columns, [None, size])
        sch.unroll(inner)


def _own(sch: s_tir.Schedule, block: Any) -> list[Any]:
    """The block's loops without those it shares with the strip."""
    return list(sch.get_loops(block))[-len(sch.get(block).iter_vars) :]


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


def _shared(sch: s_tir.Schedule, loops: list[Any], strip: Any, machine: Machine) -> None:
    if strip is None:
        share(sch, loops, machine)


def _gather(sch: s_tir.Schedule, pixels: Any, machine: Machine, strip: Any) -> None:
    batch, row, column, channel = _own(sch, pixels)
    sch.reorder(batch, row, channel, column)
    _shared(sch, [batch, row], strip, machine)
    if extent(sch, column) > 1:
        sch.annotate(column, "pragma_loop_partition_hint", 1)


def _transform(sch: s_tir.Schedule, half: Any, tiles: Any, machine: Machine, strip: Any) -> None:
    batch, i, j, down, across, channel = _own(sch, tiles)
    outer, lane = _lanes(sch, channel, machine)
    sch.reorder(batch, down, outer, across, i, j, lane)
    sch.vectorize(lane)
    for loop in (i, j):
        sch.unroll(loop)
    if strip is None:
        outer = share(sch, [batch, down, outer], machine)
    sch.compute_at(half, outer, preserve_unit_loops=True)
    *_, i, column, channel = _own(sch, half)
    sch.reorder(column, i, channel)
    outer, lane = _lanes(sch, channel, machine)
    sch.vectorize(lane)
    sch.unroll(i)
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
    batch, i, j, down, across, channel = _own(sch, products)
    channel_o, channel_i = sch.split(channel, [None, tile.channels * tile.blocks])
    across_o, across_i = sch.split(across, [None, tile.space])
    sch.reorder(batch, i, j, channel_o, down, across_o, across_i, channel_i)
    _shared(sch, [batch, i, j, channel_o], strip, machine)
    sch.set_scope(blocked, 0, "local")
    sch.compute_at(blocked, across_o, preserve_unit_loops=True)
    schedule_accumulators(sch, blocked, machine)
    unroll_tile(sch, [across_i, channel_i], machine)


def _transform_back(
    sch: s_tir.Schedule, result: Any, sums: Any, outputs: Any, machine: Machine, strip: Any
) -> None:
    batch, down, across, a, b, channel = _own(sch, outputs)
    outer, lane = _lanes(sch, channel, machine)
    sch.reorder(batch, down, across, outer, a, b, lane)
    sch.vectorize(lane)
    for loop in (a, b):
        sch.unroll(loop)
    if strip is None:
        share(sch, [batch, down], machine)
        batch, channels, *_ = sch.get_loops(result)
        share(sch, [batch, channels], machine)
    sch.compute_at(sums, outer, preserve_unit_loops=True)
    *_, a, j, channel = _own(sch, sums)
    _, lane = _lanes(sch, channel, machine)
    sch.vectorize(lane)
    for loop in (a, j):
        sch.unroll(loop)
    sch.set_scope(sums, 0, "local")
