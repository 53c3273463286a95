"""The best single cut between the device with the input and one other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from splitter.objective import Objective
from splitter.partitioning.baselines.method import best_of, origin
from splitter.partitioning.problem import Assignment, Problem


@dataclass(frozen=True, slots=True)
class OneCut:
    """Neurosurgeon (Kang et al., ASPLOS 2017).

    Deviations: every other device is tried as the partner, not one cloud alone; in a graph with
    branches a cut point is a position in the graph's order; costs are those of the cost table
    instead of regressions, and the objective may be any; cuts that break a rule are passed over.
    """

    paper: ClassVar[str] = "Neurosurgeon, ASPLOS 2017"

    def propose(self, problem: Problem, objective: Objective) -> Assignment:
        """Try every cut with every partner."""
        return best_of(problem, objective, self._cuts(problem))

    def _cuts(self, problem: Problem) -> Iterator[Assignment]:
        near = origin(problem)
        for far in range(problem.m):
            for cut in range(problem.n + 1) if far != near else ():
                yield (near,) * cut + (far,) * (problem.n - cut)
        yield (near,) * problem.n
