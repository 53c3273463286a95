"""What every baseline has in common."""

from collections.abc import Iterable, Iterator
from typing import ClassVar, Protocol

from splitter.objective import Objective
from splitter.partitioning.judge import fits, value
from splitter.partitioning.problem import Assignment, Problem


class DoesNotApplyError(Exception):
    """The method has no answer for such a problem; the message says why."""


class Method(Protocol):
    """One published way to split a network. A frozen dataclass whose fields are its settings."""

    paper: ClassVar[str]
    """Where it comes from, short enough for a table."""

    def propose(self, problem: Problem, objective: Objective) -> Assignment:
        """The method's placement; whether it respects every rule is for others to judge.

        Raises:
            DoesNotApplyError: the method has no answer for such a problem.
        """


def best_of(problem: Problem, objective: Objective, candidates: Iterable[Assignment]) -> Assignment:
    """The best candidate that respects every rule, or else the best of all.

    Raises:
        DoesNotApplyError: there is none.
    """
    ranked = sorted(
        {one: value(problem, objective, one) for one in candidates}.items(),
        key=lambda item: (item[1], item[0]),
    )
    if not ranked:
        raise DoesNotApplyError("it finds no split at all")
    good = (candidate for candidate, _ in ranked if fits(problem, candidate))
    return next(good, ranked[0][0])


def runs(bounds: Iterable[tuple[int, int]], n: int) -> Assignment:
    """Consecutive layers per device, from (device, first layer after its run) pairs."""
    return tuple(_runs(bounds, n))


def _runs(bounds: Iterable[tuple[int, int]], n: int) -> Iterator[int]:
    at, last = 0, 0
    for device, end in bounds:
        yield from [device] * (min(end, n) - at)
        at, last = max(at, min(end, n)), device
    yield from [last] * (n - at)


def origin(problem: Problem) -> int:
    """The device on which the model's first input appears."""
    return next((wire.source for wire in problem.wires if wire.is_input), 0)
