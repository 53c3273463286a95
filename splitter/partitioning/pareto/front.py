"""Pareto fronts of two objectives over all placements."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic

from splitter.constraints import Constraints
from splitter.costs import CostTable
from splitter.errors import InfeasibleError, PlanError, UsageError
from splitter.graph import Graph
from splitter.memory import REQUEST_SLOTS
from splitter.objective import Objective, as_objective
from splitter.partitioning import partition
from splitter.partitioning.ilp import Solution, solve
from splitter.partitioning.infeasible import Question
from splitter.partitioning.judge import fits, value
from splitter.partitioning.pareto.boxes import Spread, search_boxes
from splitter.partitioning.posing import check_effort, problem_of, question_of
from splitter.partitioning.problem import Assignment, Problem, build_problem
from splitter.plan import Plan
from splitter.topology import Topology

_MOST_CHOICES = 20_000
"""Layers x devices for which integer programs are solved again and again."""
_LEAST_S = 0.5
POINTS = 12
"""Points after which a front counts as good enough."""


@dataclass(frozen=True, slots=True)
class Point:
    """One plan that no other beats in both objectives."""

    plan: Plan
    """Verified under the user's rules; its own proof is about neither objective alone."""
    values: tuple[float, float]
    """Of the two objectives, in SI units."""
    exact: bool
    """It is proved that no plan is better in one objective and as good in the other."""
    gap: float
    """By how much a plan on this part of the front could be better; 0 when exact."""


@dataclass(frozen=True, slots=True)
class Front:
    """Plans between which only the user can choose."""

    model: str
    topology: str
    objectives: tuple[Objective, Objective]
    points: tuple[Point, ...]
    """By increasing value of the first objective."""
    complete: bool
    """Whether it is proved that no other plan belongs to the front."""


def pareto_front(
    graph: Graph,
    topology: Topology,
    costs: CostTable,
    objectives: tuple[Objective, Objective],
    *,
    constraints: Constraints | None = None,
    slots: int = REQUEST_SLOTS,
    time_limit_s: float = 60.0,
    points: int = POINTS,
) -> Front:
    """The front of two objectives: all of it, or ``points`` well-spread plans of it.

    Every plan minimises one objective under a cap on the other, and then the other without giving
    the first up (Haimes, Lasdon and Wismer, 1971, for the epsilon constraint).

    Args:
        graph: What to place.
        topology: Where to place it.
        costs: Seconds of every layer on every device.
        objectives: Two different ones of `splitter.objective.OBJECTIVES`.
        constraints: Rules besides those of the topology.
        slots: Requests in flight for which memory is reserved.
        time_limit_s: For the whole front.
        points: Most plans to look for.

    Raises:
        InfeasibleError, PlanError, UsageError: as `partition`; the front of one computer's parts
            and of very large graphs is not offered.
    """
    first, second = (as_objective(name) for name in objectives)
    if first == second:
        raise UsageError(f"a front needs two different objectives, not {first!r} twice")
    if points < 2:
        raise UsageError(f"points is {points}; a front has two ends, so look for 2 or more")
    check_effort(first, time_limit_s)
    question = question_of(graph, topology, costs, constraints, slots)
    if topology.is_one_computer or len(graph.layers) * len(topology.devices) > _MOST_CHOICES:
        raise UsageError(
            f"no front of {graph.name} on {topology.name}: the integer program would be too large, "
            "or does not describe the parts of one computer; plan for each objective instead"
        )
    search = _Search(question, (first, second), monotonic() + time_limit_s, points)
    spread = search.run()
    found = tuple(_point(question, (first, second), one) for one in spread.points)
    complete = spread.complete and not search.unsure and all(point.exact for point in found)
    return Front(graph.name, topology.name, (first, second), found, complete)


@dataclass(frozen=True, slots=True)
class _Found:
    """One placement on the front, as the search knows it."""

    assignment: Assignment
    values: tuple[float, float]
    gap: float


class _Search:
    """Finds points with integer programs that start from what is known."""

    def __init__(
        self,
        question: Question,
        objectives: tuple[Objective, Objective],
        deadline_s: float,
        most: int,
    ):
        self.question = question
        self.objectives = objectives
        self.deadline_s = deadline_s
        self.most = most
        self.solved = 0
        self.known: dict[Assignment, None] = {}
        self.unsure = False
        """Whether some part of the front was given up for want of time."""

    def run(self) -> Spread[_Found]:
        """All points, or as many as wanted or there is time for."""
        return search_boxes(self._find, lambda n: n >= self.most or monotonic() > self.deadline_s)

    def _find(self, main: int, cap: float | None) -> _Found | None:
        """The plan that is best in ``main``, the other capped, and then best in the other."""
        first, other = self.objectives[main], self.objectives[1 - main]
        caps = () if cap is None else ((other, cap),)
        best = self._solved(first, caps)
        if best is None:
            return None
        final = self._solved(other, (*caps, (first, best.value)))
        chosen = best if final is None else final
        gap = max(_gap(best), 0.0 if final is None else _gap(final))
        self.unsure |= final is None
        problem = problem_of(self.question)
        values = tuple(value(problem, name, chosen.assignment) for name in self.objectives)
        return _Found(chosen.assignment, (values[0], values[1]), gap)

    def _solved(
        self, objective: Objective, caps: tuple[tuple[Objective, float], ...]
    ) -> Solution | None:
        """The best plan under caps; None when there is none, or none was found in time."""
        rules = replace(self.question.constraints, optional=()) + Constraints(at_most=caps)
        q = self.question
        try:
            problem = build_problem(q.graph, q.topology, q.costs, rules, q.slots)
            found = solve(problem, objective, self._share_s(), self._start(problem, objective))
        except InfeasibleError:
            if not self.known:
                partition(q.graph, q.topology, q.costs, constraints=rules, slots=q.slots)
            return None
        except PlanError:
            self.unsure = True
            return None
        self.known[found.assignment] = None
        return found

    def _share_s(self) -> float:
        """An even share of the time left, for two solutions per point."""
        self.solved += 1
        left = self.deadline_s - monotonic()
        return max(_LEAST_S, left / max(4, 2 * self.most - self.solved))

    def _start(self, problem: Problem, objective: Objective) -> list[Assignment]:
        good = [one for one in self.known if fits(problem, one)]
        return [min(good, key=lambda one: value(problem, objective, one))] if good else []


def _gap(solution: Solution) -> float:
    if solution.status == "optimal" or solution.value <= 0.0:
        return 0.0
    return (solution.value - solution.bound) / solution.value


def _point(question: Question, objectives: tuple[Objective, Objective], found: _Found) -> Point:
    """The placement as a plan that the verifier has accepted."""
    q = question
    placement: Mapping[str, str] = problem_of(q).placement(found.assignment)
    rules = replace(q.constraints, optional=())
    plan = partition(
        *(q.graph, replace(q.topology, constraints=Constraints()), q.costs),
        objective=objectives[0],
        constraints=rules,
        slots=q.slots,
        placement=placement,
    )
    values = plan.estimate.value(objectives[0]), plan.estimate.value(objectives[1])
    return Point(plan, values, found.gap == 0.0, found.gap)
