"""A graph at a coarser grain: groups of layers that are moved together.

Layers are merged along the tensors that cost most to cut, two by two (heavy-edge matching, Karypis
and Kumar, "A Fast and High Quality Multilevel Scheme for Partitioning Irregular Graphs", 1998).
Loads and transfers of a grouping are exactly those of its layers, so what is gained on a coarse
level holds on the fine one. Deviations: only groups on one device merge, so that a plan keeps its
meaning on every level; groups stay below a size, so that they can still be balanced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np

from splitter.partitioning.large.tables import Floats, Integers, Tables


@dataclass(frozen=True, slots=True)
class Bundle:
    """Tensors that are made and read by the same groups."""

    maker: int
    """Group, or the device ``d`` on which model inputs are born as ``-1 - d``."""
    readers: tuple[int, ...]
    sink: int
    """Device on which they are wanted as model outputs, else -1."""
    size_class: int
    count: int
    bytes: int


@dataclass(frozen=True)
class Level:
    """Groups and the bundles between them; the finest level has one group per layer."""

    compute: Floats
    """Seconds (groups, devices)."""
    weight_bytes: Integers
    bundles: tuple[Bundle, ...]
    groups_of: tuple[int, ...]
    """Group of each layer."""

    @property
    def size(self) -> int:
        """Number of groups."""
        return len(self.compute)

    @cached_property
    def touching(self) -> tuple[tuple[int, ...], ...]:
        """Bundle numbers that each group makes or reads."""
        found: list[list[int]] = [[] for _ in range(self.size)]
        for number, bundle in enumerate(self.bundles):
            for group in dict.fromkeys((bundle.maker, *bundle.readers)):
                if group >= 0:
                    found[group].append(number)
        return tuple(map(tuple, found))

    def assignment(self, placed: Sequence[int]) -> tuple[int, ...]:
        """Device of each layer when groups are on ``placed``."""
        return tuple(placed[group] for group in self.groups_of)


def finest(tables: Tables) -> Level:
    """Every layer by itself, save those that a rule keeps together."""
    groups = list(range(tables.n))
    for members in tables.problem.rules.together:
        for layer in members:
            groups[layer] = min(members)
    return grouped(tables, groups)


def grouped(tables: Tables, groups: Sequence[int]) -> Level:
    """The level whose groups are the distinct values of ``groups``."""
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    of = [number[group] for group in groups]
    compute = np.zeros((len(number), tables.m))
    weights = np.zeros(len(number), dtype=np.int64)
    np.add.at(compute, of, tables.compute)
    np.add.at(weights, of, tables.weight_bytes)
    return Level(compute, weights, _bundles(tables, of), tuple(of))


def _bundles(tables: Tables, of: Sequence[int]) -> tuple[Bundle, ...]:
    merged: dict[tuple[int, tuple[int, ...], int, int], tuple[int, int]] = {}
    for w, wire in enumerate(tables.problem.wires):
        maker = tables.maker[w] if tables.maker[w] < 0 else of[tables.maker[w]]
        readers = tuple(sorted({of[reader] for reader in wire.readers} - {maker}))
        if not readers and tables.sink[w] < 0:
            continue
        key = maker, readers, tables.sink[w], tables.class_of[w]
        count, size = merged.get(key, (0, 0))
        merged[key] = count + 1, size + wire.bytes
    return tuple(Bundle(*key, *amount) for key, amount in merged.items())


def coarser(
    tables: Tables, level: Level, placed: Sequence[int], most: float, random: Random
) -> Level:
    """Neighbouring groups on one device merged in pairs.

    Args:
        tables: The problem.
        level: What to merge.
        placed: Device of each group; only groups on one device merge.
        most: No group is merged beyond this part of all work.
        random: Shakes the order, so that each coarsening is another.
    """
    work = np.where(np.isfinite(level.compute), level.compute, 0.0).mean(axis=1)
    limit = most * float(work.sum())
    partner = list(range(level.size))
    free = [True] * level.size
    weight = {b: random.uniform(0.5, 1.0) * b.bytes / len(b.readers or (0,)) for b in level.bundles}
    for bundle in sorted(level.bundles, key=weight.__getitem__, reverse=True):
        ends = [g for g in (bundle.maker, *bundle.readers) if g >= 0 and free[g]]
        if len(ends) < 2:
            continue
        one = ends[0]
        for other in ends[1:]:
            fits = work[one] + work[other] <= limit
            if fits and placed[one] == placed[other] and _common(level, one, other):
                free[one] = free[other] = False
                partner[other] = one
                break
    return grouped(tables, [partner[group] for group in level.groups_of])


def _common(level: Level, one: int, other: int) -> bool:
    """Whether some device may run both."""
    return bool(np.isfinite(level.compute[one] + level.compute[other]).any())
