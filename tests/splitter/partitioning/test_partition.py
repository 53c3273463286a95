"""partition(): alternatives, flips, rules, hand-made placements, and known optima."""

from dataclasses import replace

import pytest
from planner_cases import (
    MIB,
    Net,
    chain,
    costs_of,
    device,
    link,
    mobilenet_like,
    phone_edge_cloud,
    three_equal,
    vit_like,
)

from splitter.costs import CostTable, LayerCost
from splitter.errors import InfeasibleError, PlanError, UsageError
from splitter.graph import Graph
from splitter.partitioning import partition
from splitter.plan import OBJECTIVES, Objective, Plan, plan_from_dict, plan_to_dict
from splitter.topology import Constraints, Topology


def solve(graph: Graph, topology: Topology, **options: object) -> Plan:
    return partition(graph, topology, costs_of(graph, topology), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_mobilenet_is_split_and_proved(objective: Objective) -> None:
    plan = solve(mobilenet_like(), phone_edge_cloud(), objective=objective)
    assert plan.proof.status == "optimal"
    assert plan.proof.gap <= 1e-6
    for single in plan.alternatives:
        assert single.value is not None
        assert single.value >= plan.estimate.value(objective)


def test_memory_forces_a_split_over_three_devices() -> None:
    plan = solve(mobilenet_like(), three_equal(12 * MIB))
    assert plan.proof.status == "optimal"
    assert set(plan.placement.values()) == {"camera", "hub", "server"}
    reasons = {single.reason for single in plan.alternatives}
    assert reasons == {"needs 24.9 MB, has 12.6 MB"}


def test_parallel_branches_use_parallel_devices() -> None:
    """Two branches of 1 s each on links that cost nothing: 2 s, not 3 s."""
    net = Net("fork")
    first = net.layer("first", [net.input("x", 1)], 1)
    left, right = net.layer("left", [first], 1), net.layer("right", [first], 1)
    graph = net.graph(net.layer("join", [left, right], 1))
    two = Topology(
        "two", "", (device("a", 1), device("b", 1)),
        (link("a", "b", 1e6, 0), link("b", "a", 1e6, 0)), "a", "a",
    )  # fmt: skip
    seconds = {"first": 0.5, "left": 1.0, "right": 1.0, "join": 0.5}
    costs = CostTable({(n, d): LayerCost(s, "measured") for n, s in seconds.items() for d in "ab"})
    plan = partition(graph, two, costs)
    assert plan.estimate.latency_s == pytest.approx(2.0, rel=1e-6)
    assert plan.placement["left"] != plan.placement["right"]
    assert plan.proof.status == "optimal"
    assert set(plan.cost_sources.values()) == {"measured"}


def test_weights_shared_by_two_layers_are_held_once() -> None:
    net = Net("tied")
    net.weights["table"] = 10 * MIB
    first = net.layer("embed", [net.input("x", 10)], 10, shared=("table",))
    graph = net.graph(net.layer("head", [first], 10, shared=("table",)))
    plan = solve(graph, three_equal(14 * MIB))
    assert set(plan.placement.values()) == {"camera"}
    assert plan.estimate.devices[0].weight_bytes == 10 * MIB


def test_private_input_stays() -> None:
    slow_phone = phone_edge_cloud(1e5)
    assert solve(mobilenet_like(), slow_phone).placement["stem"] != "phone"
    plan = solve(mobilenet_like(), slow_phone, constraints=Constraints(private_input=True))
    assert plan.placement["stem"] == "phone"
    assert all(t.tensor != "x" for t in plan.transfers)
    reasons = {single.device: single.reason for single in plan.alternatives}
    assert reasons["cloud"] == "raw input would leave phone"


def test_rules_of_the_topology_hold_as_well() -> None:
    topology = replace(phone_edge_cloud(), constraints=Constraints(pins=(("l1", "cloud"),)))
    plan = solve(chain(3), topology, constraints=Constraints(bans=(("l0", "phone"),)))
    assert plan.placement["l1"] == "cloud"
    assert plan.placement["l0"] != "phone"


def test_flips_are_where_both_are_equal() -> None:
    graph, topology = mobilenet_like(), phone_edge_cloud()
    plan = solve(graph, topology)
    assert {flip.device for flip in plan.flips} == {"phone", "edge", "cloud"}
    for flip in plan.flips:
        links = tuple(
            replace(k, bandwidth_bytes_per_s=k.bandwidth_bytes_per_s * flip.bandwidth_factor)
            for k in topology.links
        )
        there = replace(topology, links=links)
        alone = solve(graph, there, placement=dict.fromkeys(graph.by_name, flip.device))
        same = solve(graph, there, placement=plan.placement)
        assert alone.estimate.latency_s == pytest.approx(same.estimate.latency_s, rel=1e-6)
        assert flip.link == "phone -> edge"
        assert flip.bandwidth_mbit_s == pytest.approx(50 * flip.bandwidth_factor)


def test_energy_has_no_flips_and_names_the_spender() -> None:
    plan = solve(chain(4), phone_edge_cloud(), objective="energy")
    assert plan.flips == ()
    assert plan.bottleneck.startswith("computing on phone: ")


def test_given_placement_is_only_evaluated() -> None:
    graph = chain(4)
    placement = {"l0": "phone", "l1": "edge", "l2": "cloud", "l3": "phone"}
    plan = solve(graph, phone_edge_cloud(), placement=placement)
    assert plan.placement == placement
    assert (plan.proof.status, plan.proof.bound, plan.proof.gap) == ("feasible", 0.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l3": None}, "it has no device for l3"),
        ({"l9": "edge"}, "chain4 has no layer l9"),
        ({"l0": "moon"}, "the placement uses moon, which phone_edge_cloud does not have"),
    ],
)
def test_given_placement_must_fit_the_graph(change: dict[str, str | None], message: str) -> None:
    graph = chain(4)
    placement = {**dict.fromkeys(graph.by_name, "phone"), **change}
    given = {layer: d for layer, d in placement.items() if d is not None}
    with pytest.raises(PlanError, match=message):
        solve(graph, phone_edge_cloud(), placement=given)


