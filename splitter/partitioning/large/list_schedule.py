"""First plans for latency: layers in graph order, each where it lets the request end soonest.

PEFT (Arabnejad and Barbosa, "List Scheduling Algorithm for Heterogeneous Systems by an Optimistic
Cost Table", 2014): the score of a device is when the layer ends there plus the least time that the
rest takes from there. Deviations: the order is the graph's, as devices run layers in graph order;
the rest counts each way out once (`path_bound.remaining`); devices that are full are left out.
"""

from collections.abc import Sequence

import numpy as np

from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.partitioning.large.tables import Floats, Tables


def scheduled(
    tables: Tables,
    to_go_s: Floats,
    devices: Sequence[int],
    room: Sequence[int],
    hold: float = 0.0,
) -> list[int]:
    """Device of each layer.

    Args:
        tables: The problem.
        to_go_s: Seconds (n, m) from the end of each layer on each device to the end of the request.
        devices: Those to use, unless a layer may run on none of them.
        room: Bytes that each device may hold.
        hold: Seconds by which another device must be better before a layer leaves its inputs.
    """
    use = np.full(tables.m, np.inf)
    use[list(devices)] = 0.0
    free = np.zeros(tables.m)
    left = np.array(room, dtype=np.float64) - NODE_OVERHEAD_BYTES
    arrives: dict[int, Floats] = {}
    home: dict[int, int] = {}
    held: dict[int, set[int]] = {}
    problem, slots = tables.problem, tables.problem.slots
    placed: list[int] = []
    for w, maker in enumerate(tables.maker):
        if maker < 0:
            home[w], arrives[w] = -1 - maker, tables.travel[tables.class_of[w], -1 - maker]
    for layer in range(tables.n):
        reads = problem.reads[layer]
        ready = free.copy()
        for w in reads:
            np.maximum(ready, arrives[w], out=ready)
        ends = ready + tables.compute[layer]
        score = ends + to_go_s[layer] + use
        if hold:
            score += hold
            for w in reads:
                score[home[w]] -= hold / len(reads)
        needed = float(tables.weight_bytes[layer] + tables.local_bytes[layer])
        device = _choice(tables, layer, score, left, needed)
        placed.append(device)
        free[device] = ends[device]
        left[device] -= float(tables.weight_bytes[layer])
        for w in reads:
            if home[w] != device and device not in held.setdefault(w, set()):
                left[device] -= slots * problem.wires[w].bytes
                left[home[w]] -= 0 if held[w] else slots * problem.wires[w].bytes
                held[w].add(device)
        for w in problem.makes[layer]:
            home[w] = device
            arrives[w] = ends[device] + tables.travel[tables.class_of[w], device]
    return placed


def _choice(tables: Tables, layer: int, score: Floats, left: Floats, needed: float) -> int:
    """The best device with room; else the roomiest that may run the layer."""
    roomy = np.where(left >= needed, score, np.inf)
    best = int(roomy.argmin())
    if np.isfinite(roomy[best]):
        return best
    possible = np.isfinite(tables.compute[layer])
    return int(np.where(possible, left, -np.inf).argmax())
