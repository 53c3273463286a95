"""The best chain of down-sets: the dynamic programme of Tarnawski et al. (2020), with bounds.

A state is a down-set that is finished and how many devices of each group are used; its value is the
least possible largest load so far. Deviations from the paper: stages as dear as the best known
pipeline are never looked at, nor are states from which what is left cannot be done in less.
"""

from dataclasses import dataclass
from itertools import product
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from splitter.partitioning.throughput.tables import Floats, Numbers, StageTables

_CHECK_EVERY = 128
"""Down-sets between two looks at the clock."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Chain:
    """A pipeline: (group, down-set after it as bits of positions) of each stage."""

    stages: tuple[tuple[int, int], ...]
    value_s: float


@dataclass(frozen=True, slots=True)
class ChainResult:
    """What was found, and whether everything was looked at."""

    best: Chain | None
    """The best chain below the limit."""
    complete: bool


def best_chain(tables: StageTables, below_s: float, deadline_s: float) -> ChainResult:
    """The chain with the least largest load, if that is below ``below_s``."""
    return _Search(tables, below_s, deadline_s).run()


def useful_downsets(tables: StageTables, below_s: float, deadline_s: float) -> list[int] | None:
    """The down-sets that a chain below ``below_s`` may pass, or None when time runs out.

    What is before a down-set and what is after it are looked at by themselves, so that some chains
    are none after all.
    """
    ahead = _Search(tables, below_s, deadline_s, lowers=False)
    if not ahead.run().complete:
        return None
    whole = tables.masks[-1]
    turned = StageTables(
        tables.instance, tables.order.turned, [whole ^ mask for mask in tables.masks], tables.apart
    )
    behind = _Search(turned, below_s, deadline_s, lowers=False)
    if not behind.run().complete:
        return None
    place = {mask: i for i, mask in enumerate(turned.masks)}
    after = np.array([place[whole ^ mask] for mask in tables.masks])
    here, there = ahead.value < below_s, behind.value[:, after] < below_s
    useful = np.zeros(len(tables.masks), dtype=bool)
    for s, used in enumerate(ahead.states):
        for t, later in enumerate(ahead.states):
            if all(a + b <= c for a, b, c in zip(used, later, ahead.counts, strict=True)):
                useful |= here[s] & there[t]
    return [mask for mask, keep in zip(tables.masks, useful, strict=True) if keep]


class _Search:
    def __init__(
        self, tables: StageTables, below_s: float, deadline_s: float, *, lowers: bool = True
    ):
        self.tables = tables
        self.lowers = lowers
        """Whether only chains better than the best one found are looked for."""
        self.deadline_s = deadline_s
        groups = tables.instance.groups
        self.counts = [len(group.devices) for group in groups]
        self.states = list(product(*(range(count + 1) for count in self.counts)))
        number = {state: i for i, state in enumerate(self.states)}
        self.steps = [self._steps(state, number) for state in self.states]
        downsets = len(tables.masks)
        self.value = np.full((len(self.states), downsets), np.inf)
        self.origin = np.full((len(self.states), downsets), -1, dtype=np.int32)
        self.by = np.zeros((len(self.states), downsets), dtype=np.int16)
        self.rest = _Rest(tables)
        self.value[0, 0] = 0.0
        self._lower(below_s)

    def _steps(
        self, state: tuple[int, ...], number: dict[tuple[int, ...], int]
    ) -> list[tuple[int, int]]:
        """(group, state after one more device of it)."""
        found: list[tuple[int, int]] = []
        for g, used in enumerate(state):
            if used < self.counts[g]:
                found.append((g, number[(*state[:g], used + 1, *state[g + 1 :])]))
        return found

    def _lower(self, best_s: float) -> None:
        """Look only for what is better than ``best_s`` from now on."""
        self.best_s = best_s
        left = [[c - u for c, u in zip(self.counts, state, strict=True)] for state in self.states]
        self.hopeful = [self.rest.hopeful(free, best_s) for free in left]
        self.reach_s = self.rest.reach_s(best_s)

    def run(self) -> ChainResult:
        last = len(self.tables.masks) - 1
        for start in range(last):
            if start % _CHECK_EVERY == 0 and monotonic() > self.deadline_s:
                return ChainResult(self._traced(), complete=False)
            alive = self._alive(start)
            if alive:
                self._extend(start, alive)
                reached = float(self.value[:, last].min())
                if self.lowers and reached < self.best_s:
                    self._lower(reached)
        return ChainResult(self._traced(), complete=True)

    def _alive(self, start: int) -> list[int]:
        """States worth extending: hopeful, and no other uses fewer devices for as small a load."""
        values = self.value[:, start]
        near = np.flatnonzero(values < self.best_s)
        found = [int(s) for s in near if self.hopeful[s][start]]
        return [s for s in found if not any(self._beats(o, s, values) for o in found if o != s)]

    def _beats(self, one: int, other: int, values: Floats) -> bool:
        fewer = all(a <= b for a, b in zip(self.states[one], self.states[other], strict=True))
        return fewer and bool(values[one] <= values[other])

    def _extend(self, start: int, alive: list[int]) -> None:
        tables = self.tables
        main = tables.time[tables.main]
        end = int(np.searchsorted(main, main[start] + self.reach_s, side="right"))
        ends = tables.supersets(start, end)
        wanted = np.zeros(len(ends), dtype=bool)
        for after in {after for state in alive for _, after in self.steps[state]}:
            wanted |= self.hopeful[after][ends]
        ends = ends[wanted]
        if not len(ends):
            return
        loads = tables.loads(start, ends)
        for g, load in enumerate(loads):
            near = load < self.best_s
            here, load = ends[near], load[near]
            for state in alive:
                for group, after in self.steps[state]:
                    if group == g:
                        self._offer(state, after, start, here, load)

    def _offer(self, state: int, after: int, start: int, ends: Numbers, load: Floats) -> None:
        reached = np.maximum(load, self.value[state, start])
        better = (reached < self.value[after, ends]) & self.hopeful[after][ends]
        ends = ends[better]
        self.value[after, ends] = reached[better]
        self.origin[after, ends] = start
        self.by[after, ends] = state

    def _traced(self) -> Chain | None:
        here = len(self.tables.masks) - 1
        state = int(self.value[:, here].argmin())
        value_s = float(self.value[state, here])
        if not np.isfinite(value_s):
            return None
        stages: list[tuple[int, int]] = []
        while here:
            before = int(self.by[state, here])
            group = next(g for g, after in self.steps[before] if after == state)
            stages.append((group, self.tables.masks[here]))
            here, state = int(self.origin[state, here]), before
        return Chain(tuple(reversed(stages)), value_s)


class _Rest:
    """What is left after a down-set, against what the devices left can do in a given time."""

    def __init__(self, tables: StageTables):
        self.tables = tables
        groups = tables.instance.groups
        main = tables.main
        blocks = tables.order.blocks
        seconds = np.array([[group.seconds[b] for b in blocks] for group in groups])
        seconds = seconds.reshape(len(groups), len(blocks))
        own = np.isfinite(seconds[main])
        self.left = tables.time[main][-1] - tables.time[main]
        least = np.where(own | ~np.isfinite(seconds).any(axis=0), 0.0, seconds.min(axis=0))
        foreign = (tables.inside.T * least).sum(axis=1)
        self.foreign_left = foreign[-1] - foreign
        self.swaps = [
            _swap(np.where(own, seconds[main], 0.0), seconds[g]) if g != main else None
            for g in range(len(groups))
        ]
        self.byte_s = [group.byte_s for group in groups]

    def reach_s(self, period_s: float) -> float:
        """The most main time that one stage of any group can hold."""
        return max(self._held(g, period_s) for g in range(len(self.swaps)))

    def _held(self, group: int, period_s: float) -> float:
        swap = self.swaps[group]
        if swap is None or not np.isfinite(period_s):
            return period_s
        used, held = swap
        return float(np.interp(period_s, used, held))

    def hopeful(self, free: list[int], period_s: float) -> NDArray[np.bool_]:
        """The down-sets from which ``free`` devices of each group may stay below ``period_s``."""
        tables = self.tables
        if not np.isfinite(period_s):
            return np.ones(len(tables.masks), dtype=bool)
        most = sum(n * self._held(g, period_s) for g, n in enumerate(free) if n)
        others = sum(n for g, n in enumerate(free) if g != tables.main) * period_s
        need = self.left
        moving = [self.byte_s[g] for g, n in enumerate(free) if n]
        if moving and self.swaps[tables.main] is None:
            alone = [g for g, n in enumerate(free) if n] == [tables.main]
            if alone and min(moving) > 0:
                # Every net that is open now is cut by a stage that is still to come.
                need = need + tables.open_bytes * moving[0]
        found: NDArray[np.bool_] = (need <= most * (1 + _ROUNDING)) & (
            self.foreign_left <= others * (1 + _ROUNDING)
        )
        return found


def _swap(main: Floats, seconds: Floats) -> tuple[Floats, Floats]:
    """Upper bound on the main time of blocks that take so much time on another device.

    The fractional knapsack as a broken line: (time there, main time).
    """
    able = np.isfinite(seconds) & (main > 0)
    main, seconds = main[able], seconds[able]
    with np.errstate(divide="ignore"):
        rank = np.argsort(seconds / main)
    used = np.concatenate([[0.0], np.cumsum(seconds[rank])])
    held = np.concatenate([[0.0], np.cumsum(main[rank])])
    return used, held