def test_given_placement_must_respect_the_rules() -> None:
    graph = chain(4)
    alone = dict.fromkeys(graph.by_name, "camera")
    with pytest.raises(InfeasibleError, match=r"camera needs 3\.6 MB, has 3\.4 MB"):
        solve(graph, three_equal(3 * MIB + 300_000), placement=alone)
    rules = Constraints(pins=(("l1", "hub"),))
    with pytest.raises(InfeasibleError, match="l1 may not run on camera"):
        solve(graph, three_equal(), placement=alone, constraints=rules)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "speed"}, "unknown objective 'speed'"),
        ({"slots": 0}, "slots is 0"),
        ({"time_limit_s": 0.0}, "the time limit is 0 s"),
    ],
)
def test_impossible_arguments(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        solve(chain(2), phone_edge_cloud(), **options)


def test_same_problem_same_plan() -> None:
    graph, topology = vit_like(1), three_equal(64 * MIB)
    one, other = (plan_to_dict(solve(graph, topology)) for _ in range(2))
    one["proof"]["solve_s"] = other["proof"]["solve_s"] = 0.0
    assert one == other
    assert plan_to_dict(plan_from_dict(one)) == one


def test_out_of_time_reports_the_gap_that_is_left() -> None:
    plan = solve(vit_like(4), three_equal(64 * MIB), objective="throughput", time_limit_s=0.7)
    assert plan.proof.bound <= plan.estimate.period_s
    gap = (plan.estimate.period_s - plan.proof.bound) / plan.estimate.period_s
    assert plan.proof.gap == pytest.approx(gap)


def test_ends_must_be_those_of_the_model() -> None:
    for field, word in (("sources", "inputs"), ("sinks", "outputs")):
        topology = replace(phone_edge_cloud(), **{field: (("pixels", "edge"),)})
        with pytest.raises(PlanError, match=f"'pixels', which is none of the {word} of chain2: "):
            solve(chain(2), topology)


def test_input_and_output_where_the_topology_says() -> None:
    """The input appears on the edge and the output is wanted there: nothing is sent."""
    graph = chain(3)
    ends = {"sources": (("x", "edge"),), "sinks": ((graph.outputs[0], "edge"),)}
    plan = solve(graph, replace(phone_edge_cloud(0.1), **ends))
    assert set(plan.placement.values()) == {"edge"}
    assert plan.transfers == ()


def test_a_device_that_computes_nothing_passes_tensors_on() -> None:
    """Pinned to both ends of a line, a chain crosses the middle."""
    devices = tuple(device(name, 10) for name in ("left", "middle", "right"))
    links = (link("left", "middle", 100, 1), link("middle", "right", 100, 1))
    line = Topology("line", "", devices, links, "left", "right")
    rules = Constraints(pins=(("l0", "left"), ("l1", "right")))
    plan = solve(chain(2), line, constraints=rules)
    loads = {load.device: load for load in plan.estimate.devices}
    assert loads["middle"].layers == ()
    assert loads["middle"].received_bytes == loads["middle"].sent_bytes == 4000
    assert loads["middle"].memory_bytes > 0


def test_a_shared_medium_is_as_busy_as_all_its_links() -> None:
    graph = chain(2)
    devices = (device("left", 10), device("right", 10))
    pair = (link("left", "right", 1, 0, 0), link("right", "left", 1, 0, 0))
    rules = Constraints(pins=(("l0", "right"), ("l1", "right")))
    periods = []
    for shared in ("", "air"):
        links = tuple(replace(one, shared=shared) for one in pair)
        topology = Topology("pair", "", devices, links, "left", "left")
        plan = solve(graph, topology, objective="throughput", constraints=rules)
        periods.append(plan.estimate.period_s)
        assert [medium.name for medium in plan.estimate.media] == ["air"] * bool(shared)
    assert periods == pytest.approx([0.032, 0.064])
    assert plan.bottleneck.startswith("sending over the shared air: 64 ms")
