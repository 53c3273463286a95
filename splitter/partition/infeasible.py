"""Why no placement exists, and what would help."""

from splitter.partition.problem import Problem


def explain(problem: Problem) -> str:
    """One message: what conflicts, and the smallest change that would do."""
    return f"no placement of {problem.graph.name} on {problem.topology.name} respects all limits"
