"""Better plans for throughput: groups move between devices, coarse groups first.

Annealing (Kirkpatrick, Gelatt and Vecchi, 1983) on a coarse level, then descent on ever finer ones:
groups that take part in the busiest resource move to wherever the sum of the resources' loads, each
to the power `_POWER`, falls most. The power stands for the maximum, which alone would show no
progress as long as two resources are equally busy.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from math import exp, log
from random import Random
from time import monotonic

import numpy as np

from splitter.partitioning.large.levels import Level, coarser, grouped
from splitter.partitioning.large.loads import Change, Loads, Network, Rates, UnconnectedError
from splitter.partitioning.large.segments import nested_pieces
from splitter.partitioning.large.tables import Tables

_POWER = 12
_PIECES = 5
"""Groups per device on the coarsest level."""
_HEAT = 0.05
"""Relative rise of the period that annealing takes lightly at its beginning."""
_BUSY = 0.7
"""Part of the largest load from which a resource is worth relieving."""
_MUCH = 0.05
"""Part of all memory from which on whole pieces move off overfull devices first."""
_MOST_MOVES = 400
_TRIED = 24
"""Groups of an overfull device that are compared."""
_CHECK = 64
"""Moves between looks at the clock."""


class PeriodSearch:
    """One search; the same problem and seed give the same plan if time does not run out."""

    def __init__(
        self, tables: Tables, finest: Level, room: Sequence[int], rates: Rates | None = None
    ):
        """Search for the least period, or with ``rates`` for the least sum.

        Args:
            tables: The problem.
            finest: Groups that are never torn apart.
            room: Bytes that each device may hold, as far as `Loads` counts them.
            rates: What a second on each device and a byte on each link cost.
        """
        self.tables, self.finest, self.room = tables, finest, list(room)
        self.network = Network(tables, rates)
        self.power = 1 if rates else _POWER
        self.random = Random(0)
        self.near = _neighbours(tables)

    def from_pieces(self, layers: Sequence[int], until_s: float) -> list[int]:
        """A plan for the finest groups, searched from coarse pieces of the graph order down.

        ``layers``: device of each layer, where the search begins.

        Raises:
            UnconnectedError: pieces where most of their layers are would be on devices that must
                talk and cannot.
        """
        wanted = [_PIECES * self.tables.m * 4**i for i in range(12)]
        counts = [count for count in wanted if count < self.tables.n / 2] or [self.tables.n]
        levels = [grouped(self.tables, pieces) for pieces in nested_pieces(self.tables, counts)]
        levels = [level for level in levels if np.isfinite(level.compute).any(axis=1).all()]
        levels.append(self.finest)
        return self._refined(levels, _projected(levels[0], layers), until_s)

    def improved(self, placed: Sequence[int], until_s: float) -> list[int]:
        """A placement of the finest groups that is at least as good as ``placed``."""
        levels, here = [self.finest], list(placed)
        while levels[-1].size > _PIECES * self.tables.m:
            level = coarser(self.tables, levels[-1], here, 1.0 / (3 * self.tables.m), self.random)
            if level.size > 0.95 * levels[-1].size:
                break
            here = _projected(level, levels[-1].assignment(here))
            levels.append(level)
        return self._refined(levels[::-1], here, until_s)

    def _refined(self, levels: Sequence[Level], placed: list[int], until_s: float) -> list[int]:
        """Anneal and descend on each level, coarsest first; coarse ones get most of the time."""
        for i, level in enumerate(levels):
            left = until_s - monotonic()
            share = left / min(len(levels) - i, 3)
            placed = _projected(level, levels[max(i - 1, 0)].assignment(placed)) if i else placed
            if i < len(levels) - 1:
                until = monotonic() + 0.7 * share
                placed = self._annealed(level, placed, until, _HEAT / (1 + i))
            placed = self._descended(level, placed, monotonic() + 0.3 * share)
        return placed

    def projected(self, layers: Sequence[int]) -> list[int]:
        """Devices of the finest groups, from those of layers."""
        return _projected(self.finest, layers)

    def excess_bytes(self, placed: Sequence[int]) -> int | None:
        """Bytes beyond the room of all devices; None when devices that must talk are apart."""
        try:
            held = Loads(self.tables, self.finest, self.network, placed).memory
        except UnconnectedError:
            return None
        return sum(max(0, h - room) for h, room in zip(held, self.room, strict=True))

    def made_fit(self, placed: Sequence[int]) -> list[int]:
        """``placed`` with groups moved off overfull devices, as far as that is possible."""
        excess = self.excess_bytes(placed)
        if not excess:
            return list(placed)
        for count in (8, 64) if excess > _MUCH * sum(self.room) else ():
            pieces = nested_pieces(self.tables, [count * self.tables.m])[0]
            level = grouped(self.tables, pieces)
            layers = self.finest.assignment(placed)
            if level.size < self.finest.size and np.isfinite(level.compute).any(axis=1).all():
                moved = self._emptied(level, _projected(level, layers))
                placed = self.projected(level.assignment(moved))
        return self._emptied(self.finest, placed)

    def _emptied(self, level: Level, placed: Sequence[int]) -> list[int]:
        loads = Loads(self.tables, level, self.network, placed)
        stuck: set[int] = set()
        for _ in range(min(level.size, _MOST_MOVES)):
            excess = [held - room for held, room in zip(loads.memory, self.room, strict=True)]
            left = [d for d in range(self.network.m) if excess[d] > 0 and d not in stuck]
            if not left:
                break
            worst = max(left, key=excess.__getitem__)
            if self._unloaded(loads, worst):
                stuck.clear()
            else:
                stuck.add(worst)
        return loads.placed

    def _unloaded(self, loads: Loads, device: int) -> bool:
        """Whether a group was moved for ``device``: the one that costs least per byte of excess."""
        best: tuple[float, int, int, Change] | None = None
        top = max(self._reached(loads), 1e-30)
        groups = self._users(loads, device)
        if len(groups) < _TRIED:
            ends = enumerate(self.network.link_end)
            groups += self._crossing(
                loads, {self.network.m + k for k, end in ends if end == device}
            )
        self.random.shuffle(groups)
        left = [room - held for room, held in zip(self.room, loads.memory, strict=True)]
        roomiest = sorted(range(self.network.m), key=left.__getitem__)[-6:]
        for group in groups[:_TRIED]:
            for other in dict.fromkeys((*self._options(loads, group), *roomiest)):
                change = loads.change(group, other) if other != loads.placed[group] else None
                freed = -self._more_excess(loads, change) if change else 0
                if change is None or freed <= 0:
                    continue
                gain = self._power_gain(loads, change, top)
                price = gain / freed if gain > 0 else gain * freed
                if best is None or price < best[0]:
                    best = price, group, other, change
        if best is not None:
            loads.move(best[1], best[2], best[3])
        return best is not None

    def _more_excess(self, loads: Loads, change: Change) -> int:
        """Bytes by which devices are overfull after ``change`` and were not before."""
        total = 0
        for device, size in change[1].items():
            over = loads.memory[device] - self.room[device]
            total += max(0, over + size) - max(0, over)
        return total

    def _gain(self, loads: Loads, change: Change, top: float) -> float:
        """How much the sum of powers rises; infinite when memory would not do."""
        for device, size in change[1].items():
            if size > 0 and loads.memory[device] + size > self.room[device]:
                return float("inf")
        return self._power_gain(loads, change, top)

    def _power_gain(self, loads: Loads, change: Change, top: float) -> float:
        total = 0.0
        for resource, seconds in change[0].items():
            old = loads.seconds[resource] / top
            total += (old + seconds / top) ** self.power - old**self.power
        return total

    def _power_sum(self, loads: Loads, top: float) -> float:
        return float(((np.array(loads.seconds) / top) ** self.power).sum())

    def _reached(self, loads: Loads) -> float:
        """What is minimised."""
        return max(loads.seconds) if self.power > 1 else sum(loads.seconds)

    def _annealed(
        self, level: Level, placed: Sequence[int], until_s: float, heat: float
    ) -> list[int]:
        loads = Loads(self.tables, level, self.network, placed)
        best, best_s = list(loads.placed), self._reached(loads)
        if best_s <= 0.0:
            return best
        began, random = monotonic(), self.random
        top, power_sum, temperature = best_s, self._power_sum(loads, best_s), heat
        for step in range(10**9):
            if step % _CHECK == 0:
                now, top = monotonic(), self._reached(loads)
                if now > until_s or top <= 0.0:
                    break
                power_sum = self._power_sum(loads, top)
                part = (now - began) / (until_s - began)
                temperature = heat * (0.02**part)
            group = random.randrange(level.size)
            device = self._target(loads, group)
            if device == loads.placed[group]:
                continue
            change = loads.change(group, device)
            if change is None:
                continue
            gain = self._gain(loads, change, top)
            if gain > 0.0:
                if gain == float("inf"):
                    continue
                rise = log(1.0 + gain / power_sum) / self.power
                if random.random() >= exp(-rise / temperature):
                    continue
            loads.move(group, device, change)
            power_sum = max(power_sum + gain, 1e-12)
            reached = self._reached(loads) if gain < 0.0 else best_s
            if reached < best_s:
                best, best_s = list(loads.placed), reached
        return best

    def _target(self, loads: Loads, group: int) -> int:
        """A device to try: a neighbour's in the graph, one next to it, or any."""
        random, level = self.random, loads.level
        draw = random.random()
        touching = level.touching[group]
        if draw < 0.75 and touching:
            bundle = level.bundles[random.choice(touching)]
            others = [g for g in (bundle.maker, *bundle.readers) if g != group]
            other = random.choice(others) if others else group
            device = -1 - other if other < 0 else loads.placed[other]
            if draw < 0.5:
                return device
            return random.choice(self.near[device]) if self.near[device] else device
        return random.randrange(self.tables.m)

    def _descended(self, level: Level, placed: Sequence[int], until_s: float) -> list[int]:
        """Move what takes part in the busiest resources until nothing helps."""
        loads = Loads(self.tables, level, self.network, placed)
        stuck: set[int] = set()
        best, best_s = list(loads.placed), self._reached(loads)
        while monotonic() < until_s:
            resource = max(
                (r for r in range(len(loads.seconds)) if r not in stuck),
                key=loads.seconds.__getitem__,
                default=-1,
            )
            top = self._reached(loads)
            if (
                resource < 0
                or top <= 0.0
                or (self.power > 1 and loads.seconds[resource] < _BUSY * top)
            ):
                break
            if not self._relieved(loads, resource, top, until_s):
                stuck.add(resource)
                continue
            stuck.clear()
            if self._reached(loads) < best_s:
                best, best_s = list(loads.placed), self._reached(loads)
        return best

    def _relieved(self, loads: Loads, resource: int, top: float, until_s: float) -> bool:
        """Whether the best move of a group that uses ``resource`` made the plan better."""
        best: tuple[float, int, int, Change] | None = None
        groups = self._users(loads, resource)
        self.random.shuffle(groups)
        for number, group in enumerate(groups):
            if number % 16 == 15 and (best is not None or monotonic() > until_s):
                break
            for device in self._options(loads, group):
                change = loads.change(group, device)
                if change is None:
                    continue
                gain = self._gain(loads, change, top)
                if gain < -1e-12 and (best is None or gain < best[0]):
                    best = gain, group, device, change
        if best is None:
            return False
        loads.move(best[1], best[2], best[3])
        return True

    def _users(self, loads: Loads, resource: int) -> list[int]:
        level, network = loads.level, self.network
        if resource < network.m:
            mine = [g for g in range(level.size) if loads.placed[g] == resource]
            edge = [g for g in mine if self._on_edge(loads, g)]
            return edge or mine
        return self._crossing(loads, {resource})

    def _crossing(self, loads: Loads, resources: Collection[int]) -> list[int]:
        """Groups that make or read what crosses these links or media."""
        level, network = loads.level, self.network
        links = {
            link
            for link in range(len(network.link_end))
            if network.m + link in resources or network.medium.get(link) in resources
        }
        found: dict[int, None] = {}
        for number, bundle in enumerate(level.bundles):
            home = -1 - bundle.maker if bundle.maker < 0 else loads.placed[bundle.maker]
            if loads.targets[number].keys() == {home}:
                continue
            crossed = network.links(bundle.size_class, home, loads.targets[number])
            if crossed and crossed & links:
                found.update(dict.fromkeys(g for g in (bundle.maker, *bundle.readers) if g >= 0))
        return list(found)

    def _on_edge(self, loads: Loads, group: int) -> bool:
        level, here = loads.level, loads.placed[group]
        for number in level.touching[group]:
            bundle = level.bundles[number]
            home = -1 - bundle.maker if bundle.maker < 0 else loads.placed[bundle.maker]
            if home != here or any(d != here for d in loads.targets[number]):
                return True
        return False

    def _options(self, loads: Loads, group: int) -> list[int]:
        """Devices worth trying: where neighbours in the graph run, and those idlest nearby."""
        level, here = loads.level, loads.placed[group]
        found: dict[int, None] = {}
        for number in level.touching[group]:
            bundle = level.bundles[number]
            home = -1 - bundle.maker if bundle.maker < 0 else loads.placed[bundle.maker]
            found.update(dict.fromkeys((home, *loads.targets[number])))
        around = {d for device in (here, *found) for d in self.near[device]}
        found.update(dict.fromkeys(sorted(around, key=loads.seconds.__getitem__)[:4]))
        found.pop(here, None)
        return list(found)


def _projected(level: Level, layers: Sequence[int]) -> list[int]:
    """Per group the device that most of its layers have, among those that may run it."""
    votes = [Counter[int]() for _ in range(level.size)]
    for group, device in zip(level.groups_of, layers, strict=True):
        votes[group][device] += 1
    found: list[int] = []
    for group, counted in enumerate(votes):
        seconds = level.compute[group]
        fit = [device for device, _ in counted.most_common() if np.isfinite(seconds[device])]
        found.append(fit[0] if fit else int(seconds.argmin()))
    return found


def _neighbours(tables: Tables) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(tables.m)]
    for a, b in tables.problem.link_ends:
        found[a].append(b)
    return found
