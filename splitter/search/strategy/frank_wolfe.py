"""Block-coordinate Frank-Wolfe under a hard latency budget.

Nayman et al., "HardCoRe-NAS: Hard Constrained diffeRentiable Neural Architecture Search", 2021.
The blocks are the choices, with the devices fixed, and the devices. With the devices fixed the
latency is linear, so each step is a linear program, and convex combinations of its solutions keep
the budget at every step. Deviation: the devices move to the best split of the rounded network when
the current point keeps the budget there too.
"""

from dataclasses import dataclass, field, replace
from math import inf

from splitter.errors import UsageError
from splitter.partitioning.milp import ONE, Terms, combine
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.space.space import Architecture
from splitter.search.strategy.best import Best
from splitter.search.strategy.problem import FIXED, Answer, Goal, JointProblem
from splitter.search.strategy.program import solve_program
from splitter.search.strategy.rows import JointModel
from splitter.search.strategy.task import Task

Point = dict[tuple[int, int], float]
"""Weight of (vertex, option)."""


@dataclass(frozen=True)
class FrankWolfe:
    """Steps of size 4 / (k + 4)."""

    steps: int = 16
    device_every: int = 4
    """Steps after which the devices may move."""
    violations: list[float] = field(default_factory=list, compare=False)
    """Relative excess of the latency at every iterate of the last search; never above rounding."""

    def search(self, task: Task) -> Answer:
        """The best answer found."""
        if task.goal.time != "sequential":
            raise UsageError(
                f"Frank-Wolfe knows sequential latency, not {task.goal.time}; use jmsnas, "
                "evolution or random"
            )
        self.violations.clear()
        best, model = Best(task, "frank_wolfe"), task.fitted
        fastest = solve_program(task.problem, Goal(weight=0.0, price_per_s=1.0))
        devices = fastest.joint.devices
        point: Point = dict.fromkeys(enumerate(fastest.joint.options), 1.0)
        best.look(fastest.joint.choices(task.problem))
        for k in range(self.steps):
            block = _Block(task, model, devices)
            vertex = block.best_corner(point)
            step = min(1.0, 4.0 / (k + 4.0))
            keys = set(point) | set(vertex)
            point = {q: (1 - step) * point.get(q, 0.0) + step * vertex.get(q, 0.0) for q in keys}
            if task.goal.budget_s < inf:
                self.violations.append(block.latency_s(point) / task.goal.budget_s - 1.0)
            best.look(_rounded(task, vertex))
            found = best.look(_rounded(task, point))
            if found is not None and k % self.device_every == self.device_every - 1:
                moved = _Block(task, model, found.joint.devices)
                if moved.latency_s(point) <= task.goal.budget_s:
                    devices = found.joint.devices
        return best.result()


class _Block:
    """The choices with the devices fixed."""

    def __init__(self, task: Task, model: Bilinear, devices: tuple[int, ...]) -> None:
        vertices = tuple(
            replace(x, allowed=(d,)) for x, d in zip(task.problem.vertices, devices, strict=True)
        )
        self.model = model
        plain = replace(model, pairs={})
        self.problem: JointProblem = replace(task.problem, vertices=vertices, accuracy=plain)
        self.rows = JointModel(self.problem, task.goal)
        rows, goal = self.rows, task.goal
        rows.forbid_missing_links()
        rows.add_stages()
        rows.add_memory()
        self.latency = rows.latency()
        if goal.budget_s < inf:
            unit = goal.budget_s / 1000.0
            rows.milp.at_least({ONE: 1000.0}, combine((self.latency, 1 / unit)))
        priced = (self.latency, -goal.price_per_s)
        self.linear = combine((rows.accuracy(), goal.weight), priced)
        rows.milp.integer = [False] * len(rows.milp.integer)

    def best_corner(self, point: Point) -> Point:
        """The corner of the polytope that the gradient at ``point`` points to."""
        objective: Terms = combine((self.linear, -1.0), (self._pairs(point), -1.0))
        self.rows.milp.objective = objective
        result = self.rows.milp.solve(30.0)
        if result.values is None:
            return point
        return {
            (v, o): result.values[column]
            for v, own in enumerate(self.rows.x)
            for (o, _), column in own.items()
            if result.values[column] > 1e-9
        }

    def _pairs(self, point: Point) -> Terms:
        """Gradient of the pair terms."""
        vertex_of, found = self.problem.vertex_of, list[tuple[Terms, float]]()
        for (i, j), table in self.model.pairs.items():
            u, v = vertex_of[i], vertex_of[j]
            for a, b, flip in ((u, v, False), (v, u, True)):
                for (w, o), weight in point.items():
                    if w != b:
                        continue
                    other = self.problem.vertices[b].options[o].choice
                    for choice, term in self.rows.chosen(a).items():
                        worth = table[other][choice] if flip else table[choice][other]
                        found.append((term, weight * worth))
        return combine(*found)

    def latency_s(self, point: Point) -> float:
        """Seconds of one request at ``point``, by transport of every weight on its own edge."""
        total = 0.0
        problem = self.problem
        for v, vertex in enumerate(problem.vertices):
            (device,) = vertex.allowed
            for (w, o), weight in point.items():
                if w == v:
                    total += weight * vertex.options[o].seconds[device]
            ends = {problem.vertices[r].allowed[0] for r in problem.readers[v]}
            ends |= {problem.sink} if v in problem.ends else set()
            for end in ends:
                total += self._moved(point, v, device, end)
        starts = {x.allowed[0] for x in problem.vertices if -1 in x.inputs}
        for end in starts:
            move = problem.move(problem.input_bytes, problem.source, end)
            total += inf if move is None else move.seconds
        return total

    def _moved(self, point: Point, v: int, start: int, end: int) -> float:
        total = 0.0
        for (w, o), weight in point.items():
            if w == v and weight > 0.0:
                size = self.problem.vertices[v].options[o].output_bytes
                move = self.problem.move(size, start, end)
                total += inf if move is None else weight * move.seconds
        return total


def _rounded(task: Task, point: Point) -> Architecture:
    """The choice with the largest weight of every slot."""
    picks: dict[int, dict[int, float]] = {}
    for (v, o), weight in point.items():
        vertex = task.problem.vertices[v]
        if vertex.slot != FIXED:
            own = picks.setdefault(vertex.slot, {})
            choice = vertex.options[o].choice
            own[choice] = own.get(choice, 0.0) + weight
    return task.space.mended([max(picks[s], key=lambda c: picks[s][c]) for s in sorted(picks)])
