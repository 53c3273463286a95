"""When everything ends in one plan of calls, and whether it is a plan at all."""

from collections.abc import Sequence
from math import inf

from splitter.partitioning.latency.calls import KEPT, CallProblem, bits, mask_of


class Clock:
    """Evaluates plans of one problem; remembers the loads of calls that it has seen."""

    def __init__(self, problem: CallProblem) -> None:
        self.problem = problem
        self.must_call = mask_of([v for v in range(problem.n) if problem.cpu_s[v] == inf])
        """Nodes that cannot run on a processor."""
        self._penalty_s = 1.0 + 2 * sum(
            t for t in (*problem.cpu_s, *problem.call_s, *problem.tensor_s) if t < inf
        ) * (1 + problem.calls)
        self._loads: dict[int, float] = {}
        self._sound: dict[int, bool] = {}

    def load_s(self, mask: int) -> float:
        """Time from start to end of a call."""
        if mask not in self._loads:
            if len(self._loads) >= KEPT:
                self._loads.clear()
            self._loads[mask] = self.problem.load_s(mask)
        return self._loads[mask]

    def sound(self, mask: int) -> bool:
        """Whether a call may be exactly this set: convex, whole groups, supported, fits."""
        if mask not in self._sound:
            if len(self._sound) >= KEPT:
                self._sound.clear()
            problem = self.problem
            self._sound[mask] = (
                not mask & problem.stuck
                and problem.closure(mask) == mask
                and problem.bytes_of(mask) <= problem.most_bytes
            )
        return self._sound[mask]

    def cost_s(self, calls: Sequence[int]) -> float:
        """`latency_s`, and for every node that is on a processor but cannot run there, more than
        any latency, so that a walk finds its way to a plan.
        """
        astray = self._astray(calls)
        if not astray:
            return self._latest_s(calls)
        return self._latest_s(calls) + astray.bit_count() * self._penalty_s

    def latency_s(self, calls: Sequence[int]) -> float:
        """The latest end over all nodes; infinite when this is no plan.

        ``calls`` are disjoint sets; all other nodes run on processors.
        """
        return inf if self._astray(calls) else self._latest_s(calls)

    def _astray(self, calls: Sequence[int]) -> int:
        left = self.must_call
        for mask in calls:
            left &= ~mask
        return left

    def _latest_s(self, calls: Sequence[int]) -> float:
        problem = self.problem
        unit = [-1] * problem.n
        for number, mask in enumerate(calls):
            for node in bits(mask):
                unit[node] = number
        open_edges = [0] * len(calls)
        start = [0.0] * len(calls)
        left = [0] * problem.n
        for node, sources in enumerate(problem.before):
            here = unit[node]
            if here < 0:
                left[node] = len(sources)
            else:
                open_edges[here] += sum(unit[source] != here for source in sources)
        return self._run(calls, unit, open_edges, start, left)

    def _run(
        self,
        calls: Sequence[int],
        unit: list[int],
        open_edges: list[int],
        start: list[float],
        left: list[int],
    ) -> float:
        problem = self.problem
        astray = self.must_call
        ready = [0.0] * problem.n
        # Nodes wait as their number, calls as -1 - their number.
        todo = [v for v in range(problem.n) if unit[v] < 0 and left[v] == 0]
        todo += [-1 - c for c, mask in enumerate(calls) if mask and open_edges[c] == 0]
        ended = 0
        latest = 0.0
        while todo:
            item = todo.pop()
            if item >= 0:
                end = ready[item] + (0.0 if astray >> item & 1 else problem.cpu_s[item])
                inside: tuple[int, ...] | list[int] = (item,)
            else:
                end = start[-1 - item] + self.load_s(calls[-1 - item])
                inside = list(bits(calls[-1 - item]))
            ended += len(inside)
            latest = max(latest, end)
            for node in inside:
                here = unit[node]
                for target in problem.after[node]:
                    there = unit[target]
                    if there < 0:
                        ready[target] = max(ready[target], end)
                        left[target] -= 1
                        if left[target] == 0:
                            todo.append(target)
                    elif there != here:
                        start[there] = max(start[there], end)
                        open_edges[there] -= 1
                        if open_edges[there] == 0:
                            todo.append(-1 - there)
        return latest if ended == problem.n else inf
