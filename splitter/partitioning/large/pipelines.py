"""First plans for throughput: the graph order cut into pieces, one per device along a walk.

A pipeline over a sparse network should cross each link once. A depth-first walk over a tree of
links does that in each direction, so devices are filled in such an order, each with as much as it
computes within the wanted period, cut where little is sent. The period is found by bisection.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np

from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.partitioning.large.segments import cut_bytes
from splitter.partitioning.large.tables import Integers, Tables

_BISECTIONS = 14
_SLACK = 0.15
"""Part of a device's load that may be given up for a cheaper cut."""


class Pipelines:
    """Splits of one graph along walks over the devices."""

    def __init__(self, tables: Tables):
        self.tables = tables
        # A layer that may not run on a device costs nothing there and is given away afterwards.
        finite = np.where(np.isfinite(tables.compute), tables.compute, 0.0)
        self.prefix = np.concatenate([np.zeros((1, tables.m)), np.cumsum(finite, axis=0)])
        self.weights = np.concatenate([[0], np.cumsum(tables.weight_bytes)])
        self.cut_bytes = cut_bytes(tables)
        self.readers = [sorted(wire.readers) for wire in tables.problem.wires]
        self.order = np.argsort(np.maximum(tables.maker, -1), kind="stable")
        self.makers = np.maximum(np.array(tables.maker), -1)[self.order]
        self.last = np.array(
            [
                tables.n if wire.is_output else max(wire.readers, default=-1)
                for wire in tables.problem.wires
            ]
        )[self.order]
        self.room_bytes = tables.bytes[self.order]
        self.local = tables.local_bytes

    def best(self, walk: Sequence[int], high_s: float, room: Sequence[int]) -> list[int] | None:
        """The split over ``walk`` with about the least period, ``room`` being bytes per device."""
        low, found = 0.0, None
        for _ in range(_BISECTIONS):
            middle = (low + high_s) / 2 if low else high_s
            split = self.split(walk, middle, room)
            if split is None:
                if found is None:
                    return None
                low = middle
            else:
                found, high_s, low = split, middle, low or middle / 64
        return found

    def split(self, walk: Sequence[int], period_s: float, room: Sequence[int]) -> list[int] | None:
        """Device of each layer with at most ``period_s`` of computing on each; None without."""
        n, at = self.tables.n, 0
        found = [0] * n
        for device in walk:
            end = self._reach(at, device, period_s, room[device] - NODE_OVERHEAD_BYTES)
            if end < n:
                end = self._cheap_cut(at, end, device)
            found[at:end] = [device] * (end - at)
            at = max(at, end)
            if at == n:
                return self._permitted(found)
        return None

    def _permitted(self, placed: list[int]) -> list[int]:
        seconds = self.tables.compute
        forbidden = np.flatnonzero(np.isinf(seconds[np.arange(self.tables.n), placed]))
        for layer in forbidden.tolist():
            placed[layer] = int(seconds[layer].argmin())
        return placed

    def _reach(self, at: int, device: int, period_s: float, room: int) -> int:
        """How far ``device`` gets from layer ``at`` on."""
        spent = self.prefix[:, device]
        most = int(np.searchsorted(spent, spent[at] + period_s, side="right"))
        needed = self.weights[at:most] - self.weights[at]
        largest = np.concatenate([[0], np.maximum.accumulate(self.local[at : most - 1])])
        edges = self.tables.problem.slots * (self._leaving(at, most) + self._coming(at, most))
        fits = np.flatnonzero(needed + 2 * largest + edges <= room)
        return at + int(fits[-1]) if len(fits) else at

    def _leaving(self, at: int, most: int) -> Integers:
        """Bytes made from layer ``at`` on and read later, for every end from ``at`` to ``most``."""
        first, after = np.searchsorted(self.makers, [at, most])
        change = np.zeros(most - at + 1, dtype=np.int64)
        made = self.makers[first:after] + 1 - at
        gone = np.minimum(self.last[first:after] + 1 - at, most - at)
        np.add.at(change, made, self.room_bytes[first:after])
        np.add.at(change, np.maximum(gone, made), -self.room_bytes[first:after])
        return np.cumsum(change)[: most - at]

    def _coming(self, at: int, most: int) -> Integers:
        """Bytes made before layer ``at`` and read from there on, for every end."""
        change = np.zeros(most - at + 1, dtype=np.int64)
        before = int(np.searchsorted(self.makers, at))
        for index in np.flatnonzero(self.last[:before] >= at).tolist():
            readers = self.readers[int(self.order[index])]
            position = bisect_left(readers, at)
            if position < len(readers) and readers[position] + 1 < most:
                change[readers[position] + 1 - at] += self.room_bytes[index]
        return np.cumsum(change)[: most - at]

    def _cheap_cut(self, at: int, end: int, device: int) -> int:
        """The place with the least cut among those that lose little of the device's load."""
        spent = self.prefix[at : end + 1, device]
        first = at + int(np.searchsorted(spent, spent[0] + (1 - _SLACK) * (spent[-1] - spent[0])))
        if first >= end:
            return end
        cuts = self.cut_bytes[first : end + 1][::-1]
        return end - int(cuts.argmin())


