"""Does a plan hold? Every fault in words, found without any of the planner's code.

Recomputes everything from the graph, the topology and the cost table: the routes with networkx, the
timing as a set of events, the memory rules from their definition.
"""

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

import networkx as nx

from splitter.costs import CostTable
from splitter.graph import Graph, Tensor
from splitter.plan import Plan
from splitter.topology import Constraints, Link, Topology
from splitter.verify_calls import call_faults, computer_seconds
from splitter.verify_memory import memory_faults
from splitter.verify_rules import rule_faults
from splitter.verify_timing import request_seconds
from splitter.verify_turns import turn_faults, turns_as_plans

_TOLERANCE = 1e-9


def verify(
    plan: Plan, graph: Graph, topology: Topology, costs: CostTable, constraints: Constraints
) -> list[str]:
    """All faults of ``plan``; an empty list means that it holds.

    Of a plan with replicas, every turn is checked like a plan of its own.

    Checks: every layer is placed once, on a known device; every rule holds; every transfer that
    the placement needs is there along a fastest route, and no other; every device's memory is
    accounted for and within its limit; latency, period, energy, price, loads and proof agree with
    an independent simulation.
    """
    if plan.replicas or plan.turns:
        turns = turns_as_plans(plan, costs)
        found = [f for turn in turns for f in verify(turn, graph, topology, costs, constraints)]
        return [*dict.fromkeys(found), *turn_faults(plan, topology), *_proof(plan)]
    faults = _completeness(plan, graph, topology)
    if faults:  # What follows looks up names, so it would only stumble over these again.
        return faults
    faults += rule_faults(plan, graph, topology, costs, topology.constraints + constraints)
    routes = _routes(plan, graph, topology)
    if isinstance(routes, str):
        return [*faults, routes]
    faults += _transfers(plan, graph, topology)
    sent = sum(t.bytes for t in plan.transfers)
    faults += _loads(plan, graph, topology, costs)
    faults += _costs(plan, costs)
    faults += memory_faults(plan, graph, topology)
    faults += call_faults(plan, graph, topology)
    ends = computer_seconds if topology.is_one_computer else request_seconds
    latency_s = ends(plan, graph, topology, costs)
    dollars = _price(plan, topology, costs)
    faults += _figures(plan, topology, latency_s, sent, dollars)
    return faults + _proof(plan)


def _completeness(plan: Plan, graph: Graph, topology: Topology) -> list[str]:
    names = {layer.name for layer in graph.layers}
    faults = [f"layer {name} is not placed" for name in sorted(names - set(plan.placement))]
    faults += [f"unknown layer {name} is placed" for name in sorted(set(plan.placement) - names)]
    known = {device.name for device in topology.devices}
    used = set(plan.placement.values())
    faults += [f"unknown device {name} is used" for name in sorted(used - known)]
    faults += [
        f"transfer of {t.tensor} over {t.source} -> {t.target}: no such thing"
        for t in plan.transfers
        if t.tensor not in graph.tensors or (t.source, t.target) not in topology.link_between
    ]
    if [load.device for load in plan.estimate.devices] != [d.name for d in topology.devices]:
        faults.append("the devices' loads are not those of the topology")
    if plan.slots < 1:
        faults.append(f"slots is {plan.slots}")
    return faults


def _home(plan: Plan, graph: Graph, topology: Topology) -> dict[str, str]:
    home = {tensor: topology.source_of(tensor) for tensor in graph.inputs}
    for layer in graph.layers:
        home |= dict.fromkeys(layer.outputs, plan.placement[layer.name])
    return home


