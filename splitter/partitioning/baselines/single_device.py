"""The whole model on the one device where that costs least."""

from dataclasses import dataclass
from typing import ClassVar

from splitter.objective import Objective
from splitter.partitioning.baselines.method import best_of
from splitter.partitioning.problem import Assignment, Problem


@dataclass(frozen=True, slots=True)
class SingleDevice:
    """No split: the control that every split must beat."""

    paper: ClassVar[str] = "no split"

    def propose(self, problem: Problem, objective: Objective) -> Assignment:
        """Try every device."""
        alone = ((device,) * problem.n for device in range(problem.m))
        return best_of(problem, objective, alone)
