"""The joint choice as independent distributions: expected accuracy and latency with gradients.

A *state* of a vertex is (choice, device). What depends on a neighbour's width is averaged over the
widths there are; answers are judged exactly after they are drawn.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splitter.errors import UsageError
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.space.space import Architecture
from splitter.search.strategy.problem import FIXED, INPUT, JointProblem
from splitter.search.strategy.task import Task

Floats = npt.NDArray[np.float64]
Weights = list[Floats]
"""Per vertex: a probability of each state, or a gradient by it."""
_FAR = 10.0
"""Times the slowest path that stands for no path at all."""


@dataclass(frozen=True)
class Relaxed:
    """Expectations over independent states."""

    problem: JointProblem

    @classmethod
    def of(cls, task: Task) -> "Relaxed":
        """The relaxation of a task.

        Raises:
            UsageError: the goal's time is not sequential, so no expectation.
        """
        if task.goal.time != "sequential":
            raise UsageError(
                f"this strategy knows sequential latency, not {task.goal.time}; use jmsnas, "
                "evolution or random"
            )
        return cls(task.problem)

    @cached_property
    def states(self) -> list[list[tuple[int, int]]]:
        """(choice, device) of every vertex."""
        found = []
        for v, vertex in enumerate(self.problem.vertices):
            choices = sorted({o.choice for o in vertex.options})
            found.append([(c, d) for c in choices for d in self.problem.allowed(v)])
        return found

    @cached_property
    def seconds(self) -> Weights:
        """Computing time of every state."""
        return [
            np.array([self._mean(v, c, lambda o, d=d: o.seconds[d]) for c, d in states])
            for v, states in enumerate(self.states)
        ]

    def _mean(self, v: int, choice: int, what: "object") -> float:
        options = [o for o in self.problem.vertices[v].options if o.choice == choice]
        return float(np.mean([what(o) for o in options]))  # type: ignore[operator]

    def _move_s(self, size: int, start: int, end: int) -> float:
        move = self.problem.move(size, start, end)
        if move is not None:
            return move.seconds
        known = [m.seconds for m in self.problem.moves[size].values()]
        return _FAR * max(known, default=1.0)

    @cached_property
    def moving(self) -> dict[tuple[int, int], Floats]:
        """By edge: seconds of moving from each state of one end to each of the other."""
        found: dict[tuple[int, int], Floats] = {}
        problem = self.problem
        for v, vertex in enumerate(problem.vertices):
            for u in vertex.inputs:
                if u == INPUT:
                    row = [
                        self._move_s(problem.input_bytes, problem.source, e)
                        for _, e in self.states[v]
                    ]
                    found[u, v] = np.array([row])
                    continue
                found[u, v] = np.array(
                    [
                        [
                            self._mean(u, c, lambda o, d=d, e=e: self._move_s(o.output_bytes, d, e))
                            for _, e in self.states[v]
                        ]
                        for c, d in self.states[u]
                    ]
                )
        return found

    @cached_property
    def delivering(self) -> dict[int, Floats]:
        """By output vertex: seconds of moving its result to the sink."""
        sink = self.problem.sink
        return {
            u: np.array(
                [
                    self._mean(u, c, lambda o, d=d: self._move_s(o.output_bytes, d, sink))
                    for c, d in self.states[u]
                ]
            )
            for u in self.problem.ends
        }

    @cached_property
    def range_s(self) -> float:
        """Seconds between the slowest and the fastest choices on the device that differs most."""
        total = 0.0
        for states, seconds in zip(self.states, self.seconds, strict=True):
            own: dict[int, list[float]] = {}
            for (_, d), s in zip(states, seconds, strict=True):
                own.setdefault(d, []).append(float(s))
            total += max(max(times) - min(times) for times in own.values())
        return total or 1.0

    def uniform(self) -> Weights:
        """Equal logits."""
        return [np.zeros(len(states)) for states in self.states]

    def latency(self, p: Weights) -> tuple[float, Weights]:
        """Expected seconds of one request, and its gradient by every probability."""
        total, gradient = 0.0, [s.copy() for s in self.seconds]
        total += sum(float(a @ b) for a, b in zip(p, self.seconds, strict=True))
        for (u, v), move in self.moving.items():
            start = np.ones(1) if u == INPUT else p[u]
            total += float(start @ move @ p[v])
            gradient[v] += start @ move
            if u != INPUT:
                gradient[u] += move @ p[v]
        for u, move in self.delivering.items():
            total += float(move @ p[u])
            gradient[u] += move
        return total, gradient

    def accuracy(self, model: Bilinear, p: Weights) -> tuple[float, Weights]:
        """Expected accuracy, and its gradient; depths as if skips came last."""
        total, gradient = model.base, [np.zeros_like(one) for one in p]
        vertex_of = self.problem.vertex_of
        for slot, terms in enumerate(model.unary):
            v = vertex_of[slot]
            worth = np.array([terms[c] for c, _ in self.states[v]])
            total += float(worth @ p[v])
            gradient[v] += worth
        for terms, stage in zip(model.depth, model.stages, strict=False):
            total += terms[0] if terms else 0.0
            for k, slot in enumerate(stage if terms else ()):
                v = vertex_of[slot]
                stands = np.array([float(c != model.skips[slot]) for c, _ in self.states[v]])
                total += float(stands @ p[v]) * (terms[k + 1] - terms[k])
                gradient[v] += stands * (terms[k + 1] - terms[k])
        for (i, j), table in model.pairs.items():
            u, v = vertex_of[i], vertex_of[j]
            worth = np.array([[table[c][k] for k, _ in self.states[v]] for c, _ in self.states[u]])
            total += float(p[u] @ worth @ p[v])
            gradient[u] += worth @ p[v]
            gradient[v] += p[u] @ worth
        return total, gradient

    def decoded(self, task: Task, p: Weights) -> Architecture:
        """The likeliest architecture."""
        picks = {}
        for v, vertex in enumerate(self.problem.vertices):
            if vertex.slot == FIXED:
                continue
            mass: dict[int, float] = {}
            for (c, _), weight in zip(self.states[v], p[v], strict=True):
                mass[c] = mass.get(c, 0.0) + float(weight)
            picks[vertex.slot] = max(mass, key=lambda c: mass[c])
        return task.space.mended([picks[slot] for slot in sorted(picks)])


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits."""
    e = np.exp(logits - logits.max())
    made: Floats = e / e.sum()
    return made


def through_softmax(p: Floats, gradient: Floats) -> Floats:
    """Gradient by logits: p_j (g_j - sum_k p_k g_k)."""
    made: Floats = p * (gradient - p @ gradient)
    return made


class Adam:
    """Kingma and Ba, 2015, on lists of arrays; ascends."""

    def __init__(self, rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.rate, self.betas, self.steps = rate, betas, 0
        self.first: Weights = []
        self.second: Weights = []

    def step(self, values: Weights, gradient: Weights) -> None:
        """Move ``values`` up the gradient, in place."""
        if not self.first:
            self.first = [np.zeros_like(g) for g in gradient]
            self.second = [np.zeros_like(g) for g in gradient]
        self.steps += 1
        a, b = self.betas
        for value, g, m, s in zip(values, gradient, self.first, self.second, strict=True):
            m += (1 - a) * (g - m)
            s += (1 - b) * (g * g - s)
            correction = (1 - b**self.steps) ** 0.5 / (1 - a**self.steps)
            value += self.rate * correction * m / (np.sqrt(s) + 1e-8)
