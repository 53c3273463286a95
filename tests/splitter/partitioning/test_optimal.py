"""The integer program against enumeration of every placement."""

from itertools import product

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import Case, random_case

from splitter.errors import InfeasibleError
from splitter.estimate import estimate
from splitter.partitioning import partition
from splitter.plan import OBJECTIVES, Estimate, Objective, Plan
from splitter.schedule import transfers_of
from splitter.verify import verify


def feasible(case: Case, placement: dict[str, str]) -> Estimate | None:
    """The estimate of a placement that respects every rule, judged from their definitions."""
    rules = case.constraints
    if any(placement[layer] != device for layer, device in rules.pins):
        return None
    if any(placement[layer] == device for layer, device in rules.bans):
        return None
    try:
        found = estimate(case.graph, case.topology, case.costs, placement, case.slots)
    except nx.NetworkXNoPath:
        return None
    if any(load.memory_bytes > load.memory_limit_bytes for load in found.devices):
        return None
    if rules.max_sent_bytes is not None and found.sent_bytes > rules.max_sent_bytes:
        return None
    moved = {t.tensor for t in transfers_of(case.graph, case.topology, placement)}
    return None if rules.private_input and moved & set(case.graph.inputs) else found


def best_by_enumeration(case: Case) -> dict[Objective, float]:
    names = [device.name for device in case.topology.devices]
    layers = [layer.name for layer in case.graph.layers]
    best: dict[Objective, float] = {}
    for choice in product(names, repeat=len(layers)):
        found = feasible(case, dict(zip(layers, choice, strict=True)))
        for objective in OBJECTIVES if found else ():
            value = found.value(objective)
            best[objective] = min(best.get(objective, value), value)
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_agrees_with_enumeration(seed: int) -> None:
    case = random_case(seed)
    best = best_by_enumeration(case)
    for objective in OBJECTIVES:
        if objective not in best:
            with pytest.raises(InfeasibleError):
                solve(case, objective)
            continue
        plan = solve(case, objective)
        assert plan.proof.status == "optimal"
        assert plan.estimate.value(objective) == pytest.approx(best[objective], rel=1e-6)
        assert verify(plan, case.graph, case.topology, case.costs, case.constraints) == []


def solve(case: Case, objective: Objective) -> Plan:
    return partition(
        case.graph,
        case.topology,
        case.costs,
        objective=objective,
        constraints=case.constraints,
        slots=case.slots,
    )
