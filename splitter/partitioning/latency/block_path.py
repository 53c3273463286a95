"""A block with too many placements to list: the critical path between its ends."""

from collections.abc import Mapping
from math import inf

import numpy as np

from splitter.partitioning.latency.block_table import BlockTable, Floats
from splitter.partitioning.latency.blocks import START, Block
from splitter.partitioning.problem import Problem


def ends_table(problem: Problem, block: Block, travel: Mapping[int, Floats]) -> BlockTable:
    """For a block with too many placements: one row per devices of its fork and its last layer.

    The time is the critical path when every layer may run on another device for each reader; of
    the memory only the last layer's weights count.
    """
    forks = [0] if block.fork == START else list(problem.allowed[block.fork])
    lasts = [0] if block.is_last else list(problem.allowed[block.layers[-1]])
    pairs = [(fork, last) for fork in forks for last in lasts]
    seconds = {fork: _critical_s(problem, block, travel, fork) for fork in forks}
    devices = np.array([[last] * len(block.layers) for _, last in pairs], dtype=np.int64)
    nothing = np.zeros((len(pairs), problem.m))
    return BlockTable(
        np.array([fork for fork, _ in pairs]),
        devices.reshape(len(pairs), len(block.layers)),
        np.array([seconds[fork][last] for fork, last in pairs]),
        nothing,
        nothing,
    )


def _critical_s(problem: Problem, block: Block, travel: Mapping[int, Floats], fork: int) -> Floats:
    """Least end of the block, by device of its last layer; of the request if it is the last."""
    compute = np.array(problem.compute)
    ends: dict[int, Floats] = {block.fork: np.full(problem.m, inf)}
    ends[block.fork][fork] = 0.0

    def arrival_s(w: int) -> Floats | None:
        wire = problem.wires[w]
        if wire.is_input:
            return travel[wire.bytes][wire.source] if block.fork == START else None
        made = ends.get(wire.producer)
        if made is None:
            return None
        arrival: Floats = (made[:, None] + travel[wire.bytes]).min(axis=0)
        return arrival

    for layer, reads, anchored in zip(block.layers, block.reads, block.anchored, strict=True):
        if anchored:
            arrivals = [found for w in reads if (found := arrival_s(w)) is not None]
            barred = np.full(problem.m, inf)
            barred[list(problem.allowed[layer])] = 0.0
            ready = np.zeros(problem.m)
            for arrival in arrivals:
                ready = np.maximum(ready, arrival)
            ends[layer] = ready + compute[layer] + barred
    if not block.is_last:
        return ends[block.layers[-1]]
    outputs = [w for w, wire in enumerate(problem.wires) if wire.is_output]
    wanted = [(a, problem.wires[w].sink) for w in outputs if (a := arrival_s(w)) is not None]
    least = max((float(arrival[sink]) for arrival, sink in wanted), default=0.0)
    return np.full(problem.m, least)
