"""`partition` with a choice of variants."""

from dataclasses import replace
from math import inf

from splitter.costs import CostTable
from splitter.errors import InfeasibleError, PlanError, UsageError
from splitter.graph import Graph
from splitter.memory import REQUEST_SLOTS
from splitter.partitioning import partition
from splitter.partitioning.infeasible import Question, explain
from splitter.partitioning.joint.solve import solve_jointly
from splitter.partitioning.joint.start import bytes_of, cheapest
from splitter.partitioning.posing import check_effort, question_of
from splitter.plan import Objective, Proof
from splitter.topology import Constraints, Topology
from splitter.variants import JointPlan, VariantTable, accuracy_drop, chosen
from splitter.verify_variants import joint_faults

_METHOD = "integer program of placement and variants"


def partition_jointly(
    graph: Graph,
    topology: Topology,
    costs: CostTable,
    table: VariantTable,
    allowed_drop: float,
    *,
    objective: Objective = "latency",
    constraints: Constraints | None = None,
    slots: int = REQUEST_SLOTS,
    time_limit_s: float = 30.0,
) -> JointPlan:
    """The best placement and variant of every layer, with prediction and proof.

    Args:
        graph: what to place.
        topology: where to place it.
        costs: seconds of every layer on every device, as it is.
        table: variants of the layers that may change, and their costs.
        allowed_drop: what the accuracy changes may add up to, in percent points.
        objective: what to minimise.
        constraints: rules besides those of the topology.
        slots: requests in flight for which memory is reserved.
        time_limit_s: when the search stops and reports the gap that is left.

    Raises:
        UsageError: an argument has an impossible value.
        PlanError: a rule or a variant names what is not there, or nothing was found in time.
        InfeasibleError: no placement respects all limits, whatever the variants.
    """
    check_effort(objective, time_limit_s)
    if not allowed_drop >= 0:
        raise UsageError(f"the accuracy may drop by {allowed_drop:g} points; give 0 or more")
    if topology.is_one_computer:
        raise PlanError(
            f"{topology.name} is one computer with accelerators, for which variants are not "
            "planned; give a topology whose devices are nodes"
        )
    for fault in table.faults(graph, tuple(device.name for device in topology.devices)):
        raise PlanError(fault)
    question = question_of(graph, topology, costs, constraints, slots)
    try:
        found = solve_jointly(question, table, allowed_drop, objective, time_limit_s)
    except InfeasibleError as error:
        if allowed_drop < inf:
            raise
        raise InfeasibleError(_why_none(question, table)) from error
    smaller, own_costs = chosen(graph, costs, table, found.choice)
    names = [device.name for device in topology.devices]
    placed = zip(graph.layers, found.state.assignment, strict=True)
    plan = partition(
        *(smaller, topology, own_costs),
        objective=objective,
        constraints=constraints,
        slots=slots,
        time_limit_s=time_limit_s,
        placement={layer.name: names[d] for layer, d in placed},
    )
    gap = (found.value - found.bound) / found.value if found.value > 0 else 0.0
    proof = Proof(found.status, found.bound, gap, found.solve_s, _METHOD)
    joint = JointPlan(
        replace(plan, proof=proof), found.choice, accuracy_drop(table, found.choice), allowed_drop
    )
    faults = joint_faults(joint, graph, topology, costs, table, constraints or Constraints())
    if faults:
        raise PlanError(f"the joint plan for {graph.name} does not hold: {'; '.join(faults)}")
    return joint


def _why_none(question: Question, table: VariantTable) -> str:
    """Why not even the smallest layers fit."""
    smallest = cheapest(table, bytes_of(table), inf)
    graph, costs = chosen(question.graph, question.costs, table, smallest)
    why = explain(replace(question, graph=graph, costs=costs))
    return f"with its layers as small as they get, {why}"
