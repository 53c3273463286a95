"""Placement and variants by one program, against enumeration of every placement and choice."""

from dataclasses import replace
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import Case, chain, costs_of, phone_edge_cloud, random_case
from rule_cases import best_by_enumeration, ruled_case

from splitter.costs import LayerCost
from splitter.errors import InfeasibleError, PlanError, UsageError
from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.objective import OBJECTIVES, Objective
from splitter.partitioning.joint import partition_jointly
from splitter.topology import Constraints
from splitter.variants import AS_IS, JointPlan, Variant, VariantTable, chosen
from splitter.verify_variants import joint_faults


def random_table(random: Random, case: Case, most: int = 3) -> VariantTable:
    """Up to ``most`` layers with up to three variants each."""
    graph = case.graph
    own = [one for one in graph.layers if f"{one.name}.weight" in one.weights]
    variants, entries = {}, {}
    for layer in random.sample(own, min(most, len(own))):
        weight, scratch = graph.weight_bytes[f"{layer.name}.weight"], layer.scratch_bytes
        found = [Variant(AS_IS, weight, scratch, 0.0)]
        for k in range(random.randint(1, 2)):
            size, scratch = int(weight * random.random()), random.choice((0, scratch, 50_000))
            found.append(Variant(f"v{k}", size, scratch, random.choice((0.0, 0.3, 1.0, 2.0))))
        variants[layer.name] = tuple(found)
        for variant, device in product(found, case.topology.devices):
            cost = case.costs[layer.name, device.name]
            factor = 1.0 if variant.name == AS_IS else random.choice((0.3, 0.8, 1.2))
            entries[layer.name, variant.name, device.name] = LayerCost(
                cost.seconds * factor, "roofline"
            )
    return VariantTable(variants, {name: f"{name}.weight" for name in variants}, entries)


def enumerated(case: Case, table: VariantTable, allowed: float) -> dict[Objective, float]:
    """The least value of every objective over all choices within the allowance."""
    least: dict[Objective, float] = {}
    for combination in product(*table.variants.values()):
        if sum(one.accuracy_drop for one in combination) > allowed:
            continue
        choice = dict(zip(table.variants, (one.name for one in combination), strict=True))
        graph, costs = chosen(case.graph, case.costs, table, choice)
        for objective, value in best_by_enumeration(
            replace(case, graph=graph, costs=costs)
        ).items():
            least[objective] = min(least.get(objective, value), value)
    return least


def solved(case: Case, table: VariantTable, allowed: float, objective: Objective) -> JointPlan:
    return partition_jointly(
        *(case.graph, case.topology, case.costs, table, allowed),
        objective=objective,
        constraints=case.constraints,
        slots=case.slots,
    )


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**9))
def test_agrees_with_enumeration(seed: int) -> None:
    random = Random(seed)
    case = ruled_case(seed) if seed % 2 else random_case(seed)
    if len(case.graph.layers) > 5:
        case = random_case(seed - seed % 7)
    table, allowed = random_table(random, case, 2), random.choice((0.0, 0.5, 1.5, 9.0))
    best = enumerated(case, table, allowed)
    objective = OBJECTIVES[seed // 2 % 6]
    if objective not in best:
        with pytest.raises(InfeasibleError):
            solved(case, table, allowed, objective)
        return
    joint = solved(case, table, allowed, objective)
    assert joint.plan.proof.status == "optimal"
    assert joint.plan.estimate.value(objective) == pytest.approx(best[objective], rel=1e-6)
    assert joint.accuracy_drop <= allowed + 1e-9


def small_node() -> tuple[Case, VariantTable]:
    """Three layers on a phone that has room for one of them as it is."""
    graph = chain(3)
    topology = phone_edge_cloud(0.5, memory=(NODE_OVERHEAD_BYTES + 150_000,))
    costs = costs_of(graph, topology)
    variants = {
        layer.name: (Variant(AS_IS, 100_000, 0, 0.0), Variant("slq:bits=4", 13_000, 0, 0.4))
        for layer in graph.layers
    }
    entries = {
        (layer, one.name, device): cost
        for (layer, device), cost in costs.entries.items()
        for one in variants[layer]
    }
    table = VariantTable(variants, {name: f"{name}.weight" for name in variants}, entries)
    return Case(graph, topology, costs, Constraints(), 1), table


def test_accuracy_buys_memory() -> None:
    case, table = small_node()
    as_it_is, smaller = (solved(case, table, allowed, "latency") for allowed in (0.0, 1.0))
    assert set(as_it_is.variants.values()) == {AS_IS}
    assert set(as_it_is.plan.placement.values()) != {"phone"}
    assert set(smaller.plan.placement.values()) == {"phone"}
    assert smaller.plan.estimate.latency_s < as_it_is.plan.estimate.latency_s
    assert smaller.accuracy_drop == pytest.approx(0.8)


def test_verify_finds_faults() -> None:
    case, table = small_node()
    joint = solved(case, table, 1.0, "latency")

    def faults(changed: JointPlan) -> list[str]:
        place = (case.graph, case.topology, case.costs, table, case.constraints)
        return joint_faults(changed, *place)

    assert faults(joint) == []
    plain = dict.fromkeys(joint.variants, AS_IS)
    assert any("holds 300000 bytes" in fault for fault in faults(replace(joint, variants=plain)))
    assert any("more than 0.5" in fault for fault in faults(replace(joint, allowed_drop=0.5)))
    assert any("points, not 0" in fault for fault in faults(replace(joint, accuracy_drop=0.0)))
    assert "not one variant" in faults(replace(joint, variants={}))[0]
    assert "has no variants" in faults(replace(joint, variants={**joint.variants, "x": "y"}))[0]


def test_impossible_questions() -> None:
    case, table = small_node()
    with pytest.raises(UsageError, match="give 0 or more"):
        solved(case, table, -1.0, "latency")
    odd = replace(table, weight=dict.fromkeys(table.weight, "l0.weight"))
    with pytest.raises(PlanError, match="must read alone"):
        solved(case, odd, 1.0, "latency")
    tiny = replace(case, topology=phone_edge_cloud(memory=[NODE_OVERHEAD_BYTES] * 3))
    with pytest.raises(InfeasibleError, match="whatever variants"):
        solved(tiny, table, 1.0, "latency")
