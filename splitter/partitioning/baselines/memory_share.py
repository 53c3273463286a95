"""Consecutive layers in proportion to each device's memory."""

from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from splitter.objective import Objective
from splitter.partitioning.baselines.method import runs
from splitter.partitioning.problem import Assignment, Problem


@dataclass(frozen=True, slots=True)
class MemoryShare:
    """exo's ring, weighted by memory (exo-explore/exo).

    The device with most memory takes the first layers. Layers are counted, not weighed; links,
    speed, rules and the place of the input play no part.
    """

    paper: ClassVar[str] = "exo, ring weighted by memory"

    def propose(self, problem: Problem, objective: Objective) -> Assignment:
        """Split the count of layers in proportion to memory."""
        del objective
        order = sorted(range(problem.m), key=lambda d: (-problem.limits[d], d))
        total = sum(problem.limits) or 1
        ends = accumulate(problem.limits[d] for d in order)
        return runs(zip(order, (end * problem.n // total for end in ends), strict=True), problem.n)
