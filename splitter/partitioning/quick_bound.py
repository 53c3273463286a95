"""Values that no plan can beat, known before anything is solved."""

from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.objective import Objective
from splitter.partitioning.problem import Problem


def quick_bound(problem: Problem, objective: Objective) -> float:
    """A lower bound from every layer on its own cheapest device, nothing sent.

    Additive objectives add these up; a period is at least the longest of them and an even share of
    all; of the largest memory an even share of the weights is certain. Nothing is said of latency.
    """
    if objective == "memory":
        return NODE_OVERHEAD_BYTES + problem.graph.total_weight_bytes / problem.m
    if objective == "throughput":
        least = _cheapest(problem, (1.0,) * problem.m)
        return max(max(least), sum(least) / problem.m)
    if objective in problem.rates:
        return sum(_cheapest(problem, problem.rates[objective][0]))
    return 0.0


def _cheapest(problem: Problem, per_second: tuple[float, ...]) -> list[float]:
    return [
        min(row[d] * per_second[d] for d in allowed)
        for row, allowed in zip(problem.compute, problem.allowed, strict=True)
    ]
