"""The joint choice of a chain as a resource-constrained shortest path, by label setting.

The network with its split is a path through (vertex, option, device); each label carries (seconds,
accuracy) and is dropped when another of the same state is no slower and no less accurate, or when
even the fastest way on would break the budget (Joksch, "The shortest route problem with
constraints", 1966). Sequential latency only; pair terms of neighbouring slots only. Memory is not
a resource of the labels: an answer that fits is optimal, one that does not is refused.
"""

from dataclasses import dataclass
from math import inf
from time import monotonic

import numpy as np
import numpy.typing as npt

from splitter.errors import InfeasibleError, UsageError
from splitter.search.strategy.judge import judge
from splitter.search.strategy.problem import FIXED, Answer, Goal, Joint, JointProblem, Option

Floats = npt.NDArray[np.float64]
State = tuple[int, int]
"""(option, device)."""


@dataclass(frozen=True, slots=True)
class _Labels:
    """Pareto-optimal ways to reach one state, fastest first."""

    seconds: Floats
    accuracy: Floats
    previous: tuple[State, ...]
    """State of the vertex before, per label."""
    place: npt.NDArray[np.int64]
    """Number of the label there, per label."""


def shortest_path(problem: JointProblem, goal: Goal) -> Answer:
    """The best joint choice of a chain; equal to the integer program's.

    Raises:
        UsageError: the problem is no chain, or memory or another rule binds; use the program.
        InfeasibleError: no choice meets the budget.
    """
    _check(problem, goal)
    began = monotonic()
    path = _Path(problem, goal)
    layers = path.run()
    best, place = path.best(layers[-1])
    joint = _trace(layers, best, place)
    answer = judge(problem, goal, joint)
    if answer is None:
        raise UsageError("memory or another rule binds, which paths do not see; use the program")
    return Answer(
        joint,
        answer.value,
        answer.accuracy,
        answer.time_s,
        bound=answer.value,
        solve_s=monotonic() - began,
        method="label-setting shortest path",
    )


def _check(problem: JointProblem, goal: Goal) -> None:
    if not problem.is_chain or problem.ends != (len(problem.vertices) - 1,):
        raise UsageError("only chains have a shortest path; use the integer program")
    other = goal.time == "period" or goal.most_cuts is not None or goal.excluded
    if other or goal.least_accuracy > -inf:
        raise UsageError(
            "shortest paths know a budget and a price of latency; use the integer program"
        )
    slots = problem.vertex_of
    if any(slots[j] - slots[i] != 1 for i, j in problem.accuracy.pairs):
        raise UsageError("shortest paths know pairs of neighbours only; use the integer program")
    if any(problem.shared):
        raise UsageError("shortest paths know no shared choices; use the integer program")


