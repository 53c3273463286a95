"""Consecutive layers, as much of one measure for every device."""

from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Literal

from splitter.objective import Objective
from splitter.partitioning.problem import Assignment, Problem


@dataclass(frozen=True, slots=True)
class EqualParts:
    """Equal FLOPs or equal parameters per device: what a pipeline is split by without a profile.

    Parts follow the topology's order of devices. Speeds, links and rules play no part.
    """

    measure: Literal["macs", "weights"]
    """What every device gets as much of."""
    paper: ClassVar[str] = "equal parts, no profile"

    def propose(self, problem: Problem, objective: Objective) -> Assignment:
        """Put each layer into the part in which its middle falls."""
        del objective
        sizes = [self._size(problem, layer) for layer in range(problem.n)]
        total = sum(sizes)
        if not total:
            return (0,) * problem.n
        middles = (end - size / 2 for size, end in zip(sizes, accumulate(sizes), strict=True))
        return tuple(min(problem.m - 1, int(middle * problem.m / total)) for middle in middles)

    def _size(self, problem: Problem, layer: int) -> int:
        record = problem.graph.layers[layer]
        return record.macs if self.measure == "macs" else problem.graph.layer_weight_bytes(record)
