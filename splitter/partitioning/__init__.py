"""Decide which layer runs on which device, by integer programming."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic

from splitter.costs import CostTable
from splitter.errors import InfeasibleError, PlanError
from splitter.estimate import estimate
from splitter.graph import Graph
from splitter.memory import REQUEST_SLOTS
from splitter.partitioning.compare import alternatives, bottleneck
from splitter.partitioning.fallbacks import fallbacks
from splitter.partitioning.flips import flips
from splitter.partitioning.ilp import Solution
from splitter.partitioning.infeasible import Question, explain
from splitter.partitioning.judge import broken_rules, value
from splitter.partitioning.large import fastest_devices, is_large
from splitter.partitioning.one_computer import plan_one_computer
from splitter.partitioning.posing import check_effort, problem_of, question_of
from splitter.partitioning.problem import Problem
from splitter.partitioning.replicate import with_replicas
from splitter.partitioning.simulate import memory_bytes
from splitter.partitioning.solving import solve_any
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
    check_effort(objective, time_limit_s)
    question = question_of(graph, topology, costs, constraints, slots)
    if topology.is_one_computer:
        problem = problem_of(question)
        plan = plan_one_computer(problem, objective, time_limit_s, placement, threads)
        return _verified(plan, question)
    share_s = time_limit_s / (1 + len(question.constraints.optional))
    if placement is None:
        problem, solution = _solved(question, objective, share_s, starts)
    else:
        problem = problem_of(question)
        solution = _given(problem, objective, placement)
    left = fallbacks(question, lambda one: _solved(one, objective, share_s, ()))
    plan = replace(_plan(problem, objective, solution), fallbacks=left)
    if topology.replicas and objective == "throughput" and placement is None:
        plan = with_replicas(problem, plan)
    return _verified(plan, question)


def _verified(plan: Plan, question: Question) -> Plan:
    q = question
    faults = verify(plan, q.graph, q.topology, q.costs, q.constraints)
    if faults:
        raise PlanError(f"the plan for {q.graph.name} does not hold: {'; '.join(faults)}")
    return plan


def _solved(
    question: Question,
    objective: Objective,
    time_limit_s: float,
    starts: Sequence[Mapping[str, str]],
) -> tuple[Problem, Solution]:
    problem = problem_of(question)
    known = [problem.assignment(start) for start in starts]
    try:
        return problem, solve_any(problem, objective, time_limit_s, known)
    except InfeasibleError as error:
        if is_large(problem):
            raise
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
    promising = fastest_devices(problem) if is_large(problem) else range(problem.m)
    singles = alternatives(problem, objective, best, promising)
    bound = min(solution.bound, best)
    gap = (best - bound) / best if best > 0 else 0.0
    return Plan(
        model=graph.name,
        topology=topology.name,
        objective=objective,
        placement=placement,
        transfers=transfers_of(graph, topology, placement),
        estimate=reached,
        proof=Proof(solution.status, bound, gap, solution.solve_s, solution.method),
        alternatives=singles,
        flips=()
        if is_large(problem)
        else flips(problem, objective, solution.assignment, singles, reached),
        cost_sources={name: problem.costs[name, d].source for name, d in placement.items()},
        layer_seconds={name: problem.costs.seconds(name, d) for name, d in placement.items()},
        bottleneck=bottleneck(problem, reached, objective),
        slots=problem.slots,
        rules=tuple(map(str, problem.constraints.listed())),
    )