def _wanted(plan: Plan, graph: Graph, topology: Topology) -> dict[str, set[str]]:
    """Devices that use each tensor."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for layer in graph.layers:
        for tensor in layer.inputs:
            wanted[tensor].add(plan.placement[layer.name])
    for tensor in graph.outputs:
        wanted[tensor].add(topology.sink_of(tensor))
    return wanted


class _Fastest:
    """Fastest times from a device to all others, remembered by device and size."""

    def __init__(self, topology: Topology):
        self._network = topology.network()
        self._known: dict[tuple[str, int], Mapping[str, float]] = {}

    def hop_s(self, hop: tuple[str, str], size: int) -> float:
        """Seconds of one hop."""
        link: Link = self._network.edges[hop]["link"]
        return link.latency_s + size / link.bandwidth_bytes_per_s

    def times(self, home: str, size: int) -> Mapping[str, float]:
        """Seconds to every device that can be reached."""
        if (home, size) not in self._known:
            self._known[home, size] = nx.single_source_dijkstra_path_length(
                self._network, home, weight=lambda a, b, _: self.hop_s((a, b), size)
            )
        return self._known[home, size]


def _routes(plan: Plan, graph: Graph, topology: Topology) -> str | dict[tuple[str, str], float]:
    """Fastest seconds of each (tensor, device) that uses it, or what is unreachable."""
    home, fastest = _home(plan, graph, topology), _Fastest(topology)
    found: dict[tuple[str, str], float] = {}
    for tensor, users in _wanted(plan, graph, topology).items():
        away = users - {home[tensor]}
        found |= dict.fromkeys(((tensor, user) for user in users - away), 0.0)
        reach = fastest.times(home[tensor], graph.tensors[tensor].bytes) if away else {}
        for user in sorted(away):
            if user not in reach:
                return f"{tensor} cannot get from {home[tensor]} to {user}"
            found[tensor, user] = float(reach[user])
    return found


def _transfers(plan: Plan, graph: Graph, topology: Topology) -> list[str]:
    """Each tensor's hops must form a tree of fastest routes from its home to its users."""
    home, wanted = _home(plan, graph, topology), _wanted(plan, graph, topology)
    hops: dict[str, list[tuple[str, str]]] = defaultdict(list)
    faults: list[str] = []
    for t in plan.transfers:
        if t.bytes != graph.tensors[t.tensor].bytes:
            faults.append(f"transfer of {t.tensor} counts {t.bytes} bytes")
        hops[t.tensor].append((t.source, t.target))
    fastest = _Fastest(topology)
    for tensor, record in graph.tensors.items():
        away = wanted[tensor] - {home[tensor]}
        if away or hops[tensor]:
            faults += _tree_faults(record, home[tensor], away, hops[tensor], fastest)
    return faults


def _tree_faults(
    tensor: Tensor, home: str, away: set[str], hops: list[tuple[str, str]], fastest: _Fastest
) -> list[str]:
    name, size = tensor.name, tensor.bytes
    if len(set(hops)) != len(hops):
        return [f"{name} crosses a link twice"]
    tree: nx.DiGraph[str] = nx.DiGraph(hops)
    tree.add_node(home)
    faults: list[str] = []
    if any(degree > 1 for _, degree in tree.in_degree()) or tree.in_degree(home):
        faults.append(f"{name} arrives twice at one device")
    useful = {home}
    for user in sorted(away):
        if user not in tree or not nx.has_path(tree, home, user):
            faults.append(f"{name} is needed on {user} but never gets there")
            continue
        path = nx.shortest_path(tree, home, user)
        useful.update(path)
        seconds = sum(fastest.hop_s(hop, size) for hop in pairwise(path))
        if _differ(seconds, fastest.times(home, size)[user]):
            faults.append(f"{name} takes a detour to {user}")
    faults += [f"{name} is sent to {d} for nothing" for d in sorted(set(tree) - useful)]
    return faults


def _loads(plan: Plan, graph: Graph, topology: Topology, costs: CostTable) -> list[str]:
    faults: list[str] = []
    placed: dict[str, list[str]] = defaultdict(list)
    for layer in graph.layers:
        placed[plan.placement[layer.name]].append(layer.name)
    for load, device in zip(plan.estimate.devices, topology.devices, strict=True):
        layers = tuple(placed[device.name])
        seconds = sum(costs.entries[name, device.name].seconds for name in layers)
        received = sum(t.bytes for t in plan.transfers if t.target == device.name)
        sent = sum(t.bytes for t in plan.transfers if t.source == device.name)
        if load.layers != layers:
            faults.append(f"{device.name} lists other layers than are placed on it")
        if _differ(load.compute_s, seconds):
            faults.append(f"{device.name} computes {seconds:g} s, not {load.compute_s:g} s")
        if (load.received_bytes, load.sent_bytes) != (received, sent):
            faults.append(f"{device.name} receives {received} and sends {sent} bytes")
        if _differ(load.energy_j, seconds * device.card.active_w):
            faults.append(f"{device.name} takes {seconds * device.card.active_w:g} J")
    carried: dict[tuple[str, str], list[int]] = defaultdict(list)
    for t in plan.transfers:
        carried[t.source, t.target].append(t.bytes)
    if {(k.source, k.target) for k in plan.estimate.links} != set(carried):
        return [*faults, "the links' loads are not those of the transfers"]
    for load_ in plan.estimate.links:
        link = topology.link_between[load_.source, load_.target]
        sizes = carried[load_.source, load_.target]
        seconds = sum(link.latency_s + size / link.bandwidth_bytes_per_s for size in sizes)
        wrong = _differ(load_.seconds, seconds) or load_.bytes != sum(sizes)
        if wrong or _differ(load_.energy_j, sum(sizes) * link.energy_j_per_byte):
            faults.append(f"the load of {load_.source} -> {load_.target} is wrong")
    return faults + _media(plan, topology)


