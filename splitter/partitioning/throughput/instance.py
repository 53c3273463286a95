"""The period of a pipeline on one computer, in numbers: blocks, nets and groups of equal devices.

A *block* is a set of layers that must share a device. A *net* is one tensor with all blocks that
make or read it: a device that holds some of a net's blocks but not all must move the tensor, in or
out, once. The load of a device is the time of its blocks plus that of the nets it cuts; the period
is the largest load (Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph
Operators", 2020).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

Assignment = tuple[int, ...]
"""Device number of each block; devices are counted through the groups."""


@dataclass(frozen=True, slots=True)
class Group:
    """Devices that can be exchanged for one another."""

    devices: tuple[str, ...]
    seconds: tuple[float, ...]
    """Time of each block; infinite where the block may not run."""
    byte_s: float
    """Time to move one byte in or out; 0 where nothing has to move."""
    limit_bytes: float
    """What the sizes of the blocks on one device may add up to."""


@dataclass(frozen=True, slots=True)
class Net:
    """A tensor and the blocks that make or read it, at least two."""

    bytes: int
    blocks: frozenset[int]


@dataclass(frozen=True)
class Instance:
    """What to place."""

    layers: tuple[tuple[str, ...], ...]
    """Names of the layers of each block."""
    sizes: tuple[float, ...]
    nets: tuple[Net, ...]
    groups: tuple[Group, ...]
    before: frozenset[tuple[int, int]]
    """(u, v): block u comes before block v in a pipeline; acyclic."""
    ordered: frozenset[int]
    """Blocks that a pipeline keeps in order. The others are *loose*: they may run anywhere. In a
    free placement all are."""

    @cached_property
    def n(self) -> int:
        """Number of blocks."""
        return len(self.layers)

    @cached_property
    def group_of(self) -> tuple[int, ...]:
        """Group of each device."""
        return tuple(g for g, group in enumerate(self.groups) for _ in group.devices)

    @cached_property
    def device_names(self) -> tuple[str, ...]:
        """Names of all devices, group by group."""
        return tuple(name for group in self.groups for name in group.devices)

    @cached_property
    def nets_of(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the nets of each block."""
        found: list[list[int]] = [[] for _ in self.layers]
        for number, net in enumerate(self.nets):
            for block in net.blocks:
                found[block].append(number)
        return tuple(tuple(numbers) for numbers in found)

    @cached_property
    def roomy(self) -> bool:
        """Whether no placement can exceed any device's memory."""
        return all(sum(self.sizes) <= group.limit_bytes for group in self.groups)

    def loads_s(self, assignment: Sequence[int]) -> list[float]:
        """Load of each device; infinite where a block may not run or the memory does not do."""
        loads = [0.0] * len(self.group_of)
        sizes = [0.0] * len(self.group_of)
        for block, device in enumerate(assignment):
            loads[device] += self.groups[self.group_of[device]].seconds[block]
            sizes[device] += self.sizes[block]
        for net in self.nets:
            users = {assignment[block] for block in net.blocks}
            if len(users) > 1:
                for device in users:
                    loads[device] += net.bytes * self.groups[self.group_of[device]].byte_s
        limits = (self.groups[g].limit_bytes for g in self.group_of)
        return [
            load if size <= limit else inf
            for load, size, limit in zip(loads, sizes, limits, strict=True)
        ]

    def period_s(self, assignment: Sequence[int]) -> float:
        """The largest load."""
        return max(self.loads_s(assignment))

    def numbers(self, group: int) -> range:
        """Device numbers of one group."""
        start = self.group_of.index(group)
        return range(start, start + len(self.groups[group].devices))

    def loose(self) -> Iterator[int]:
        """Blocks outside the order."""
        return (block for block in range(self.n) if block not in self.ordered)
