"""Which rules an assignment breaks, exactly and in words."""

from collections.abc import Iterator, Sequence

from splitter.partitioning.problem import Problem


def broken(problem: Problem, assignment: Sequence[int]) -> Iterator[str]:
    """What ``assignment`` breaks, found one by one so that the first settles a yes or no."""
    yield from _scattered(problem, assignment)


def _scattered(problem: Problem, assignment: Sequence[int]) -> Iterator[str]:
    for group in problem.rules.together:
        first = group[0]
        for layer in group[1:]:
            if assignment[layer] != assignment[first]:
                one, other = (problem.graph.layers[i].name for i in (first, layer))
                yield f"{one} and {other} must run on one device"
                break