def walks(tables: Tables, period_s: float) -> Iterator[list[int]]:
    """Orders of the devices: depth first over links that are fast enough for some period.

    ``period_s`` is about what a good plan reaches.
    """
    problem = tables.problem
    births = sorted({wire.source for wire in problem.wires if wire.is_input})
    sinks = sorted({sink for sink in tables.sink if sink >= 0})
    seconds = np.where(np.isfinite(tables.compute), tables.compute, 0.0).sum(axis=0)
    start, end = (births or [0])[0], (sinks or [0])[0]
    by_speed = [int(d) for d in np.argsort(seconds, kind="stable")]
    sizes = sorted(set(tables.class_sizes))
    known: set[tuple[int, ...]] = set()
    for size in dict.fromkeys((sizes[len(sizes) // 2], sizes[-1], sizes[0])):
        seconds = tables.link_latency_s + size * tables.link_s_per_byte
        for factor in (2.0, 8.0, 0.5, 32.0):
            usable = [i for i, s in enumerate(seconds.tolist()) if s <= factor * period_s]
            walk = _walk(tables, usable, start, end, by_speed)
            if len(walk) > 1 and tuple(walk) not in known:
                known.add(tuple(walk))
                yield walk
    yield by_speed


def _walk(
    tables: Tables, usable: Sequence[int], start: int, end: int, by_speed: Sequence[int]
) -> list[int]:
    """Devices in the order of a depth-first walk; the branch with ``end`` comes last."""
    rank = {device: i for i, device in enumerate(by_speed)}
    near: dict[int, list[int]] = {}
    for link in usable:
        a, b = tables.problem.link_ends[link]
        near.setdefault(a, []).append(b)
    parent: dict[int, int] = {start: -1}
    order, waiting = [], [start]
    while waiting:
        here = waiting.pop()
        order.append(here)
        for other in sorted(near.get(here, ()), key=lambda d: -rank[d]):
            if other not in parent:
                parent[other] = here
                waiting.append(other)
    return _end_last(order, parent, end)


def _end_last(order: list[int], parent: dict[int, int], end: int) -> list[int]:
    """``order`` with each branch that holds ``end`` moved behind its siblings."""
    path = set[int]()
    here = end if end in parent else -1
    while here >= 0:
        path.add(here)
        here = parent[here]
    children: dict[int, list[int]] = {}
    for device in order:
        children.setdefault(parent[device], []).append(device)
    found, waiting = [], [order[0]]
    while waiting:
        here = waiting.pop()
        found.append(here)
        below = sorted(children.get(here, ()), key=lambda d: d in path)
        waiting.extend(reversed(below))
    return found
