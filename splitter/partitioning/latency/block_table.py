"""Every way to place one block: how long it takes, and what it takes of each device's memory.

All are lower bounds: tensors on links do not wait for one another, and of memory only weights,
tensors kept for as long as a request lives, and the most that is alive at one step are counted, by
the rules of `splitter.partitioning.limits`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from splitter.memory import aligned
from splitter.partitioning.latency.blocks import START, Block
from splitter.partitioning.problem import Problem

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MOST_WAYS = 40_000
"""Placements of one block, times devices of its fork, that are listed."""


@dataclass(frozen=True)
class BlockTable:
    """One row per placement of the block and its fork."""

    fork: Integers
    """(rows,) device of the fork; 0 when the block is the first."""
    devices: Integers
    """(rows, layers) device of each layer."""
    seconds: Floats
    """(rows,) from the fork's end to the end of the last layer, or of the request."""
    kept_mb: Floats
    """(rows, devices) weights, and tensors times requests in flight."""
    live_mb: Floats
    """(rows, devices) the most alive at one step."""

    @property
    def last(self) -> Integers:
        """(rows,) device of the last layer; the fork's when there is none."""
        found: Integers = self.devices[:, -1] if self.devices.shape[1] else self.fork
        return found

    def rows(self, keep: NDArray[np.bool_]) -> "BlockTable":
        """The same with some rows only."""
        return BlockTable(
            self.fork[keep],
            self.devices[keep],
            self.seconds[keep],
            self.kept_mb[keep],
            self.live_mb[keep],
        )


def ways(problem: Problem, block: Block) -> int:
    """How many rows the block's table has."""
    forks = 1 if block.fork == START else len(problem.allowed[block.fork])
    return forks * prod(len(problem.allowed[layer]) for layer in block.layers)


def can_list(problem: Problem, block: Block) -> bool:
    """Whether the block's placements are few enough."""
    return ways(problem, block) <= _MOST_WAYS


def block_table(problem: Problem, block: Block, travel: Mapping[int, Floats]) -> BlockTable:
    """All placements of a block; ``travel`` is what `travel_tables` says."""
    return _Builder(problem, block, travel).table()


def travel_tables(problem: Problem) -> dict[int, Floats]:
    """By tensor size: seconds from each device to each other; infinite where no route leads."""
    found: dict[int, Floats] = {}
    for w, wire in enumerate(problem.wires):
        if wire.bytes not in found:
            rows = [problem.routes[w].seconds_from(d) for d in range(problem.m)]
            found[wire.bytes] = np.array(rows)
    return found


