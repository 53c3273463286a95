"""The search for all points of a front, or for a few that are spread well.

A box spans two neighbouring points. Its lower half is searched for the point that is best in the
first objective; then what is left, above that point, for the one that is best in the second.
Between the two there is nothing. The largest box goes first, so that a search that is stopped early
leaves no large hole (the balanced box method of Boland, Charkhgard and Savelsbergh, "A Criterion
Space Search Algorithm for Biobjective Integer Programming", 2015).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Generic, Protocol, TypeVar

STEP = 1e-6
"""Points closer than this, relative, count as one."""


class Valued(Protocol):
    """What has a value for each of the two objectives."""

    @property
    def values(self) -> tuple[float, float]:
        """Smaller is better."""


P = TypeVar("P", bound=Valued)
Find = Callable[[int, float | None], P | None]
"""(first objective, cap on the other) -> the point that is best in the one, then in the other."""


@dataclass(frozen=True, slots=True)
class Spread(Generic[P]):
    """What a search found."""

    points: tuple[P, ...]
    """By increasing first value."""
    complete: bool
    """Whether nothing was left to search."""


def search_boxes(find: Find[P], stop: Callable[[int], bool]) -> Spread[P]:
    """All points, or those found until ``stop(number of points)``."""
    left, right = find(0, None), find(1, None)
    found = [point for point in (left, right) if point is not None]
    if left is None or right is None:
        return Spread(_front(found), False)
    scale = _scale(left, right)
    waiting: list[tuple[float, int, P, P]] = []
    _push(waiting, scale, 0, left, right)
    number = 0
    while waiting:
        if stop(len(_front(found))):
            return Spread(_front(found), False)
        _, _, upper, lower = heappop(waiting)
        for one, other in _split(find, upper, lower):
            number += 1
            found += [one, other]
            _push(waiting, scale, number, one, other)
    return Spread(_front(found), True)


def _split(find: Find[P], upper: P, lower: P) -> Iterator[tuple[P, P]]:
    """The smaller boxes in which the rest of one must be."""
    middle = (upper.values[1] + lower.values[1]) / 2
    low = find(0, middle) or lower
    if not _same(low, lower):
        yield low, lower
    high = find(1, low.values[0] * (1 - STEP))
    if high is not None and not _same(high, upper):
        yield upper, high


def _same(one: Valued, other: Valued) -> bool:
    pairs = zip(one.values, other.values, strict=True)
    return all(abs(a - b) <= 2 * STEP * max(abs(a), abs(b)) for a, b in pairs)


def _push(
    waiting: list[tuple[float, int, P, P]], scale: tuple[float, float], number: int, a: P, b: P
) -> None:
    if not _same(a, b):
        width = (b.values[0] - a.values[0]) / scale[0]
        height = (a.values[1] - b.values[1]) / scale[1]
        heappush(waiting, (-width * height, number, a, b))


def _scale(left: Valued, right: Valued) -> tuple[float, float]:
    width = right.values[0] - left.values[0]
    height = left.values[1] - right.values[1]
    return width or 1.0, height or 1.0


def _front(points: list[P]) -> tuple[P, ...]:
    """Without the dominated and the repeated, by increasing first value."""
    kept: list[P] = []
    for point in sorted(points, key=lambda one: one.values):
        if not kept or point.values[1] < kept[-1].values[1] * (1 - STEP):
            kept.append(point)
    return tuple(kept)
