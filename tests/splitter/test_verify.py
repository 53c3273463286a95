"""Every kind of lie in a plan is found and named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from planner_cases import MIB, chain, costs_of, three_equal, vit_like

from splitter.partitioning import partition
from splitter.plan import Alternative, Plan
from splitter.schedule import Transfer
from splitter.topology import Constraints
from splitter.verify import verify

GRAPH = chain(4)
TOPOLOGY = three_equal(3 * MIB + 300_000)
COSTS = costs_of(GRAPH, TOPOLOGY)
PLAN = partition(GRAPH, TOPOLOGY, COSTS)
"""camera runs l0 and l1, hub runs l2 and l3; both are nearly full."""


def faults(plan: Plan, rules: Constraints | None = None) -> str:
    return "\n".join(verify(plan, GRAPH, TOPOLOGY, COSTS, rules or Constraints()))


def estimate_with(**changes: Any) -> Plan:
    return replace(PLAN, estimate=replace(PLAN.estimate, **changes))


def device_with(number: int, **changes: Any) -> Plan:
    loads = list(PLAN.estimate.devices)
    loads[number] = replace(loads[number], **changes)
    return estimate_with(devices=tuple(loads))


def link_with(**changes: Any) -> Plan:
    first, *rest = PLAN.estimate.links
    return estimate_with(links=(replace(first, **changes), *rest))


def placed(**changes: str) -> Plan:
    return replace(PLAN, placement={**PLAN.placement, **changes})


def test_a_true_plan_has_no_fault() -> None:
    assert set(PLAN.placement.values()) == {"camera", "hub"}
    assert faults(PLAN) == ""


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (lambda: replace(PLAN, placement={"l0": "camera"}), "layer l1 is not placed"),
        (lambda: placed(l9="hub"), "unknown layer l9 is placed"),
        (lambda: placed(l0="moon"), "unknown device moon is used"),
        (lambda: placed(l1="hub"), "camera lists other layers"),
        (lambda: replace(PLAN, transfers=()), "l1.out is needed on hub but never gets there"),
        (lambda: replace(PLAN, transfers=PLAN.transfers * 2), "crosses a link twice"),
        (
            lambda: replace(
                PLAN, transfers=(*PLAN.transfers, Transfer("x", "camera", "server", 4000))
            ),
            "x is sent to server for nothing",
        ),
        (
            lambda: replace(
                PLAN,
                transfers=(
                    Transfer("l1.out", "camera", "server", 4000),
                    Transfer("l1.out", "server", "hub", 4000),
                    PLAN.transfers[1],
                ),
            ),
            "l1.out takes a detour to hub",
        ),
        (
            lambda: replace(PLAN, transfers=(*PLAN.transfers, Transfer("y", "hub", "camera", 1))),
            "no such thing",
        ),
        (
            lambda: replace(
                PLAN, transfers=(replace(PLAN.transfers[0], bytes=1), PLAN.transfers[1])
            ),
            "transfer of l1.out counts 1 bytes",
        ),
        (lambda: estimate_with(latency_s=1e-4), "the latency is"),
        (lambda: estimate_with(period_s=1e-4), "the period is"),
        (lambda: estimate_with(energy_j=1e-4), "the energy is"),
        (lambda: estimate_with(sent_bytes=1), "the sent bytes is"),
        (lambda: estimate_with(devices=()), "the devices' loads are not those of the topology"),
        (lambda: estimate_with(links=()), "the links' loads are not those of the transfers"),
        (lambda: link_with(seconds=1.0), "the load of camera -> hub is wrong"),
        (lambda: link_with(bytes=1), "the load of camera -> hub is wrong"),
        (lambda: device_with(0, compute_s=1.0), "camera computes"),
        (lambda: device_with(0, energy_j=1.0), "camera takes"),
        (lambda: device_with(0, sent_bytes=1), "camera receives 4000 and sends 4000 bytes"),
        (lambda: device_with(0, weight_bytes=1), "camera holds 200000 bytes of weights"),
        (lambda: device_with(0, activation_bytes=64), "bytes of activations, not 64"),
        (lambda: device_with(0, memory_bytes=64), "the memory of camera does not add up"),
        (lambda: device_with(0, memory_limit_bytes=64), "camera has 3445728 bytes of memory"),
        (lambda: replace(PLAN, cost_sources={}), "the cost sources are not"),
        (lambda: replace(PLAN, layer_seconds={}), "the layers' seconds are not"),
        (lambda: replace(PLAN, slots=0), "slots is 0"),
        (lambda: replace(PLAN, slots=9), "bytes of activations"),
        (lambda: replace(PLAN, proof=replace(PLAN.proof, bound=1.0)), "above the value"),
        (lambda: replace(PLAN, proof=replace(PLAN.proof, bound=1e-4)), "does not follow"),
        (
            lambda: replace(PLAN, proof=replace(PLAN.proof, bound=0.0, gap=1.0)),
            "called optimal with a gap",
        ),
        (
            lambda: replace(PLAN, alternatives=(Alternative("hub", 1e-9, ""),)),
            "hub alone is below the proved bound",
        ),
    ],
)
def test_a_lie_is_found(lie: Callable[[], Plan], found: str) -> None:
    assert found in faults(lie())


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (Constraints(pins=(("l2", "camera"),)), "l2 runs on hub, but 'l2' is pinned to camera"),
        (Constraints(bans=(("l*", "hub"),)), "l2 runs on hub, from which 'l*' is banned"),
        (Constraints(max_sent_bytes=10), "the plan sends 8000 bytes, more than the cap of 10"),
    ],
)
def test_a_broken_rule_is_found(rules: Constraints, found: str) -> None:
    assert found in faults(PLAN, rules)


def test_raw_input_that_leaves_is_found() -> None:
    away = partition(GRAPH, TOPOLOGY, COSTS, constraints=Constraints(pins=(("l0", "hub"),)))
    found = faults(away, Constraints(private_input=True))
    assert "raw input x crosses camera -> hub" in found
    assert "l0 reads raw input x outside camera" in found


def test_memory_beyond_the_limit_is_found() -> None:
    roomy = three_equal(64 * MIB)
    alone = dict.fromkeys(PLAN.placement, "camera")
    plan = partition(GRAPH, roomy, COSTS, placement=alone)
    devices = tuple(replace(load, memory_limit_bytes=3_445_728) for load in plan.estimate.devices)
    plan = replace(plan, estimate=replace(plan.estimate, devices=devices))
    assert "camera needs 3577984 bytes, has 3445728" in faults(plan)


def test_unreachable_devices_are_found() -> None:
    cut_off = replace(TOPOLOGY, links=())
    found = verify(replace(PLAN, transfers=()), GRAPH, cut_off, COSTS, Constraints())
    assert "l1.out cannot get from camera to hub" in found


def test_parallel_branches_wait_for_their_device() -> None:
    graph = vit_like(2)
    costs = costs_of(graph, TOPOLOGY)
    roomy = three_equal(64 * MIB)
    plan = partition(graph, roomy, costs, placement=dict.fromkeys(graph.by_name, "camera"))
    total = sum(costs.seconds(layer.name, "camera") for layer in graph.layers)
    assert plan.estimate.latency_s == pytest.approx(total)
