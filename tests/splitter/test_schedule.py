"""What each node does, on hand-made and random graphs."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from planner_cases import Net, chain, link, phone_edge_cloud, random_graph, random_topology

from splitter.graph import Graph
from splitter.schedule import HOST, NodeSchedule, Stage, node_schedules, transfers_of
from splitter.topology import Topology


def test_chain_over_three_devices() -> None:
    graph, topology = chain(3), phone_edge_cloud()
    schedules = node_schedules(graph, topology, {"l0": "phone", "l1": "edge", "l2": "phone"})
    phone, edge = schedules
    assert phone.stages == (Stage(("x",), ("l0",)), Stage(("l1.out",), ("l2",)))
    assert phone.receives == (("x", HOST), ("l1.out", "edge"))
    assert phone.sends == (("l0.out", "edge"), ("l2.out", HOST))
    assert edge.stages == (Stage(("l0.out",), ("l1",)),)
    assert edge.slot_tensors == ("l0.out", "l1.out")


def test_tensor_kept_while_a_later_layer_waits_is_in_the_slot() -> None:
    net = Net("skip")
    first = net.layer("first", [net.input("x", 10)], 10)
    away = net.layer("away", [first], 10)
    graph = net.graph(net.layer("join", [first, away], 10))
    placement = {"first": "phone", "away": "edge", "join": "phone"}
    phone = node_schedules(graph, phone_edge_cloud(), placement)[0]
    assert [stage.layers for stage in phone.stages] == [("first",), ("join",)]
    assert "first.out" in phone.slot_tensors


def line() -> Topology:
    """phone - edge - cloud, with no link from phone to cloud."""
    full = phone_edge_cloud()
    links = (
        link("phone", "edge", 10, 1),
        link("edge", "cloud", 10, 1),
        link("cloud", "edge", 9, 1),
    )
    return replace(full, links=(*links, link("edge", "phone", 9, 1)))


def test_relay_passes_on_what_it_does_not_use() -> None:
    graph = chain(2)
    schedules = node_schedules(graph, line(), {"l0": "cloud", "l1": "cloud"})
    edge = next(s for s in schedules if s.device == "edge")
    assert edge.stages == ()
    assert edge.receives == (("x", "phone"), ("l1.out", "cloud"))
    assert edge.sends == (("x", "cloud"), ("l1.out", "phone"))


def test_a_hop_shared_by_two_destinations_counts_once() -> None:
    net = Net("fan")
    first = net.layer("first", [net.input("x", 10)], 10)
    graph = net.graph(net.layer("near", [first], 10), net.layer("far", [first], 10))
    placement = {"first": "phone", "near": "edge", "far": "cloud"}
    hops = [(t.source, t.target) for t in transfers_of(graph, line(), placement)]
    assert hops.count(("phone", "edge")) == 1


@given(st.integers(0, 10**9))
def test_every_node_can_run(seed: int) -> None:
    """Received tensors come before their use, what is sent exists, each arrives once."""
    random = Random(seed)
    graph = random_graph(random, random.randint(1, 12))
    topology = connected(random)
    names = [d.name for d in topology.devices]
    placement = {layer.name: random.choice(names) for layer in graph.layers}
    schedules = node_schedules(graph, topology, placement)
    assert sorted(x for s in schedules for x in s.layers) == sorted(placement)
    for schedule in schedules:
        check_node(graph, schedule)
    sent = {(s.device, peer, t) for s in schedules for t, peer in s.sends if peer != HOST}
    got = {(peer, s.device, t) for s in schedules for t, peer in s.receives if peer != HOST}
    assert sent == got


def connected(random: Random) -> Topology:
    topology = random_topology(random, random.randint(1, 4), tight=False)
    names = [d.name for d in topology.devices]
    ring = {(a, b) for a, b in zip(names, [*names[1:], names[0]], strict=True) if a != b}
    ring -= set(topology.link_between)
    return replace(topology, links=(*topology.links, *(link(a, b, 5, 1) for a, b in sorted(ring))))


def check_node(graph: Graph, schedule: NodeSchedule) -> None:
    arriving = [tensor for tensor, _ in schedule.receives]
    assert len(set(arriving)) == len(arriving)
    here: set[str] = set()
    for stage in schedule.stages:
        assert set(stage.needs) <= set(arriving)
        here |= set(stage.needs)
        for name in stage.layers:
            assert set(graph.by_name[name].inputs) <= here
            here |= set(graph.by_name[name].outputs)
    assert {tensor for tensor, _ in schedule.sends} <= here | set(arriving)
    assert set(schedule.slot_tensors) >= set(arriving) | {tensor for tensor, _ in schedule.sends}
