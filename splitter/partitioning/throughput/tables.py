"""What the stages between down-sets cost, tabulated so that one row of pairs is a few array steps.

For a stage from down-set i to down-set j, a net is cut when some but not all of its blocks are in
the stage. With c(i) blocks of the net in i, that is c(j) != c(i), unless c(i) = 0 and c(j) = all.
Nets untouched in i depend on j alone, so only those that are open in i are looked at again.

A loose block may be in the stage or not, whichever is cheaper for this stage: that never
overstates a load, as it is in one stage at most, and is exact unless two stages disagree.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitter.partitioning.throughput.downsets import (
    Order,
    Words,
    as_words,
    heads,
    members,
)
from splitter.partitioning.throughput.instance import Instance

Floats = NDArray[np.float64]
Numbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class LooseBlock:
    """A block outside the order, as far as its nets reach ordered blocks."""

    block: int
    nets: tuple[int, ...]
    """Rows of the count table. A net of several loose blocks counts for one of them."""
    apart: bool
    """Known not to be where any of its neighbours is."""


class StageTables:
    """Down-sets in order of the main group's time, and the loads of the stages between them."""

    def __init__(
        self, instance: Instance, order: Order, masks: Sequence[int], apart: Collection[int] = ()
    ):
        self.instance = instance
        self.order = order
        self.apart = apart
        self.main = max(range(len(instance.groups)), key=lambda g: len(instance.groups[g].devices))
        self._sort(masks)
        self._count_nets(apart)
        self._add_loose()

    # --- building

    def _sort(self, masks: Sequence[int]) -> None:
        instance, order = self.instance, self.order
        words = as_words(order, masks)
        inside = members(words, order.n)
        time = self._sums(inside, self._block_seconds(self.main))
        rank = np.lexsort((inside.sum(axis=0, dtype=np.int64), time))
        self.masks = [masks[i] for i in rank]
        self.words: Words = np.ascontiguousarray(words[:, rank])
        self.inside = np.ascontiguousarray(inside[:, rank])
        self.heads = heads(order, self.words, self.inside)
        groups = range(len(instance.groups))
        self.time = [self._sums(self.inside, self._block_seconds(g)) for g in groups]
        self.barred = [self._sums(self.inside, self._block_bars(g)) for g in groups]
        sizes = np.array([instance.sizes[b] for b in order.blocks], dtype=np.float64)
        self.size = self._sums(self.inside, sizes)

    def _block_seconds(self, group: int) -> Floats:
        """Seconds of the ordered blocks, 0 where a block is barred."""
        seconds = np.array([self.instance.groups[group].seconds[b] for b in self.order.blocks])
        return np.where(np.isfinite(seconds), seconds, 0.0)

    def _block_bars(self, group: int) -> Floats:
        seconds = np.array([self.instance.groups[group].seconds[b] for b in self.order.blocks])
        return np.where(np.isfinite(seconds), 0.0, 1.0)

    def _sums(self, inside: NDArray[np.uint8], weights: Floats) -> Floats:
        # One block after the other, so that rounding never puts a set before its subset.
        total = np.zeros(inside.shape[1])
        for row, weight in zip(inside, weights, strict=True):
            if weight:
                total += row * weight
        return total

    def _count_nets(self, apart: Collection[int]) -> None:
        instance, position = self.instance, self.order.position
        rows: list[list[int]] = []
        sizes: list[int] = []
        loose: dict[int, list[int]] = {}
        ordered: list[bool] = []
        for net in instance.nets:
            ends = [position[b] for b in net.blocks if b in position]
            free = min((b for b in net.blocks if b not in position), default=None)
            if not ends or (free is None and len(ends) < 2):
                continue
            if free is not None:
                loose.setdefault(free, []).append(len(rows))
            ordered.append(free is None)
            rows.append(ends)
            sizes.append(net.bytes)
        self.net_bytes: Floats = np.array(sizes, dtype=np.float64)
        kind = np.uint8 if max(map(len, rows), default=0) < 256 else np.uint16
        self.all: NDArray[np.unsignedinteger] = np.array([len(r) for r in rows], dtype=kind)
        self.count: NDArray[np.unsignedinteger] = np.zeros((len(rows), len(self.masks)), dtype=kind)
        for row, ends in enumerate(rows):
            self.count[row] = self.inside[ends].sum(axis=0, dtype=kind)
        self.loose = tuple(
            LooseBlock(block, tuple(nets), block in apart) for block, nets in loose.items()
        )
        plain = np.array(ordered, dtype=bool)
        is_open = (self.count > 0) & (self.count < self.all[:, None]) & plain[:, None]
        self.open = np.ascontiguousarray(is_open.T)
        self.open_bytes: Floats = self.net_bytes @ is_open if rows else np.zeros(len(self.masks))

    def _add_loose(self) -> None:
        """Per moving group: what loose blocks cost the stage from nothing to each down-set."""
        count = len(self.masks)
        everything = np.arange(count)
        groups = [g for g, group in enumerate(self.instance.groups) if group.byte_s > 0]
        self.loose_first: dict[tuple[int, int], Floats] = {}
        self.loose_sum = {g: np.zeros(count) for g in groups}
        self.loose_done = {g: np.zeros(count) for g in groups}
        self.loose_open = np.zeros((count, len(self.loose)), dtype=bool)
        for k, loose in enumerate(self.loose):
            counts = self.count[list(loose.nets)]
            started = (counts > 0).any(axis=0)
            done = (counts == self.all[list(loose.nets), None]).all(axis=0)
            self.loose_open[:, k] = started & ~done
            for g in groups:
                cost = self._loose_cost(loose, g, None, everything)
                self.loose_first[k, g] = cost
                self.loose_sum[g] += cost
                self.loose_done[g] += done * cost

    # --- reading

    def loose_cost_s(self, loose: LooseBlock, group: int, start: int, end: int) -> float:
        """What the stage between two down-sets supposed that one loose block adds to its load."""
        if not self.instance.groups[group].byte_s:
            return 0.0
        return float(self._loose_cost(loose, group, start, np.array([end]))[0])

    def _loose_cost(
        self, loose: LooseBlock, group: int, start: int | None, ends: Numbers
    ) -> Floats:
        """The least that one loose block adds to the load of the stages from ``start``."""
        rows = np.array(loose.nets, dtype=np.intp)
        byte_s = self.instance.groups[group].byte_s
        before = np.zeros_like(self.all[rows]) if start is None else self.count[rows, start]
        counts = self.count[np.ix_(rows, ends)]
        weights = self.net_bytes[rows] * byte_s
        outside: Floats = weights @ (counts != before[:, None])
        seconds = self.instance.groups[group].seconds[loose.block]
        if loose.apart or not np.isfinite(seconds):
            return outside
        whole = (counts == self.all[rows][:, None]) & (before == 0)[:, None]
        inside: Floats = seconds + weights @ ~whole
        return np.minimum(outside, inside)

    def supersets(self, start: int, end: int) -> Numbers:
        """Down-sets after ``start`` and before number ``end`` that contain it."""
        found = np.ones(end - start - 1, dtype=bool)
        for word, mask in zip(self.words, self.heads[:, start], strict=True):
            if mask:
                found &= (word[start + 1 : end] & mask) == mask
        return np.flatnonzero(found) + (start + 1)

    def loads(self, start: int, ends: Numbers) -> list[Floats]:
        """Per group: the load of the stages from ``start``; infinite where they may not run."""
        moved: Floats | None = None
        found: list[Floats] = []
        for g, group in enumerate(self.instance.groups):
            load = self.time[g][ends] - self.time[g][start]
            if group.byte_s > 0:
                if moved is None:
                    moved = self._moved_bytes(start, ends)
                load += moved * group.byte_s
                load += self._loose_seconds(g, start, ends)
            if self.barred[g][-1]:
                load[self.barred[g][ends] != self.barred[g][start]] = np.inf
            if self.size[-1] > group.limit_bytes:
                load[self.size[ends] - self.size[start] > group.limit_bytes] = np.inf
            found.append(load)
        return found

    def _moved_bytes(self, start: int, ends: Numbers) -> Floats:
        moved: Floats = self.open_bytes[ends]
        rows = np.flatnonzero(self.open[start])
        if len(rows):
            counts = self.count[np.ix_(rows, ends)]
            change = (counts == self.all[rows][:, None]).astype(np.int8)
            change -= counts == self.count[rows, start][:, None]
            moved = moved + self.net_bytes[rows] @ change
        return moved

    def _loose_seconds(self, group: int, start: int, ends: Numbers) -> Floats:
        added: Floats = self.loose_sum[group][ends] - self.loose_done[group][start]
        for k in np.flatnonzero(self.loose_open[start]):
            added += self._loose_cost(self.loose[k], group, start, ends)
            added -= self.loose_first[int(k), group][ends]
        return added
