"""Weights of the next tiles, asked for while the present ones are computed.

A panel of weights is used by one tile of positions after the other, and then the next panel comes
from memory: the first tile waits for it. On 14x14 positions that was a sixth of the time of a
pointwise convolution. So every tile asks for its part of the panel that follows. The schedule marks
the reduction (`Panels.mark`); once loops and addresses are final, `asking_ahead` puts prefetches
into it. They run past the last panel, which is harmless: a prefetch cannot fault.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.sym import Analyzer

from runtime.build.lower.tile import Tile
from runtime.build.machine import Machine
from runtime.build.schedule.loops import extent
from runtime.build.schedule.statements import with_body

_TILES, _PANEL, _BEFORE = "splitter_tiles", "splitter_panel", "splitter_steps_before"
_SCHEME = "splitter_scheme"
_LINE = 16
"""float32 elements of a cache line."""
_MOST_TILES = 64
"""With more tiles to a panel the first one's wait is little beside them."""
_STEPS_BETWEEN = 4
"""Steps of the reduction between prefetches: a loop around fewer costs what it gains."""
_SECOND_CACHE = 2


@dataclass(frozen=True, slots=True)
class Panels:
    """How a product goes through its weights."""

    tile: Tile
    tiles: int
    """Tiles that use the same panel of weights one after the other."""

    def mark(
        self, sch: s_tir.Schedule, product: Any, folded: list[Any], machine: Machine
    ) -> list[Any]:
        """The loops of the reduction, the outermost one split and marked where it is worth it."""
        depth = math.prod(extent(sch, loop) for loop in folded)
        panel = depth * self.tile.channels * self.tile.blocks
        if not 1 < self.tiles <= _MOST_TILES or 4 * panel > machine.kept_bytes:
            return folded
        if not _reads_constant(sch, product, self.tile):
            return folded
        wanted = min(-(-panel // (_LINE * self.tiles)), -(-depth // _STEPS_BETWEEN))
        at, before = _evenly([extent(sch, loop) for loop in folded], wanted)
        here = extent(sch, folded[at])
        often = min(d for d in range(1, here + 1) if here % d == 0 and before * d >= wanted)
        marked, rest = sch.split(folded[at], [often, None])
        marks = {
            _TILES: self.tiles,
            _PANEL: panel,
            _BEFORE: before,
            _SCHEME: self.tile.scheme,
        }
        for key, value in marks.items():
            sch.annotate(marked, key, value)
        return [*folded[:at], marked, rest, *folded[at + 1 :]]


def _evenly(extents: Sequence[int], wanted: int) -> tuple[int, int]:
    """The first loop of a reduction that begins at least ``wanted`` times a tile, and how often
    the loops around it do; the last one if none does.
    """
    before = 1
    for at, count in enumerate(extents[:-1]):
        if before * count >= wanted:
            return at, before
        before *= count
    return len(extents) - 1, before


def _reads_constant(sch: s_tir.Schedule, product: Any, tile: Tile) -> bool:
    """Whether an operand is a constant packed for the tile: not what this layer itself packed."""
    made = {
        write.source.name
        for producer in sch.get_producers(product)
        for write in sch.get(producer).writes
    }
    packed = [region.source for region in sch.get(product).reads]
    return any(int(b.shape[-1]) == tile.channels and b.name not in made for b in packed)


def asking_ahead(loop: tirx.For, outside: Sequence[tirx.For]) -> tirx.For:
    """The loop with prefetches at the beginning of its body, if it is marked.

    Args:
        loop: its body is final.
        outside: the loops around it, outermost first.
    """
    if _TILES not in loop.annotations:
        return loop
    tiles, panel, before = (int(loop.annotations[key]) for key in (_TILES, _PANEL, _BEFORE))
    folded = _inner(outside, before)
    found = _first_weight(loop, folded)
    if found is None:
        return loop
    weight, start = found
    steps = before * int(loop.extent)
    tile = _index_of(outside[: len(outside) - len(folded)]) % tiles
    step = tile * steps + _index_of([*folded, loop])
    burst = -(-panel // (_LINE * tiles * steps))
    asked = [_prefetch(weight, start + panel + (step * burst + k) * _LINE) for k in range(burst)]
    return with_body(loop, tirx.SeqStmt([*asked, loop.body]))


def _inner(loops: Sequence[tirx.For], count: int) -> Sequence[tirx.For]:
    """The innermost of the loops that together have ``count`` iterations."""
    for at in range(len(loops), -1, -1):
        if math.prod(int(loop.extent) for loop in loops[at:]) == count:
            return loops[at:]
    raise AssertionError(f"no loops of {count} iterations")


def _index_of(loops: Sequence[tirx.For]) -> Any:
    """How many iterations of the innermost of the loops came before this one."""
    index: Any = tirx.const(0, "int32")
    for loop in loops:
        index = index * loop.extent + loop.loop_var
    return index


def _prefetch(buffer: Any, element: Any) -> Any:
    address = tirx.call_intrin("handle", "tirx.address_of", tirx.BufferLoad(buffer, [element]))
    kinds = [tirx.const(kind, "int32") for kind in (0, _SECOND_CACHE, 1)]
    return tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, *kinds))


def _first_weight(loop: tirx.For, around: Sequence[tirx.For]) -> tuple[Any, Any] | None:
    """The weights' buffer, and where the panel begins that a reduction reads.

    Args:
        loop: of the reduction, marked.
        around: the loops of the reduction around it.
    """
    analyzer = Analyzer()
    for outer in around:
        analyzer.bind(outer.loop_var, tirx.const(0, outer.loop_var.ty.dtype))
    by_space = loop.annotations[_SCHEME] == "vector-space"
    statements: list[Any] = [loop]
    while statements:
        statement = statements.pop(0)
        match statement:
            case tirx.For():
                analyzer.bind(statement.loop_var, tirx.const(0, statement.loop_var.ty.dtype))
                statements.insert(0, statement.body)
            case tirx.SeqStmt():
                statements[:0] = list(statement.seq)
            case tirx.Bind():
                analyzer.bind(statement.var, statement.value)
            case tirx.BufferStore():
                for load in _loads(statement.value):
                    (index,) = load.indices
                    if load.source.scope() == "global" and isinstance(index, tirx.Ramp) != by_space:
                        at = index.base if isinstance(index, tirx.Ramp) else index
                        return load.source, analyzer.simplify(at)
    return None


def _loads(value: Any) -> list[Any]:
    """The loads in a sum of products."""
    match value:
        case tvm.ir.TensorLoad():
            return [value]
        case tirx.Add() | tirx.Mul():
            return [*_loads(value.a), *_loads(value.b)]
        case tirx.Broadcast():
            return _loads(value.value)
    return []