class _Builder:
    def __init__(self, problem: Problem, block: Block, travel: Mapping[int, Floats]) -> None:
        self.problem, self.block, self.travel = problem, block, travel
        forks = [0] if block.fork == START else list(problem.allowed[block.fork])
        choices = [forks, *(problem.allowed[layer] for layer in block.layers)]
        grid = np.meshgrid(*(np.array(c, dtype=np.int64) for c in choices), indexing="ij")
        self.where = {block.fork: grid[0].ravel()}
        for layer, column in zip(block.layers, grid[1:], strict=True):
            self.where[layer] = column.ravel()
        self.count = grid[0].size

    def home(self, w: int) -> Integers:
        """(rows,) where a tensor is made."""
        wire = self.problem.wires[w]
        if wire.is_input:
            return np.full(self.count, wire.source)
        return self.where[wire.producer]

    def table(self) -> BlockTable:
        block = self.block
        columns = [self.where[layer] for layer in block.layers]
        devices = np.stack(columns, axis=1) if columns else np.zeros((self.count, 0), np.int64)
        return BlockTable(
            self.where[block.fork], devices, self._seconds(), self._kept_mb(), self._live_mb()
        )

    def _seconds(self) -> Floats:
        problem, block = self.problem, self.block
        compute = np.array(problem.compute)
        free = np.zeros((self.count, problem.m))
        row = np.arange(self.count)
        ends: dict[int, Floats] = {block.fork: np.zeros(self.count)}
        for layer, reads, anchored in zip(block.layers, block.reads, block.anchored, strict=True):
            if not anchored:
                continue
            here = self.where[layer]
            ready = free[row, here]
            for w in reads:
                made = ends.get(max(problem.wires[w].producer, START))
                if made is not None:
                    np.maximum(ready, made + self._way(w, here), out=ready)
            ends[layer] = ready + compute[layer, here]
            free[row, here] = ends[layer]
        if block.is_last:
            return self._request_end(ends)
        last = block.layers[-1]
        queued = self._last_arrival(ends) + compute[last, self.where[last]]
        found: Floats = np.maximum(ends[last], queued)
        return found

    def _last_arrival(self, ends: Mapping[int, Floats]) -> Floats:
        """When the last of all tensors is over, as links and media carry one at a time.

        Tensors count that must be there before the block's last layer starts.
        """
        problem = self.problem
        needed = self._before_last()
        begun: dict[str, Floats] = {}
        busy: dict[str, Floats] = {}
        after: dict[str, Floats] = {}
        for w, readers in self._wires():
            made = ends.get(max(problem.wires[w].producer, START))
            readers = tuple(reader for reader in readers if reader in needed)
            if made is None or not readers:
                continue
            for number, used in self._links(w, readers):
                link = problem.links[number]
                begun.setdefault(link.medium, np.full(self.count, inf))
                busy.setdefault(link.medium, np.zeros(self.count))
                after.setdefault(link.medium, np.full(self.count, inf))
                begun[link.medium][used] = np.minimum(begun[link.medium], made)[used]
                busy[link.medium][used] += link.busy_s(problem.wires[w].bytes)
                after[link.medium][used] = np.minimum(after[link.medium][used], link.latency_s)
        latest = np.zeros(self.count)
        for medium, start in begun.items():
            over = np.where(start < inf, start + busy[medium] + after[medium], 0.0)
            np.maximum(latest, over, out=latest)
        return latest

    def _before_last(self) -> set[int]:
        """The last layer and the anchored layers that it comes after."""
        block = self.block
        makers: set[int] = {block.layers[-1]}
        for layer, reads, anchored in reversed(
            list(zip(block.layers, block.reads, block.anchored, strict=True))
        ):
            if layer in makers and anchored:
                makers.update(self.problem.wires[w].producer for w in reads)
        held = zip(block.layers, block.anchored, strict=True)
        return {layer for layer, anchored in held if anchored and layer in makers}

    def _links(self, w: int, readers: tuple[int, ...]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """(link, rows) over which a tensor gets to its readers."""
        problem, home = self.problem, self.home(w)
        used = np.zeros((len(problem.links), self.count), dtype=bool)
        for reader in readers:
            there = self.where[reader]
            for a in range(problem.m):
                for b in range(problem.m):
                    route = problem.routes[w].get((a, b)) if a != b else None
                    if route is not None and len(problem.links):
                        used[list(route.links)] |= (home == a) & (there == b)
        for number in range(len(problem.links)):
            if used[number].any():
                yield number, used[number]

    def _way(self, w: int, here: Integers) -> Floats:
        table = self.travel[self.problem.wires[w].bytes]
        found: Floats = table[self.home(w), here]
        return found

    def _request_end(self, ends: Mapping[int, Floats]) -> Floats:
        latest = np.zeros(self.count)
        for w, wire in enumerate(self.problem.wires):
            if wire.is_output and wire.producer in ends:
                arrives = ends[wire.producer] + self._way(w, np.full(self.count, wire.sink))
                np.maximum(latest, arrives, out=latest)
        return latest

    def _kept_mb(self) -> Floats:
        """Weights, and what is sent or received; shared weights in equal parts per reader."""
        problem, graph = self.problem, self.problem.graph
        kept = np.zeros((self.count, problem.m))
        row = np.arange(self.count)
        for layer in self.block.layers:
            parts = (
                graph.weight_bytes[weight] / _readers(problem)[weight]
                for weight in dict.fromkeys(graph.layers[layer].weights)
            )
            kept[row, self.where[layer]] += sum(parts)
        for w, wire in enumerate(problem.wires):
            if wire.is_output and wire.producer in self.block.layers:
                size = problem.slots * aligned(wire.bytes)
                kept[row, self.home(w)] += size
                kept[:, wire.sink] += size * (self.home(w) != wire.sink)
        for w, readers in self._wires():
            wire, home = problem.wires[w], self.home(w)
            size = 0 if wire.is_output else problem.slots * aligned(wire.bytes)
            on = np.zeros((self.count, problem.m), dtype=bool)
            for reader in readers:
                on[row, self.where[reader]] = True
            on[row, home] = False
            leaves = on.any(axis=1)
            kept += on * size
            if not wire.is_input:
                kept[row, home] += leaves * size
        return kept / 1e6

    def _wires(self) -> list[tuple[int, tuple[int, ...]]]:
        """Tensors of the block and its fork with their readers in the block."""
        block, problem = self.block, self.problem
        inside = set(block.layers)
        found: dict[int, tuple[int, ...]] = {}
        for reads in block.reads:
            for w in reads:
                found[w] = tuple(r for r in problem.wires[w].readers if r in inside)
        return list(found.items())

    def _live_mb(self) -> Floats:
        problem, block = self.problem, self.block
        step = {layer: i for i, layer in enumerate(block.layers)}
        live = np.zeros((len(block.layers) or 1, self.count, problem.m))
        row = np.arange(self.count)
        for layer in block.layers:
            scratch = aligned(problem.graph.layers[layer].scratch_bytes)
            live[step[layer], row, self.where[layer]] += scratch
        for w, readers in self._wires():
            wire, home = problem.wires[w], self.home(w)
            # Others may send it on, or keep it for a reader outside: then it is in no arena.
            if wire.is_input or wire.is_output or len(readers) < len(wire.readers):
                continue
            stays = np.ones(self.count, dtype=bool)
            for reader in readers:
                stays &= self.where[reader] == home
            first = step.get(wire.producer, 0)
            for at in range(first, max(step[reader] for reader in readers) + 1):
                live[at, row, home] += stays * aligned(wire.bytes)
        peak: Floats = live.max(axis=0) / 1e6
        return peak


def _readers(problem: Problem) -> Mapping[str, int]:
    """How many layers read each constant."""
    counts: dict[str, int] = {}
    for layer in problem.graph.layers:
        for weight in dict.fromkeys(layer.weights):
            counts[weight] = counts.get(weight, 0) + 1
    return counts
