"""Where every activation of a node lives: offsets in the request slot and in the shared arena.

Tensors that outlive a stage get their own place in a *slot*, of which there is one per request in
flight. All others share one *arena* by lifetime: a node computes one stage at a time, so the
arena is not multiplied by the number of requests. The arena is packed greedily by decreasing
size, each block at the lowest offset free during its whole life (greedy-by-size, Pisarchyk and
Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitter.graph import Graph
from splitter.schedule import NodeSchedule, Stage

_Integers = npt.NDArray[np.int64]

ALIGNMENT_BYTES = 64
REQUEST_SLOTS = 3
"""Requests in flight: one arriving, one computed, one leaving."""
NODE_OVERHEAD_BYTES = 3 * 1024 * 1024
"""Resident memory of the node program besides weights and activations: code, stacks, buffers."""
PACKING_BYTES = 256 * 1024
"""Of that, what constants may grow by when kernels store them in whole blocks of channels. Code,
stacks and buffers were measured to take 0.2 to 0.5 MB."""


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of memory needed from step ``first`` to step ``last``, both included."""

    name: str
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MemoryLayout:
    """Byte offsets of everything that is not a weight."""

    slot: Mapping[str, int]
    slot_bytes: int
    arena: Mapping[str, int]
    """Tensor name to offset; a layer's scratch is listed under `scratch_name` of the layer."""
    arena_bytes: int

    def activation_bytes(self, slots: int = REQUEST_SLOTS) -> int:
        """Memory for activations with ``slots`` requests in flight."""
        return slots * self.slot_bytes + self.arena_bytes


def aligned(size: int) -> int:
    """``size`` rounded up to `ALIGNMENT_BYTES`."""
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def scratch_name(layer: str) -> str:
    """Name under which a layer's scratch block is listed in a layout."""
    return f"{layer}/scratch"


def plan_memory(graph: Graph, schedule: NodeSchedule) -> MemoryLayout:
    """The layout of one node."""
    slot: dict[str, int] = {}
    slot_bytes = 0
    for name in schedule.slot_tensors:
        slot[name] = slot_bytes
        slot_bytes += aligned(graph.tensors[name].bytes)
    blocks = [b for stage in schedule.stages for b in _stage_blocks(graph, stage, slot)]
    arena = pack(blocks)
    arena_bytes = max((arena[b.name] + aligned(b.bytes) for b in blocks), default=0)
    return MemoryLayout(slot, slot_bytes, arena, arena_bytes)


def _stage_blocks(graph: Graph, stage: Stage, slot: Mapping[str, int]) -> list[Block]:
    """Arena blocks of a stage. Steps are graph positions, so blocks of two stages never overlap."""
    blocks: list[Block] = []
    for name in stage.layers:
        layer, step = graph.by_name[name], graph.index[name]
        if layer.scratch_bytes:
            blocks.append(Block(scratch_name(name), layer.scratch_bytes, step, step))
        for tensor in layer.outputs:
            if tensor in slot:
                continue
            last = max([step, *(graph.index[r.name] for r in graph.consumers[tensor])])
            blocks.append(Block(tensor, graph.tensors[tensor].bytes, step, last))
    return blocks


def pack(blocks: Sequence[Block]) -> dict[str, int]:
    """Offsets such that blocks whose lives overlap do not overlap in memory."""
    ordered = sorted(blocks, key=lambda b: (-b.bytes, b.first, b.name))
    first = np.array([block.first for block in ordered], dtype=np.int64)
    last = np.array([block.last for block in ordered], dtype=np.int64)
    room = np.array([aligned(block.bytes) for block in ordered], dtype=np.int64)
    offset = np.zeros(len(ordered), dtype=np.int64)
    for i in range(len(ordered)):
        near = np.flatnonzero((first[:i] <= last[i]) & (first[i] <= last[:i]))
        offset[i] = _lowest_gap(int(room[i]), offset[near], offset[near] + room[near])
    return {block.name: int(at) for block, at in zip(ordered, offset, strict=True)}


def _lowest_gap(room: int, starts: _Integers, ends: _Integers) -> int:
    """The lowest offset with ``room`` bytes free between blocks that begin and end there."""
    order = np.argsort(starts, kind="stable")
    reached = np.concatenate(([0], np.maximum.accumulate(ends[order])))
    enough = np.flatnonzero(reached[:-1] + room <= starts[order])
    return int(reached[enough[0]] if len(enough) else reached[-1])
