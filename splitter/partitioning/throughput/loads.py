"""Loads while single blocks move: what a local search and a completion need to be fast."""

from collections.abc import Iterable, Sequence
from math import inf

from splitter.partitioning.throughput.instance import Instance

NOWHERE = -1
"""Device of a block that is not placed yet."""


class Loads:
    """Loads of all devices under an assignment that may be partial.

    A net counts as cut on a device that holds some of its placed blocks but not all of them.
    """

    def __init__(self, instance: Instance, assignment: Sequence[int]):
        self.instance = instance
        self.device = [NOWHERE] * instance.n
        devices = len(instance.group_of)
        self.load = [0.0] * devices
        self.size = [0.0] * devices
        self._byte_s = [instance.groups[g].byte_s for g in instance.group_of]
        self._limit = [instance.groups[g].limit_bytes for g in instance.group_of]
        self._held: list[dict[int, int]] = [{} for _ in instance.nets]
        self._placed = [0] * len(instance.nets)
        for block, device in enumerate(assignment):
            if device != NOWHERE:
                self.put(block, device)

    def seconds(self, block: int, device: int) -> float:
        """Time of ``block`` on ``device``."""
        return self.instance.groups[self.instance.group_of[device]].seconds[block]

    def put(self, block: int, device: int) -> None:
        """Place ``block``, from wherever it is."""
        self.take(block)
        self._shift(block, device, +1)
        self.device[block] = device

    def take(self, block: int) -> None:
        """Remove ``block`` from its device, if it has one."""
        if self.device[block] != NOWHERE:
            self._shift(block, self.device[block], -1)
            self.device[block] = NOWHERE

    def _shift(self, block: int, device: int, sign: int) -> None:
        for number in self.instance.nets_of[block]:
            self._count_cuts(number, -1)
            held = self._held[number]
            held[device] = held.get(device, 0) + sign
            if not held[device]:
                del held[device]
            self._placed[number] += sign
            self._count_cuts(number, +1)
        seconds = self.seconds(block, device)
        self.load[device] += sign * seconds if seconds < inf else 0.0
        self.size[device] += sign * self.instance.sizes[block]

    def _count_cuts(self, number: int, sign: int) -> None:
        held = self._held[number]
        if len(held) > 1:
            size = self.instance.nets[number].bytes
            for device in held:
                self.load[device] += sign * size * self._byte_s[device]

    def may(self, block: int, device: int) -> bool:
        """Whether ``block`` may move to ``device``."""
        if self.seconds(block, device) == inf:
            return False
        there = 0.0 if self.device[block] == device else self.instance.sizes[block]
        return self.size[device] + there <= self._limit[device]

    def settle(self, blocks: Iterable[int]) -> None:
        """Put each block, one after the other, where it makes the largest load least."""
        for block in blocks:
            self.put(block, min(self._choices(block))[-1])

    def _choices(self, block: int) -> list[tuple[bool, float, float, int]]:
        found: list[tuple[bool, float, float, int]] = []
        for device in range(len(self.load)):
            if self.seconds(block, device) == inf:
                continue
            allowed = self.may(block, device)
            self.put(block, device)
            found.append((not allowed, max(self.load), sum(self.load), device))
            self.take(block)
        return found
