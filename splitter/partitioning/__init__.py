"""Decide which layer runs on which device, by integer programming."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from time import monotonic
from typing import get_args

from splitter.constraint_faults import constraint_faults
from splitter.costs import CostTable
from splitter.errors import InfeasibleError, PlanError, UsageError
from splitter.estimate import estimate
from splitter.graph import Graph
from splitter.memory import REQUEST_SLOTS
from splitter.partitioning.compare import alternatives, bottleneck, flips
from splitter.partitioning.fallbacks import fallbacks
from splitter.partitioning.ilp import Solution, solve
from splitter.partitioning.infeasible import Question, explain
from splitter.partitioning.judge import broken_rules, value
from splitter.partitioning.one_computer import plan_one_computer
from splitter.partitioning.problem import Problem, build_problem
from splitter.partitioning.simulate import memory_bytes
from splitter.plan import Objective, Plan, Proof
from splitter.schedule import transfers_of
from splitter.topology import Constraints, Topology
from splitter.verify import verify

__all__ = ["partition"]


def partition(
    graph: Graph,
    topology: Topology,
    costs: CostTable,
    *,
    objective: Objective = "latency",
    constraints: Constraints | None = None,
    slots: int = REQUEST_SLOTS,
    time_limit_s: float = 30.0,
    placement: Mapping[str, str] | None = None,
    starts: Sequence[Mapping[str, str]] = (),
    threads: int = 1,
) -> Plan:
    """The best placement of every layer, with its prediction, its proof and its alternatives.

    Args:
        graph: What to place.
        topology: Where to place it; its own constraints hold besides ``constraints``.
        costs: Seconds of every layer on every device.
        objective: What to minimise, one of `splitter.objective.OBJECTIVES`.
        constraints: Rules besides those of the topology.
        slots: Requests in flight for which memory is reserved.
        time_limit_s: When the search stops and reports the gap that is left.
        placement: Device of each layer; given, it is only evaluated, and nothing is solved.
        starts: Known placements; the plan is no worse than the best of them that holds.
        threads: Processors for the integer program of one computer with accelerators; all else
            uses one, so that equal problems give equal plans.

    Raises:
        UsageError: an argument has an impossible value.
        PlanError: a rule names no layer or device, ``placement`` does not hold, or no plan was
            found in time.
        InfeasibleError: no placement respects all limits; the message says what conflicts.
    """
    _check(graph, objective, slots, time_limit_s)
    _check_ends(graph, topology)
    both = topology.constraints + (constraints or Constraints())
    question = Question(graph, topology, costs, both, slots)
    _check_rules(question)
    if topology.is_one_computer:
        problem = _posed(question)
        plan = plan_one_computer(problem, objective, time_limit_s, placement, threads)
        return _verified(plan, question)
    share_s = time_limit_s / (1 + len(both.optional))
    if placement is None:
        problem, solution = _solved(question, objective, share_s, starts)
    else:
        problem = _posed(question)
        solution = _given(problem, objective, placement)
    left = fallbacks(question, lambda one: _solved(one, objective, share_s, ()))
    plan = replace(_plan(problem, objective, solution), fallbacks=left)
    return _verified(plan, question)


def _verified(plan: Plan, question: Question) -> Plan:
    q = question
    faults = verify(plan, q.graph, q.topology, q.costs, q.constraints)
    if faults:
        raise PlanError(f"the plan for {q.graph.name} does not hold: {'; '.join(faults)}")
    return plan


def _check(graph: Graph, objective: str, slots: int, time_limit_s: float) -> None:
    if objective not in get_args(Objective):
        near = get_close_matches(objective, get_args(Objective), n=1, cutoff=0.0)
        raise UsageError(
            f"unknown objective {objective!r}; did you mean {near[0]!r}? "
            f"Known: {', '.join(get_args(Objective))}"
        )
    if slots < 1:
        raise UsageError(f"slots is {slots}; at least one request must be in flight")
    if not time_limit_s > 0:
        raise UsageError(f"the time limit is {time_limit_s:g} s; give a positive number of seconds")
    if not graph.layers:
        raise PlanError(f"{graph.name} has no layers to place")


def _check_ends(graph: Graph, topology: Topology) -> None:
    """The topology's sources and sinks must name inputs and outputs of this model."""
    for what, pairs, names in (
        ("source", topology.sources, graph.inputs),
        ("sink", topology.sinks, graph.outputs),
    ):
        for tensor, device in pairs:
            if tensor not in names:
                kind = "inputs" if what == "source" else "outputs"
                raise PlanError(
                    f"{topology.name} gives {device} as the {what} of {tensor!r}, which is none "
                    f"of the {kind} of {graph.name}: {', '.join(names)}; rename or remove it"
                )


