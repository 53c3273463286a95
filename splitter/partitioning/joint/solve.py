"""The best placement and variants together: solve, judge exactly, add what the rows missed.

As in `splitter.partitioning.ilp`, rows are a relaxation and the judge decides; a state that the
judge accepts at the rows' price is optimal.
"""

from dataclasses import dataclass, field, replace
from math import inf
from time import monotonic
from typing import Literal

from splitter.errors import InfeasibleError, PlanError
from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.partitioning.ilp import (
    OPTIMAL_GAP,
    add_limits,
    horizon_s,
    needs_timing,
    solve,
    typical_value,
)
from splitter.partitioning.infeasible import Question
from splitter.partitioning.joint.model import Crowded, Picks, State, VariantModel
from splitter.partitioning.joint.start import first_choices, picks_of
from splitter.partitioning.judge import fits, over_budget, overfull, value
from splitter.partitioning.learn import crossings, likely_overlaps, overlaps
from splitter.partitioning.limits import Cuts
from splitter.partitioning.milp import ONE, Terms, combine
from splitter.partitioning.objectives import add_objective
from splitter.partitioning.posing import problem_of
from splitter.partitioning.problem import Assignment, Problem
from splitter.partitioning.rule_check import keeps_rules
from splitter.partitioning.search import improve
from splitter.partitioning.simulate import memory_bytes
from splitter.plan import Objective
from splitter.variants import Choice, VariantTable, chosen

_START_PART = 0.3
"""Of the time, for first plans."""
_LEAST_S = 0.5
"""For the placement of one choice of variants."""
_SETTLE_S = 1.0
"""Least time for the choice among equals."""
_BELOW_PART = 0.2
"""Of the time left, for a state well below the limits."""
_TRIES = 4
_SCALE = 1000.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class JointSolution:
    """The best state found, and what is proved about all others."""

    state: State
    choice: Choice
    value: float
    bound: float
    status: Literal["optimal", "feasible"]
    solve_s: float


@dataclass
class _Learned:
    cuts: Cuts
    crowded: list[Crowded] = field(default_factory=list)
    broken: list[State] = field(default_factory=list)
    """States that do not hold, for a reason that no row tells."""
    dear: list[tuple[State, float]] = field(default_factory=list)
    """States and values above the rows' price."""


def solve_jointly(
    question: Question,
    table: VariantTable,
    allowed_drop: float,
    objective: Objective,
    time_limit_s: float,
) -> JointSolution:
    """The state with the smallest ``objective`` whose accuracy changes add up to ``allowed_drop``.

    Raises:
        InfeasibleError: it is proved that no state respects all limits.
        PlanError: none was found in the time, and none was excluded.
    """
    began = monotonic()
    search = _Search(question, table, allowed_drop, objective, began + time_limit_s)
    search.run()
    name = question.graph.name
    if search.best is None and search.bound == inf:
        raise InfeasibleError(
            f"no placement of {name} respects all limits, whatever variants its layers take within "
            f"{allowed_drop:g} points of accuracy; allow more, or relax a limit"
        )
    if search.best is None:
        raise PlanError(
            f"no placement of {name} with variants was found within {time_limit_s:g} s, and none "
            "was excluded; allow more time"
        )
    reached, bound = search.best_value, min(search.bound, search.best_value)
    closed = reached - bound <= OPTIMAL_GAP * abs(reached)
    return JointSolution(
        search.best,
        search.choice(search.best.picks),
        reached,
        reached if reached - bound <= _ROUNDING * abs(reached) else bound,
        "optimal" if closed else "feasible",
        monotonic() - began,
    )