def _media(plan: Plan, topology: Topology) -> list[str]:
    """Shared media carry what their links carry, one transfer at a time."""
    carried: dict[str, tuple[int, float]] = {}
    for t in plan.transfers:
        link = topology.link_between[t.source, t.target]
        if link.shared:
            size, seconds = carried.get(link.shared, (0, 0.0))
            seconds += link.latency_s + t.bytes / link.bandwidth_bytes_per_s
            carried[link.shared] = size + t.bytes, seconds
    stated = {load.name: load for load in plan.estimate.media}
    if set(stated) != set(carried) or len(stated) != len(plan.estimate.media):
        return ["the shared media's loads are not those of the transfers"]
    return [
        f"the load of the shared {name} is wrong"
        for name, (size, seconds) in carried.items()
        if stated[name].bytes != size or _differ(stated[name].seconds, seconds)
    ]


def _costs(plan: Plan, costs: CostTable) -> list[str]:
    entries = {layer: costs.entries[layer, device] for layer, device in plan.placement.items()}
    faults: list[str] = []
    if dict(plan.cost_sources) != {layer: entry.source for layer, entry in entries.items()}:
        faults.append("the cost sources are not those of the cost table")
    if dict(plan.layer_seconds) != {layer: entry.seconds for layer, entry in entries.items()}:
        faults.append("the layers' seconds are not those of the cost table")
    return faults


def _price(plan: Plan, topology: Topology, costs: CostTable) -> float:
    """Dollars of one request, from the placement and the transfers."""
    hourly = {device.name: device.dollars_per_hour for device in topology.devices}
    per_byte = {(link.source, link.target): link.dollars_per_byte for link in topology.links}
    computing = sum(
        costs.entries[layer, device].seconds * hourly[device] / 3600
        for layer, device in plan.placement.items()
    )
    return computing + sum(t.bytes * per_byte[t.source, t.target] for t in plan.transfers)


def _calls(plan: Plan, topology: Topology) -> list[float]:
    """Time of each accelerator, which moves tensors itself, one after the other."""
    moving: dict[str, float] = defaultdict(float)
    for t in plan.transfers:
        link = topology.link_between[t.source, t.target]
        for end in (t.source, t.target):
            moving[end] += link.latency_s + t.bytes / link.bandwidth_bytes_per_s
    return [
        load.compute_s + moving[device.name]
        for load, device in zip(plan.estimate.devices, topology.devices, strict=True)
        if device.role == "accelerator"
    ]


def _figures(
    plan: Plan, topology: Topology, latency_s: float, sent: int, dollars: float
) -> list[str]:
    estimate = plan.estimate
    busiest = [d.compute_s for d in estimate.devices] + [k.seconds for k in estimate.links]
    busiest += _calls(plan, topology)
    busiest += [medium.seconds for medium in estimate.media]
    energy = [d.energy_j for d in estimate.devices] + [k.energy_j for k in estimate.links]
    expected: Mapping[str, tuple[float, float]] = {
        "latency": (estimate.latency_s, latency_s),
        "period": (estimate.period_s, max(busiest)),
        "energy": (estimate.energy_j, sum(energy)),
        "sent bytes": (estimate.sent_bytes, sent),
        "price": (estimate.dollars, dollars),
    }
    return [
        f"the {name} is {right:g}, not {stated:g}"
        for name, (stated, right) in expected.items()
        if _differ(stated, right)
    ]


def _proof(plan: Plan) -> list[str]:
    reached, proof = plan.estimate.value(plan.objective), plan.proof
    faults: list[str] = []
    if proof.bound > reached * (1 + 1e-6):
        faults.append(f"the bound {proof.bound:g} is above the value {reached:g}")
    if reached > 0 and abs(proof.gap - (reached - proof.bound) / reached) > 1e-6:
        faults.append(f"the gap {proof.gap:g} does not follow from the bound")
    if proof.status == "optimal" and proof.gap > 1e-5:
        faults.append(f"the plan is called optimal with a gap of {proof.gap:g}")
    for single in plan.alternatives:
        if single.value is not None and single.value < proof.bound * (1 - 1e-6):
            faults.append(f"{single.device} alone is below the proved bound")
    return faults


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > _TOLERANCE * max(abs(one), abs(other), 1e-12)
