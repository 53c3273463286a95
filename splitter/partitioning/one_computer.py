"""Plans for the parts of one computer: processors and accelerators around a memory.

Such a topology has an execution model of its own (`splitter.topology.Role`), so its plans come
from solvers of their own; they are estimated, compared and verified like all others.
"""

from collections.abc import Mapping
from math import inf, isfinite
from time import monotonic

from splitter.errors import PlanError, UsageError
from splitter.estimate import estimate, latency_s, moving_s
from splitter.partitioning.latency.build import build_calls, placement_of
from splitter.partitioning.latency.solve import solve_calls
from splitter.partitioning.problem import Problem
from splitter.partitioning.throughput.build import build_instance
from splitter.partitioning.throughput.instance import Instance
from splitter.partitioning.throughput.orders import ROUNDING
from splitter.partitioning.throughput.solve import PeriodPlan, solve_period
from splitter.plan import Alternative, Estimate, Objective, Plan, Proof
from splitter.schedule import transfers_of
from splitter.topology import Topology


def plan_one_computer(
    problem: Problem,
    objective: Objective,
    time_limit_s: float,
    placement: Mapping[str, str] | None,
    threads: int,
) -> Plan:
    """The best plan, or the one that ``placement`` describes; `splitter.verify` judges it.

    Raises:
        UsageError: this objective is not planned for on one computer.
        InfeasibleError, PlanError: as `solve_period`, or ``placement`` leaves out a layer.
    """
    if objective not in ("latency", "throughput"):
        raise UsageError(
            f"{problem.topology.name} is one computer with accelerators, on which {objective} "
            "cannot be minimised; choose latency or throughput"
        )
    began = monotonic()
    if placement is not None:
        solution = PeriodPlan(_ordered(problem, placement), inf, 0.0, "feasible", "given")
    elif objective == "latency":
        solution = _one_request(problem, time_limit_s)
    else:
        solution = solve_period(problem, time_limit_s, threads)
    return _plan(problem, objective, solution, monotonic() - began)


def _one_request(problem: Problem, time_limit_s: float) -> PeriodPlan:
    found = solve_calls(build_calls(problem), time_limit_s)
    placement = placement_of(problem, found.calls)
    return PeriodPlan(placement, found.latency_s, found.bound_s, found.status)


def _ordered(problem: Problem, placement: Mapping[str, str]) -> dict[str, str]:
    names = [layer.name for layer in problem.graph.layers]
    faults = [f"it has no device for {name}" for name in names if name not in placement]
    faults += [f"there is no layer {name}" for name in sorted(set(placement) - set(names))]
    strangers = sorted(set(placement.values()) - set(problem.topology.by_name))
    faults += [f"{problem.topology.name} has no device {name}" for name in strangers]
    if faults:
        raise PlanError(f"the placement does not hold for {problem.graph.name}: {faults[0]}")
    return {name: placement[name] for name in names}


def _plan(problem: Problem, objective: Objective, solution: PeriodPlan, seconds: float) -> Plan:
    graph, topology, placement = problem.graph, problem.topology, solution.placement
    placement = {layer.name: placement[layer.name] for layer in graph.layers}
    reached = estimate(graph, topology, problem.costs, placement, problem.slots)
    best = reached.value(objective)
    bound = min(solution.bound_s, best)
    if best - bound <= ROUNDING * best:  # The same loads added up in another order.
        bound = best
    gap = (best - bound) / best if best else 0.0
    return Plan(
        model=graph.name,
        topology=topology.name,
        objective=objective,
        placement=placement,
        transfers=transfers_of(graph, topology, placement),
        estimate=reached,
        proof=Proof(solution.status, bound, gap, seconds, solution.method),
        alternatives=tuple(_alternatives(problem, objective, best)),
        flips=(),
        cost_sources={name: problem.costs[name, d].source for name, d in placement.items()},
        layer_seconds={name: problem.costs.seconds(name, d) for name, d in placement.items()},
        bottleneck=_bottleneck(topology, reached),
        slots=problem.slots,
        rules=tuple(map(str, problem.constraints.listed())),
    )


def _alternatives(problem: Problem, objective: Objective, best: float) -> list[Alternative]:
    """Everything on one device."""
    instance = build_instance(problem, contiguous=False)
    found: list[Alternative] = []
    for device in problem.topology.devices:
        if device.name not in instance.device_names:
            found.append(Alternative(device.name, None, "computes nothing"))
            continue
        number = instance.device_names.index(device.name)
        alone = instance.period_s([number] * instance.n)
        if isfinite(alone) and objective == "latency":
            everywhere = dict.fromkeys(problem.graph.by_name, device.name)
            alone = latency_s(problem.graph, problem.topology, problem.costs, everywhere)
        if isfinite(alone):
            times = f"{alone / best:.2f} times the plan's" if best else "equal to the plan"
            found.append(Alternative(device.name, alone, times))
        else:
            found.append(Alternative(device.name, None, _obstacle(instance, number)))
    return found


def _obstacle(instance: Instance, device: int) -> str:
    group = instance.groups[instance.group_of[device]]
    size = sum(instance.sizes)
    if size > group.limit_bytes:
        return f"needs {size / 1e6:.1f} MB, has {group.limit_bytes / 1e6:.1f} MB"
    barred = sum(not isfinite(seconds) for seconds in group.seconds)
    return f"rules keep {barred} of {instance.n} blocks off it"


def _bottleneck(topology: Topology, reached: Estimate) -> str:
    moving = {d.device: moving_s(topology, reached.links, d.device) for d in reached.devices}
    most, device = max((d.compute_s + moving[d.device], d.device) for d in reached.devices)
    computing = most - moving[device]
    return f"{device}: {computing * 1e3:.3g} ms computing, {moving[device] * 1e3:.3g} ms moving"