class _Search:
    def __init__(
        self,
        question: Question,
        table: VariantTable,
        allowed_drop: float,
        objective: Objective,
        deadline_s: float,
    ):
        self.question, self.table, self.allowed_drop = question, table, allowed_drop
        self.objective, self.deadline_s = objective, deadline_s
        self.envelope = problem_of(_envelope(question, table))
        self.layers = [one.name for one in question.graph.layers]
        self.best: State | None = None
        self.best_value, self.bound = inf, 0.0
        self.learned = _Learned(Cuts())
        self.margin: dict[int, int] = {}
        """Bytes by which rows were too kind to a device."""
        self._problems: dict[Picks, Problem] = {}

    def run(self) -> None:
        began = monotonic()
        self._first(began + _START_PART * (self.deadline_s - began))
        if needs_timing(self.envelope, self.objective):
            zero = (0,) * self.envelope.n
            pairs = likely_overlaps(self.envelope) | overlaps(self.envelope, zero)
            self.learned.cuts = replace(self.learned.cuts, exclusive=pairs)
        while monotonic() < self.deadline_s and not self._proved():
            state = self._solve_rows()
            if state is None:
                break
            self._judge(state)
        if self.best is not None:
            self._settle(self.best)

    def _settle(self, best: State) -> None:
        """Of states that are as good, one that loses least accuracy by changing fewest layers."""
        model, price, unit = self._rows()
        model.milp.at_least({ONE: self.best_value / unit * (1 + _ROUNDING)}, price)
        model.milp.objective = model.loss()
        limit_s = max(self.deadline_s - monotonic(), _SETTLE_S)
        result = model.milp.solve(limit_s, model.begin(best))
        if result.values is None:
            return
        state = model.state(result.values)
        problem = self.problem(state.picks)
        reached = value(problem, self.objective, state.assignment)
        if fits(problem, state.assignment) and reached <= self.best_value * (1 + 2 * _ROUNDING):
            self.best, self.best_value = state, reached

    def choice(self, picks: Picks) -> dict[str, str]:
        """Names of the variants of the layers that have any."""
        return {
            layer: self.table.variants[layer][pick].name
            for layer, pick in zip(self.layers, picks, strict=True)
            if layer in self.table.variants
        }

    def problem(self, picks: Picks) -> Problem:
        """The placement problem once variants are chosen."""
        if picks not in self._problems:
            q = self.question
            graph, costs = chosen(q.graph, q.costs, self.table, self.choice(picks))
            self._problems[picks] = problem_of(replace(q, graph=graph, costs=costs))
        return self._problems[picks]

    def _proved(self) -> bool:
        gap = self.best_value - self.bound
        return self.best is not None and gap <= OPTIMAL_GAP * abs(self.best_value)

    def _first(self, until_s: float) -> None:
        """Begin where compressing first and splitting first begin; take turns from the best."""
        choices = list(first_choices(self.table, self.question.topology, self.allowed_drop))
        began = monotonic()
        for done, choice in enumerate(choices):
            end_s = began + (until_s - began) * (done + 1) / (len(choices) + 1)
            self._take(picks_of(self.layers, self.table, choice), end_s)
        before = inf
        while self.best is not None and self.best_value < before and monotonic() < until_s:
            before = self.best_value
            self._variants_for(self.best.assignment)
            self._take(self.best.picks, until_s)

    def _take(self, picks: Picks, until_s: float) -> None:
        """Offer the best placement of these variants, as far as time allows."""
        problem, left_s = self.problem(picks), max(until_s - monotonic(), _LEAST_S)
        known = [] if self.best is None else [self.best.assignment]
        try:
            found = solve(problem, self.objective, left_s, known)
        except PlanError:  # InfeasibleError among them
            return
        self._offer(picks, found.assignment)

    def _offer(self, picks: Picks, assignment: Assignment) -> None:
        problem = self.problem(picks)
        better = improve(problem, self.objective, assignment, self.deadline_s)
        reached = value(problem, self.objective, better)
        if reached < self.best_value and fits(problem, better):
            self.best, self.best_value = State(better, picks), reached

    def _rows(self, limits: tuple[int, ...] = ()) -> tuple[VariantModel, Terms, float]:
        """The program as far as it is known, the price of a state in it, and the price's unit."""
        learned = self.learned
        problem = replace(self.envelope, limits=limits) if limits else self.envelope
        model = VariantModel(problem, table=self.table, allowed_drop=self.allowed_drop)
        known = self.best_value < inf
        unit = (self.best_value if known else typical_value(self.envelope, self.objective)) / _SCALE
        unit = unit or 1.0
        horizon = self.best_value if known else horizon_s(self.envelope)
        add_limits(model, learned.cuts)
        price = add_objective(model, self.objective, unit, learned.cuts, horizon)
        for crowded in learned.crowded:
            model.add_crowded(crowded)
        for broken in learned.broken:
            model.milp.at_least(model.differs(broken), {ONE: 1.0})
        for state, reached in learned.dear:
            same = combine(({ONE: 1.0}, 1.0), (model.differs(state), -1.0))
            model.milp.at_least(price, combine((same, reached / unit)))
        return model, price, unit

    def _solve_rows(self) -> State | None:
        """A state that the rows hold for best; None when there is none left, or no time."""
        model, price, unit = self._rows()
        model.milp.objective = price
        start = model.begin(self.best) if self.best is not None else None
        result = model.milp.solve(self.deadline_s - monotonic(), start)
        if result.status == "infeasible":
            self.bound = self.best_value
            return None
        self.bound = max(self.bound, result.bound * unit)
        return None if result.values is None else model.state(result.values)

    def _judge(self, state: State) -> None:
        """Take the state if it holds; learn what the rows missed."""
        problem = self.problem(state.picks)
        if overfull(problem, state.assignment):
            self._learn_memory(problem, state)
        elif not keeps_rules(problem, state.assignment) or over_budget(problem, state.assignment):
            if not self._learn_order(problem, state):
                self.learned.broken.append(state)
        else:
            self._offer(state.picks, state.assignment)
            if not self._proved() and not self._learn_order(problem, state):
                reached = value(problem, self.objective, state.assignment)
                self.learned.dear.append((state, reached))

    def _learn_order(self, problem: Problem, state: State) -> bool:
        """Layers that must not overlap, where time counts; whether any are new."""
        if not needs_timing(problem, self.objective):
            return False
        before = self.learned.cuts.exclusive
        both = before | overlaps(problem, state.assignment)
        self.learned.cuts = replace(self.learned.cuts, exclusive=both)
        return both != before

    def _learn_memory(self, problem: Problem, state: State) -> None:
        before, new = self.learned.cuts.crossings, False
        for device in overfull(problem, state.assignment):
            both = self.learned.cuts.crossings | crossings(problem, state.assignment, device)
            self.learned.cuts = replace(self.learned.cuts, crossings=both)
            crowded = self._crowded(state, device)
            if both == before and crowded not in self.learned.crowded:
                self.learned.crowded.append(crowded)
                new = True
        if not new and self.learned.cuts.crossings == before:
            self.learned.broken.append(state)
        self._note_margin(problem, state)
        self._variants_for(state.assignment)
        below = self._below_the_limits()
        if below is not None and fits(self.problem(below.picks), below.assignment):
            self._offer(below.picks, below.assignment)

    def _crowded(self, state: State, device: int) -> Crowded:
        """Why the activations of ``state`` are so large, by as few layers as possible."""
        need = self._activation_bytes(state.assignment, state.picks, device)
        picks, because = list(state.picks), list[tuple[int, int]]()
        for layer, at in enumerate(state.assignment):
            own = self.table.variants.get(self.layers[layer], ())
            scratch = [one.scratch_bytes for one in own]
            least = scratch.index(min(scratch)) if scratch else 0
            if at != device or not own or own[picks[layer]] == own[least]:
                continue
            usual, picks[layer] = picks[layer], least
            if self._activation_bytes(state.assignment, tuple(picks), device) < need:
                picks[layer] = usual
                because.append((layer, usual))
        return Crowded(state.assignment, device, need, tuple(because))

    def _activation_bytes(self, assignment: Assignment, picks: Picks, device: int) -> int:
        graph = self.problem(picks).graph
        layers = [n for n, d in zip(self.layers, assignment, strict=True) if d == device]
        weights = sum(graph.weight_bytes[w] for w in graph.weights_of(layers))
        used = memory_bytes(self.problem(picks), assignment)[device]
        return max(used - weights - NODE_OVERHEAD_BYTES, 0)

    def _variants_for(self, assignment: Assignment) -> None:
        """The best variants of one placement, where rows tell that it holds."""
        for _ in range(_TRIES):
            state = self._below_the_limits(assignment)
            if state is None:
                return
            problem = self.problem(state.picks)
            if not overfull(problem, state.assignment):
                if fits(problem, state.assignment):
                    self._offer(state.picks, state.assignment)
                return
            self._note_margin(problem, state)

    def _note_margin(self, problem: Problem, state: State) -> None:
        used = memory_bytes(problem, state.assignment)
        for device in overfull(problem, state.assignment):
            over = used[device] - problem.limits[device]
            self.margin[device] = self.margin.get(device, 0) + over

    def _below_the_limits(self, assignment: Assignment | None = None) -> State | None:
        """A state for the rows with limits that are as much lower as they were too kind before."""
        limits = enumerate(self.envelope.limits)
        model, price, _ = self._rows(tuple(n - self.margin.get(d, 0) for d, n in limits))
        for layer, device in enumerate(assignment or ()):
            model.milp.equal(model.on(layer, device), {ONE: 1.0})
        model.milp.objective = price
        left_s = self.deadline_s - monotonic()
        result = model.milp.solve(min(left_s, max(_BELOW_PART * left_s, _SETTLE_S)))
        return None if result.values is None else model.state(result.values)


def _envelope(question: Question, table: VariantTable) -> Question:
    """The question with the largest bytes and seconds of every layer's variants."""
    graph, sizes, entries = question.graph, dict(question.graph.weight_bytes), {}
    scratch: dict[str, int] = {}
    for layer, variants in table.variants.items():
        sizes[table.weight[layer]] = max(v.weight_bytes for v in variants)
        scratch[layer] = max(v.scratch_bytes for v in variants)
        for device in question.topology.devices:
            costs = [table.entries[layer, v.name, device.name] for v in variants]
            entries[layer, device.name] = max(costs, key=lambda cost: cost.seconds)
    layers = tuple(
        replace(one, scratch_bytes=scratch.get(one.name, one.scratch_bytes)) for one in graph.layers
    )
    costs_ = replace(question.costs, entries={**question.costs.entries, **entries})
    return replace(question, graph=replace(graph, layers=layers, weight_bytes=sizes), costs=costs_)
