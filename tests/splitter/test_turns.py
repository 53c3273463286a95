"""Replicas: what they gain, what is refused, and every lie about them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import Net, costs_of, device, link, random_case

from splitter.errors import PlanError, SplitterError
from splitter.graph import Graph
from splitter.partitioning import partition
from splitter.plan import Plan, plan_from_dict, plan_to_dict
from splitter.topology import Constraints, Topology
from splitter.turns import turns_of
from splitter.verify import verify

WORKERS = ("w0", "w1", "w2")


def heavy_middle() -> Graph:
    """One layer that cannot be cut takes nearly all of the time."""
    net = Net("heavy")
    at = net.layer("first", [net.input("x", 100)], 100, macs=1_000_000)
    at = net.layer("heavy", [at], 100, macs=60_000_000)
    return net.graph(net.layer("last", [at], 100, macs=1_000_000))


def farm(**options: bool) -> Topology:
    """A camera and three equal workers."""
    model = device("w0", 10)
    devices = (device("cam", 5), *(replace(model, name=name) for name in WORKERS))
    links = tuple(link(a, b, 1000, 0.1) for w in WORKERS for a, b in (("cam", w), (w, "cam")))
    return Topology("farm", "", devices, links, "cam", "cam", **options)


def planned(**options: bool) -> Plan:
    graph, topology = heavy_middle(), farm(**options)
    return partition(graph, topology, costs_of(graph, topology), objective="throughput")


def test_three_workers_take_turns_at_the_layer_that_binds() -> None:
    alone, together = planned(), planned(replicas=True)
    assert (alone.replicas, alone.turns) == ((), ())
    assert len(together.replicas) == 1
    assert sorted(together.replicas[0]) == list(WORKERS)
    assert len(together.turns) == 3
    assert together.estimate.period_s == pytest.approx(alone.estimate.period_s / 3, rel=0.05)
    assert together.proof.bound <= together.estimate.period_s
    assert plan_from_dict(plan_to_dict(together)) == together


def test_two_stages_that_are_equally_busy_grow_together() -> None:
    """Memory for one of the two layers each: four devices halve the period of two."""
    net = Net("pair")
    at = net.layer("one", [net.input("x", 100)], 100, macs=50_000_000, weight=8_000_000)
    graph = net.graph(net.layer("two", [at], 100, macs=50_000_000, weight=8_000_000))
    names = [f"w{i}" for i in range(4)]
    devices = tuple(replace(device("w0", 10, memory=14_000_000), name=name) for name in names)
    links = tuple(link(a, b, 10_000, 0.01) for a in names for b in names if a != b)
    topology = Topology("four", "", devices, links, "w0", "w0", replicas=True)
    plan = partition(graph, topology, costs_of(graph, topology), objective="throughput")
    assert sorted(len(group) for group in plan.replicas) == [2, 2]
    assert plan.estimate.period_s == pytest.approx(0.0025, rel=0.05)


def test_latency_has_no_use_for_replicas() -> None:
    graph, topology = heavy_middle(), farm(replicas=True)
    assert partition(graph, topology, costs_of(graph, topology)).replicas == ()


def test_turns_repeat_after_the_least_common_multiple() -> None:
    turns = turns_of({"l": "a", "m": "b", "n": "c"}, (("a", "a2"), ("b", "b2", "b3")))
    assert len(turns) == 6
    assert [turn["l"] for turn in turns] == ["a", "a2"] * 3
    assert [turn["m"] for turn in turns] == ["b", "b2", "b3"] * 2
    assert {turn["n"] for turn in turns} == {"c"}


def test_a_pin_keeps_replicas_away() -> None:
    graph, topology = heavy_middle(), farm(replicas=True)
    rules = Constraints(pins=(("heavy", "w0"),))
    plan = partition(
        graph, topology, costs_of(graph, topology), objective="throughput", constraints=rules
    )
    assert plan.replicas == ()


def test_replicas_cannot_be_compiled() -> None:
    from splitter.pipeline import _check_plan

    with pytest.raises(PlanError, match="take turns in this plan, which bundles cannot do"):
        _check_plan(heavy_middle(), planned(replicas=True), farm())


TRUE = planned(replicas=True)
FIRST = TRUE.replicas[0]


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (lambda: replace(TRUE, turns=TRUE.turns[:2]), "2 turns are not one round"),
        (lambda: replace(TRUE, turns=TRUE.turns * 2), "6 turns are not one round"),
        (lambda: replace(TRUE, turns=()), "replicas but no turns"),
        (lambda: replace(TRUE, turns=TRUE.turns[::-1]), "does not run on its replica's place"),
        (lambda: replace(TRUE, replicas=((*FIRST, "moon"),)), "replica moon is no device"),
        (lambda: replace(TRUE, replicas=((*FIRST, "cam"),)), "replica cam is not equal"),
        (lambda: replace(TRUE, replicas=((FIRST[0],),)), "alone in one"),
        (lambda: _estimate(period_s=TRUE.estimate.period_s / 2), "the period is not that"),
        (lambda: _estimate(latency_s=1e-9), "the latency is not that"),
        (lambda: _estimate(energy_j=0.0), "the energy is not that"),
        (lambda: _estimate(links=TRUE.estimate.links[1:]), "not the means of the turns"),
        (lambda: replace(TRUE, objective="latency"), "the first turn is not the plan's own"),
    ],
)
def test_a_lie_about_turns_is_found(lie: Callable[[], Plan], found: str) -> None:
    graph, topology = heavy_middle(), farm(replicas=True)
    costs = costs_of(graph, topology)
    assert verify(TRUE, graph, topology, costs, Constraints()) == []
    assert found in "\n".join(verify(lie(), graph, topology, costs, Constraints()))


def _estimate(**changes: object) -> Plan:
    return replace(TRUE, estimate=replace(TRUE.estimate, **changes))  # type: ignore[arg-type]


def test_replicas_must_be_allowed() -> None:
    graph, topology = heavy_middle(), farm()
    faults = verify(TRUE, graph, topology, costs_of(graph, topology), Constraints())
    assert "farm does not allow replicas" in faults


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9))
def test_replicas_never_slow_a_pipeline_down(seed: int) -> None:
    """On devices made equal: verified inside, at or below the plain period, above the bound."""
    case = random_case(seed)
    model = case.topology.devices[0]
    equal = tuple(replace(model, name=d.name) for d in case.topology.devices)
    periods: list[float] = []
    for allowed in (False, True):
        topology = replace(case.topology, devices=equal, replicas=allowed)
        costs = costs_of(case.graph, topology)
        try:
            plan = partition(
                case.graph, topology, costs, objective="throughput",
                constraints=case.constraints, slots=case.slots,
            )  # fmt: skip
        except SplitterError:
            return
        assert plan.proof.bound <= plan.estimate.period_s * (1 + 1e-9)
        periods.append(plan.estimate.period_s)
    assert periods[1] <= periods[0] * (1 + 1e-9)
