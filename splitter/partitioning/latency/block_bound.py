"""A lower bound on the latency: the best chain of blocks, with a price on every device's memory.

Between two layers where all paths meet, nothing else is under way, so a request takes at least the
best sequence of block placements, found by dynamic programming over the devices of the layers in
between. Memory couples the blocks. It is priced (Lagrangian relaxation): per device and block, the
tensors kept for the request and the weights of all blocks plus the most that is alive in this one
must fit. For any prices the cheapest chain less the price of the memory there is, is a lower bound;
subgradient steps (Held, Wolfe and Crowder, 1974) look for good ones. The chains met on the way are
starts for a search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from splitter.memory import NODE_OVERHEAD_BYTES, aligned
from splitter.partitioning.latency.block_exact import ExactBlock
from splitter.partitioning.latency.block_path import ends_table
from splitter.partitioning.latency.block_table import (
    Floats,
    Integers,
    block_table,
    can_list,
    travel_tables,
)
from splitter.partitioning.latency.blocks import START, Block, blocks_of
from splitter.partitioning.problem import Assignment, Problem

_STEPS = 400
_PATIENCE = 12
"""Steps without a better bound after which they become shorter."""
_LEAST_STEP = 1e-3
_STARTS = 3


@dataclass(frozen=True, slots=True)
class BlockBound:
    """What is proved, and chains that may be good plans."""

    latency_s: float
    starts: tuple[Assignment, ...]


def block_bound(problem: Problem, known_s: float, deadline_s: float) -> BlockBound:
    """A latency that no plan can beat; plans that take longer than ``known_s`` do not count.

    A bound of ``known_s`` therefore says that there is no plan below it.
    """
    blocks = blocks_of(problem)
    if not _ends_well(problem, blocks[-1]):
        return BlockBound(0.0, ())
    return _Chain(problem, blocks).bound(known_s, deadline_s)


def _ends_well(problem: Problem, last: Block) -> bool:
    """Whether some output comes after the last fork, so that a request ends after it."""
    reached = {last.fork}
    for layer in range(last.fork + 1, problem.n):
        if any(problem.wires[w].producer in reached for w in problem.reads[layer]):
            reached.add(layer)
    return last.fork == START or any(w.is_output and w.producer in reached for w in problem.wires)


class _Chain:
    def __init__(self, problem: Problem, blocks: Sequence[Block]) -> None:
        self.problem, self.blocks = problem, blocks
        travel = travel_tables(problem)
        self.tables = [
            block_table(problem, block, travel)
            if can_list(problem, block)
            else ends_table(problem, block, travel)
            for block in blocks
        ]
        self.exact = [
            exact if can_list(problem, block) and exact.is_clean else None
            for block in blocks
            for exact in [ExactBlock(problem, block)]
        ]
        born = [0.0] * problem.m
        for wire in problem.wires:
            if wire.is_input:
                born[wire.source] += problem.slots * aligned(wire.bytes)
        self.room_mb = np.array(
            [
                # All sizes are whole bytes, so half a byte absorbs rounding and admits nothing.
                (max(0.0, limit - NODE_OVERHEAD_BYTES - held) + 0.5) / 1e6
                for limit, held in zip(problem.limits, born, strict=True)
            ]
        )

    def bound(self, known_s: float, deadline_s: float) -> BlockBound:
        m, count = self.problem.m, len(self.blocks)
        prices = np.zeros((count, m))
        best_prices, best_s = prices, 0.0
        length, idle = 1.0, 0
        starts: dict[Assignment, None] = {}
        self._drop_dear(known_s)
        known_exactly = [np.zeros(len(table.seconds), dtype=bool) for table in self.tables]
        for step in range(_STEPS):
            value_s, rows = self._cheapest(prices)
            while value_s < inf and self._refine(rows, known_exactly):
                value_s, rows = self._cheapest(prices)
                if monotonic() > deadline_s:
                    break
            if value_s == inf:
                return BlockBound(known_s, tuple(starts)[-_STARTS:])
            if value_s > best_s * (1 + 1e-6) or step == 0:
                best_s, best_prices, idle = value_s, prices, 0
                starts[self._assignment(rows)] = None
            else:
                idle += 1
            if idle > _PATIENCE:
                length, idle, prices = length / 2, 0, best_prices
                value_s, rows = self._cheapest(prices)
            over = self._over_mb(rows)
            if best_s >= known_s or monotonic() > deadline_s:
                break
            norm = float(np.sum(np.where((over > 0) | (prices > 0), over, 0.0) ** 2))
            if norm <= 0.0 or length < _LEAST_STEP:
                break
            prices = np.maximum(0.0, prices + length * (known_s - value_s) / norm * over)
        return BlockBound(max(0.0, min(best_s, known_s)), tuple(starts)[-_STARTS:])

    def _costs(self, prices: Floats) -> list[Floats]:
        """Per block the cost of every row."""
        kept = prices.sum(axis=0)
        return [
            table.seconds + table.kept_mb @ kept + table.live_mb @ prices[b]
            for b, table in enumerate(self.tables)
        ]

    def _cheapest(self, prices: Floats) -> tuple[float, list[int]]:
        """(bound, row of each block on the cheapest chain)."""
        costs = self._costs(prices)
        reached = np.zeros(self.problem.m)
        chosen: list[dict[int, int]] = []
        for table, cost in zip(self.tables, costs, strict=True):
            totals = reached[table.fork] + cost
            order = np.argsort(totals, kind="stable")
            lasts, first = np.unique(table.last[order], return_index=True)
            rows = order[first]
            chosen.append(dict(zip(lasts.tolist(), rows.tolist(), strict=True)))
            reached = np.full(self.problem.m, inf)
            reached[lasts] = totals[rows]
        end = int(np.argmin(reached))
        if reached[end] == inf:
            return inf, []
        value_s = float(reached[end]) - float(np.sum(prices * self.room_mb))
        rows_back: list[int] = []
        for table, choice in zip(reversed(self.tables), reversed(chosen), strict=True):
            rows_back.append(choice[end])
            end = int(table.fork[choice[end]])
        return value_s, rows_back[::-1]

    def _refine(self, rows: Sequence[int], known: list[NDArray[np.bool_]]) -> bool:
        """Simulate the rows of a chain that were only bounded; whether any takes longer."""
        longer = False
        for b, (exact, row) in enumerate(zip(self.exact, rows, strict=True)):
            if exact is None or known[b][row]:
                continue
            known[b][row] = True
            table = self.tables[b]
            homes = dict(zip(self.blocks[b].layers, table.devices[row].tolist(), strict=True))
            found_s = exact.seconds(int(table.fork[row]), homes)
            # Sums in another order differ in the last digit.
            if found_s > table.seconds[row] * (1 + 1e-12):
                table.seconds[row] = found_s
                longer = True
        return longer

    def _over_mb(self, rows: Sequence[int]) -> Floats:
        """By how much a chain exceeds the memory of each device, at each block."""
        pairs = list(zip(self.tables, rows, strict=True))
        kept = sum(table.kept_mb[row] for table, row in pairs)
        live = np.array([table.live_mb[row] for table, row in pairs])
        over: Floats = live + kept - self.room_mb
        return over

    def _drop_dear(self, known_s: float) -> None:
        """Forget rows through which every chain takes longer than a known plan."""
        costs = self._costs(np.zeros((len(self.blocks), self.problem.m)))
        ahead = [np.zeros(self.problem.m)]
        for table, cost in zip(self.tables, costs, strict=True):
            ahead.append(_least(table.last, ahead[-1][table.fork] + cost, self.problem.m))
        behind = np.zeros(self.problem.m)
        for b in reversed(range(len(self.tables))):
            table = self.tables[b]
            totals = ahead[b][table.fork] + costs[b] + behind[table.last]
            behind = _least(table.fork, costs[b] + behind[table.last], self.problem.m)
            self.tables[b] = table.rows(totals <= known_s)

    def _assignment(self, rows: Sequence[int]) -> Assignment:
        found: list[int] = []
        for table, row in zip(self.tables, rows, strict=True):
            found += table.devices[row].tolist()
        return tuple(found)


def _least(group: Integers, values: Floats, m: int) -> Floats:
    """The least value of each group; infinite for groups without any."""
    found = np.full(m, inf)
    np.minimum.at(found, group, values)
    return found
