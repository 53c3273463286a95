"""What every device, link and shared medium carries, kept up to date while groups move.

A move costs time in proportion to the tensors that the group touches, however large the problem.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.partitioning.large.levels import Bundle, Level
from splitter.partitioning.large.tables import Tables

Change = tuple[dict[int, float], dict[int, int]]
"""Seconds by resource, bytes of memory by device."""
Rates = tuple[Sequence[float], Sequence[float]]
"""Cost of a second on each device, of a byte on each link."""


class UnconnectedError(Exception):
    """A placement in which devices that must talk cannot."""


class Network:
    """Routes and link costs as the search looks them up; resources are numbered.

    Resource d is device d, m + i is link i, and shared media follow.
    """

    def __init__(self, tables: Tables, rates: Rates | None = None):
        """With ``rates`` loads are costs and not seconds: of devices' seconds, of links' bytes."""
        problem = tables.problem
        self.m, links = tables.m, len(problem.links)
        self.resources = self.m + links + len(problem.media)
        self.slots = problem.slots
        self.link_end = [end for _, end in problem.link_ends]
        self.per_second = [1.0] * self.m if rates is None else list(rates[0])
        self.latency_s = tables.link_latency_s.tolist() if rates is None else [0.0] * links
        self.s_per_byte = tables.link_s_per_byte.tolist() if rates is None else list(rates[1])
        self.medium = {
            link: self.m + links + i
            for i, members in enumerate(problem.media if rates is None else ())
            for link in members
        }
        self._tables = tables
        self._known: dict[tuple[int, int, int], tuple[int, ...] | None] = {}

    def route(self, size_class: int, start: int, end: int) -> tuple[int, ...] | None:
        """Link numbers; None when there is no way."""
        key = size_class, start, end
        if key not in self._known:
            found = self._tables.routes[size_class].routes_from(start).get(end)
            open_way = self._tables.travel[size_class, start, end] < float("inf")
            self._known[key] = found.links if found is not None and open_way else None
        return self._known[key]

    def links(self, size_class: int, home: int, targets: Mapping[int, int]) -> set[int] | None:
        """Links that a tensor crosses on its way to all ``targets``; None when there is no way."""
        found: set[int] = set()
        for target in targets:
            if target != home:
                route = self.route(size_class, home, target)
                if route is None:
                    return None
                found.update(route)
        return found


class Loads:
    """The loads of one placement of a level's groups.

    Raises:
        UnconnectedError: devices that must talk are not connected.
    """

    def __init__(self, tables: Tables, level: Level, network: Network, placed: Sequence[int]):
        self.level, self.network = level, network
        self.placed = list(placed)
        possible = np.isfinite(level.compute)
        cost = np.where(possible, level.compute, 0.0) * np.array(network.per_second)
        self.compute = np.where(possible, cost, np.inf).tolist()
        self.weight = level.weight_bytes.tolist()
        self.seconds = [0.0] * network.resources
        self.memory = [NODE_OVERHEAD_BYTES] * network.m
        self.targets: list[dict[int, int]] = []
        """Per bundle: how many readers each device has, the sink counted as one."""
        for group, device in enumerate(self.placed):
            self.seconds[device] += self.compute[group][device]
            self.memory[device] += self.weight[group]
        for bundle in level.bundles:
            wanted: dict[int, int] = {}
            for reader in bundle.readers:
                wanted[self.placed[reader]] = wanted.get(self.placed[reader], 0) + 1
            if bundle.sink >= 0:
                wanted[bundle.sink] = wanted.get(bundle.sink, 0) + 1
            self.targets.append(wanted)
            change: Change = ({}, {})
            if not self._cross(bundle, self._home(bundle), wanted, 1, change):
                raise UnconnectedError("devices that must talk are not connected")
            self.apply(change)

    def _home(self, bundle: Bundle) -> int:
        return -1 - bundle.maker if bundle.maker < 0 else self.placed[bundle.maker]

    def _cross(
        self, bundle: Bundle, home: int, targets: Mapping[int, int], sign: int, change: Change
    ) -> bool:
        """Add what ``bundle`` puts on links and into slots to ``change``; False without a way."""
        network = self.network
        links = network.links(bundle.size_class, home, targets)
        if links is None:
            return False
        if not links:
            return True
        seconds, memory = change
        room = sign * network.slots * bundle.bytes
        memory[home] = memory.get(home, 0) + room
        for link in links:
            cost = sign * (
                bundle.count * network.latency_s[link] + bundle.bytes * network.s_per_byte[link]
            )
            resource = network.m + link
            seconds[resource] = seconds.get(resource, 0.0) + cost
            medium = network.medium.get(link)
            if medium is not None:
                seconds[medium] = seconds.get(medium, 0.0) + cost
            end = network.link_end[link]
            memory[end] = memory.get(end, 0) + room
        return True

    def change(self, group: int, device: int) -> Change | None:
        """What moving ``group`` to ``device`` changes; None when it may not be there."""
        old = self.placed[group]
        cost = self.compute[group]
        if cost[device] == float("inf"):
            return None
        change: Change = (
            {old: -cost[old], device: cost[device]},
            {old: -self.weight[group], device: self.weight[group]},
        )
        for number in self.level.touching[group]:
            bundle, before = self.level.bundles[number], self.targets[number]
            after = self._after(bundle, before, group, old, device)
            home = self._home(bundle)
            new_home = device if bundle.maker == group else home
            if new_home == home and after.keys() == before.keys():
                continue
            self._cross(bundle, home, before, -1, change)
            if not self._cross(bundle, new_home, after, 1, change):
                return None
        return change

    @staticmethod
    def _after(
        bundle: Bundle, before: dict[int, int], group: int, old: int, device: int
    ) -> dict[int, int]:
        if group not in bundle.readers:
            return before
        after = dict(before)
        after[old] -= 1
        if not after[old]:
            del after[old]
        after[device] = after.get(device, 0) + 1
        return after

    def apply(self, change: Change) -> None:
        """Add up a change."""
        for resource, seconds in change[0].items():
            self.seconds[resource] += seconds
        for device, size in change[1].items():
            self.memory[device] += size

    def move(self, group: int, device: int, change: Change) -> None:
        """Carry out what `change` gave for this move."""
        old = self.placed[group]
        self.apply(change)
        for number in self.level.touching[group]:
            bundle, before = self.level.bundles[number], self.targets[number]
            self.targets[number] = self._after(bundle, before, group, old, device)
        self.placed[group] = device
