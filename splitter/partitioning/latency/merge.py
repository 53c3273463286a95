"""Nodes that may be merged without changing any plan's time, so that the search is over fewer."""

from dataclasses import dataclass

from splitter.partitioning.latency.calls import CallProblem


@dataclass(frozen=True, slots=True)
class Merged:
    """A smaller problem with the same plans."""

    problem: CallProblem
    members: tuple[tuple[int, ...], ...]
    """Nodes of the original that each node stands for."""


def merge(problem: CallProblem) -> Merged:
    """Merge nodes of one group along edges where neither timing nor transfers can tell.

    For an edge u -> v inside a group, u and v are always on the same device, so the tensor between
    them is never moved when v is its only reader. Then merging is exact on accelerators; on the
    processors it is exact when u takes no time (v inherits its predecessors), when v has no other
    predecessor, or, if v is a result without readers and takes no time, whoever else reads u.
    """
    work = _Work(problem)
    changed = True
    while changed:
        changed = False
        for node in range(problem.n):
            for source in sorted(work.before[node]):
                if work.may_merge(source, node):
                    work.merge(source, node)
                    changed = True
    return work.result()


class _Work:
    """The graph while nodes merge; a merged node keeps the number of one of its members."""

    def __init__(self, problem: CallProblem) -> None:
        self.problem = problem
        self.before = [set(sources) for sources in problem.before]
        self.after = [set(targets) for targets in problem.after]
        self.cpu_s = list(problem.cpu_s)
        self.call_s = list(problem.call_s)
        self.size_bytes = list(problem.size_bytes)
        self.tensor_s = list(problem.tensor_s)
        self.members: list[list[int]] = [[node] for node in range(problem.n)]

    def may_merge(self, u: int, v: int) -> bool:
        if self.problem.group[u] != self.problem.group[v]:
            return False
        if not self.after[v] and self.cpu_s[v] == 0.0 and self.before[v] == {u}:
            return True
        if self.after[u] != {v}:
            return False
        return self.cpu_s[u] == 0.0 or self.before[v] == {u}

    def merge(self, u: int, v: int) -> None:
        """Make one node of both. It keeps u's tensor when v is a result, v's otherwise."""
        if self.after[v]:
            self.tensor_s[u] = self.tensor_s[v]
        elif self.after[u] == {v}:
            self.tensor_s[u] = 0.0
        self.cpu_s[u] += self.cpu_s[v]
        self.call_s[u] += self.call_s[v]
        self.size_bytes[u] += self.size_bytes[v]
        self.members[u] += self.members[v]
        self.members[v] = []
        self.after[u] = (self.after[u] - {v}) | self.after[v]
        self.before[u] |= self.before[v] - {u}
        for source in self.before[v] - {u}:
            self.after[source] = (self.after[source] - {v}) | {u}
        for target in self.after[v]:
            self.before[target] = (self.before[target] - {v}) | {u}
        self.before[v], self.after[v] = set(), set()

    def result(self) -> Merged:
        order = self._order()
        number = {node: i for i, node in enumerate(order)}
        problem = self.problem
        smaller = CallProblem(
            cpu_s=tuple(self.cpu_s[node] for node in order),
            call_s=tuple(self.call_s[node] for node in order),
            size_bytes=tuple(self.size_bytes[node] for node in order),
            tensor_s=tuple(self.tensor_s[node] for node in order),
            before=tuple(tuple(sorted(number[u] for u in self.before[v])) for v in order),
            group=tuple(problem.group[node] for node in order),
            calls=problem.calls,
            limit_bytes=problem.limit_bytes,
        )
        return Merged(smaller, tuple(tuple(sorted(self.members[node])) for node in order))

    def _order(self) -> list[int]:
        """A topological order, by smallest original number."""
        left = {node: len(self.before[node]) for node in range(len(self.before))}
        ready = sorted((v for v in left if left[v] == 0 and self.members[v]), reverse=True)
        order: list[int] = []
        while ready:
            node = ready.pop()
            order.append(node)
            for target in sorted(self.after[node]):
                left[target] -= 1
                if left[target] == 0:
                    ready.append(target)
            ready.sort(reverse=True)
        return order