class _Path:
    def __init__(self, problem: JointProblem, goal: Goal) -> None:
        self.problem = problem
        self.goal = goal
        self.stage_of = {v: (k, i) for k, s in enumerate(problem.stages) for i, v in enumerate(s)}
        self.to_end = self._to_end()

    def states(self, v: int) -> list[State]:
        options = range(len(self.problem.vertices[v].options))
        return [(o, d) for o in options for d in self.problem.allowed(v)]

    def option(self, v: int, state: State) -> Option:
        return self.problem.vertices[v].options[state[0]]

    def arc_s(self, v: int, before: State | None, state: State) -> float:
        """Seconds of moving to and computing ``state`` of vertex ``v``; infinite when barred."""
        option = self.option(v, state)
        if before is None:
            size, start = self.problem.input_bytes, self.problem.source
        else:
            earlier = self.option(v - 1, before)
            size, start = earlier.output_bytes, before[1]
            if earlier.gives != option.takes or self._barred(v, earlier, option):
                return inf
        move = self.problem.move(size, start, state[1])
        return inf if move is None else move.seconds + option.seconds[state[1]]

    def _barred(self, v: int, earlier: Option, option: Option) -> bool:
        inside = v in self.stage_of and self.stage_of[v][1] > 0
        return inside and earlier.skip and not option.skip

    def end_s(self, state: State) -> float:
        """Seconds of bringing the result to the sink."""
        size = self.option(len(self.problem.vertices) - 1, state).output_bytes
        move = self.problem.move(size, state[1], self.problem.sink)
        return inf if move is None else move.seconds

    def gain(self, v: int, before: State | None, state: State) -> float:
        """Accuracy that ``state`` adds after ``before``."""
        model, option = self.problem.accuracy, self.option(v, state)
        slot = self.problem.vertices[v].slot
        total = 0.0 if slot == FIXED else model.unary[slot][option.choice]
        if before is not None and slot != FIXED:
            earlier = self.problem.vertices[v - 1]
            table = model.pairs.get((earlier.slot, slot))
            if table is not None:
                total += table[self.option(v - 1, before).choice][option.choice]
        if v in self.stage_of and not option.skip:
            k, i = self.stage_of[v]
            terms = model.depth[k] if k < len(model.depth) else ()
            total += terms[i + 1] - terms[i] if terms else 0.0
        return total

    def _to_end(self) -> list[dict[State, float]]:
        """Per vertex and state: the least seconds from there to the sink."""
        last = len(self.problem.vertices) - 1
        left = [{state: self.end_s(state) for state in self.states(last)}]
        for v in range(last, 0, -1):
            later = left[0]
            left.insert(
                0,
                {
                    s: min(self.arc_s(v, s, t) + rest for t, rest in later.items())
                    for s in self.states(v - 1)
                },
            )
        return left

    def run(self) -> list[dict[State, _Labels]]:
        """Labels of every state of every vertex."""
        model = self.problem.accuracy
        base = model.base + sum(terms[0] for terms in model.depth if terms)
        layers: list[dict[State, _Labels]] = [{}]
        for state in self.states(0):
            seconds = np.array([self.arc_s(0, None, state)])
            accuracy = np.array([base + self.gain(0, None, state)])
            self._keep(layers[0], 0, state, seconds, accuracy, [(state, 1)])
        for v in range(1, len(self.problem.vertices)):
            layers.append({})
            for state in self.states(v):
                self._extend(layers[v - 1], layers[v], v, state)
        return layers

    def _extend(
        self, old: dict[State, _Labels], new: dict[State, _Labels], v: int, state: State
    ) -> None:
        seconds, accuracy, parts = [], [], []
        for before, labels in old.items():
            arc_s = self.arc_s(v, before, state)
            if arc_s < inf:
                seconds.append(labels.seconds + arc_s)
                accuracy.append(labels.accuracy + self.gain(v, before, state))
                parts.append((before, len(labels.seconds)))
        if parts:
            self._keep(new, v, state, np.concatenate(seconds), np.concatenate(accuracy), parts)

    def _keep(
        self,
        layer: dict[State, _Labels],
        v: int,
        state: State,
        seconds: Floats,
        accuracy: Floats,
        parts: list[tuple[State, int]],
    ) -> None:
        """Keep what is not dominated and can still meet the budget."""
        states = [s for s, _ in parts]
        owner = np.repeat(np.arange(len(parts)), [n for _, n in parts])
        place = np.concatenate([np.arange(n) for _, n in parts])
        budget_s = self.goal.budget_s * (1 + 1e-12) if self.goal.budget_s < inf else inf
        ahead_s = self.to_end[v][state]
        alive = np.flatnonzero((seconds + ahead_s <= budget_s) & np.isfinite(seconds + ahead_s))
        order = alive[np.lexsort((-accuracy[alive], seconds[alive]))]
        if not len(order):
            return
        best_before = np.maximum.accumulate(accuracy[order])
        better = np.ones(len(order), bool)
        better[1:] = accuracy[order][1:] > best_before[:-1]
        kept = order[better]
        layer[state] = _Labels(
            seconds[kept], accuracy[kept], tuple(states[i] for i in owner[kept]), place[kept]
        )

    def best(self, last: dict[State, _Labels]) -> tuple[State, int]:
        """(state, label) of the best end."""
        found: tuple[float, State, int] | None = None
        for state, labels in last.items():
            time_s = labels.seconds + self.end_s(state)
            value = self.goal.weight * labels.accuracy - self.goal.price_per_s * time_s
            i = int(np.argmax(value))
            if found is None or value[i] > found[0]:
                found = (float(value[i]), state, i)
        if found is None:
            raise InfeasibleError("no choice of network and split meets the budget")
        return found[1], found[2]


def _trace(layers: list[dict[State, _Labels]], state: State, place: int) -> Joint:
    states = [state]
    for layer in reversed(layers[1:]):
        labels = layer[states[0]]
        states.insert(0, labels.previous[place])
        place = int(labels.place[place])
    options, devices = zip(*states, strict=True)
    return Joint(options, devices)