def _check_rules(question: Question) -> None:
    """Rules must name devices of the topology and have possible values."""
    for fault in constraint_faults(question.constraints, question.topology):
        raise PlanError(f"{question.topology.name}: {fault}")


def _posed(question: Question) -> Problem:
    q = question
    try:
        return build_problem(q.graph, q.topology, q.costs, q.constraints, q.slots)
    except InfeasibleError as error:
        raise InfeasibleError(explain(question)) from error


def _solved(
    question: Question,
    objective: Objective,
    time_limit_s: float,
    starts: Sequence[Mapping[str, str]],
) -> tuple[Problem, Solution]:
    problem = _posed(question)
    known = [problem.assignment(start) for start in starts]
    try:
        return problem, solve(problem, objective, time_limit_s, known)
    except InfeasibleError as error:
        raise InfeasibleError(explain(question)) from error


def _given(problem: Problem, objective: Objective, placement: Mapping[str, str]) -> Solution:
    """A hand-made placement as a solution about which nothing is proved."""
    began = monotonic()
    graph, topology = problem.graph, problem.topology
    faults = [f"it has no device for {name}" for name in graph.by_name if name not in placement]
    faults += [f"{graph.name} has no layer {n}" for n in placement if n not in graph.by_name]
    if faults:
        raise PlanError(f"the placement does not hold for {graph.name}: {faults[0]}")
    strangers = sorted(set(placement.values()) - set(topology.by_name))
    if strangers:
        raise PlanError(
            f"the placement uses {strangers[0]}, which {topology.name} does not have; "
            f"its devices are {', '.join(topology.by_name)}"
        )
    assignment = problem.assignment(placement)
    broken = broken_rules(problem, assignment) or _overflows(problem, assignment)
    if broken:
        raise InfeasibleError(f"the placement does not hold: {'; '.join(broken)}")
    reached = value(problem, objective, assignment)
    return Solution(assignment, reached, 0.0, "feasible", monotonic() - began)


def _overflows(problem: Problem, assignment: tuple[int, ...]) -> tuple[str, ...]:
    used = memory_bytes(problem, assignment)
    return tuple(
        f"{device.name} needs {need / 1e6:.1f} MB, has {device.memory_bytes / 1e6:.1f} MB"
        for device, need in zip(problem.topology.devices, used, strict=True)
        if need > device.memory_bytes
    )


def _plan(problem: Problem, objective: Objective, solution: Solution) -> Plan:
    graph, topology = problem.graph, problem.topology
    placement = problem.placement(solution.assignment)
    reached = estimate(graph, topology, problem.costs, placement, problem.slots)
    best = reached.value(objective)
    singles = alternatives(problem, objective, best)
    bound = min(solution.bound, best)
    gap = (best - bound) / best if best > 0 else 0.0
    return Plan(
        model=graph.name,
        topology=topology.name,
        objective=objective,
        placement=placement,
        transfers=transfers_of(graph, topology, placement),
        estimate=reached,
        proof=Proof(solution.status, bound, gap, solution.solve_s),
        alternatives=singles,
        flips=flips(problem, objective, solution.assignment, singles, reached),
        cost_sources={name: problem.costs[name, d].source for name, d in placement.items()},
        layer_seconds={name: problem.costs.seconds(name, d) for name, d in placement.items()},
        bottleneck=bottleneck(problem, reached, objective),
        slots=problem.slots,
        rules=tuple(map(str, problem.constraints.listed())),
    )
