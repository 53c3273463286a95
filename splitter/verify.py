"""Does a plan hold? Every fault in words, found without any of the planner's code.

Recomputes everything from the graph, the topology and the cost table: the routes with networkx, the
timing as a set of events, the memory rules from their definition.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import pairwise

import networkx as nx

from splitter.costs import CostTable
from splitter.graph import Graph
from splitter.plan import Plan
from splitter.topology import Constraints, Topology
from splitter.verify_rules import rule_faults

_NODE_BYTES = 3 * 2**20
_ALIGN = 64
_TOLERANCE = 1e-9

Hops = dict[tuple[str, str, str], None]


def verify(
    plan: Plan, graph: Graph, topology: Topology, costs: CostTable, constraints: Constraints
) -> list[str]:
    """All faults of ``plan``; an empty list means that it holds.

    Checks: every layer is placed once, on a known device that pins, bans and privacy allow; every
    transfer that the placement needs is there along a fastest route, and no other; sent bytes stay
    within the cap; every device's memory is accounted for and within its limit; latency, period,
    energy, loads and proof agree with an independent simulation.
    """
    faults = _completeness(plan, graph, topology)
    if faults:  # What follows looks up names, so it would only stumble over these again.
        return faults
    faults += _rules(plan, graph, topology.constraints + constraints, topology)
    routes = _routes(plan, graph, topology)
    if isinstance(routes, str):
        return [*faults, routes]
    faults += _transfers(plan, graph, topology)
    sent = sum(t.bytes for t in plan.transfers)
    cap = (topology.constraints + constraints).max_sent_bytes
    if cap is not None and sent > cap:
        faults.append(f"the plan sends {sent} bytes, more than the cap of {cap}")
    faults += _loads(plan, graph, topology, costs)
    faults += _costs(plan, costs)
    faults += _memory(plan, graph, topology)
    faults += _figures(plan, _latency(plan, graph, topology, costs), sent)
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


def _rules(plan: Plan, graph: Graph, rules: Constraints, topology: Topology) -> list[str]:
    faults: list[str] = []
    for layer, device in plan.placement.items():
        for pattern, wanted in rules.pins:
            if fnmatchcase(layer, pattern) and device != wanted:
                faults.append(f"{layer} runs on {device}, but {pattern!r} is pinned to {wanted}")
        for pattern, unwanted in rules.bans:
            if fnmatchcase(layer, pattern) and device == unwanted:
                faults.append(f"{layer} runs on {device}, from which {pattern!r} is banned")
    if rules.private_input:
        raw = set(graph.inputs)
        faults += [
            f"raw input {t.tensor} crosses {t.source} -> {t.target}"
            for t in plan.transfers
            if t.tensor in raw
        ]
        faults += [
            f"{layer.name} reads raw input {tensor} outside {topology.source_of(tensor)}"
            for layer in graph.layers
            for tensor in layer.inputs
            if tensor in raw and plan.placement[layer.name] != topology.source_of(tensor)
        ]
    return faults + rule_faults(plan, rules)


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


def _network(topology: Topology, size: int) -> "nx.DiGraph[str]":
    network: nx.DiGraph[str] = nx.DiGraph()
    network.add_nodes_from(device.name for device in topology.devices)
    for link in topology.links:
        seconds = link.latency_s + size / link.bandwidth_bytes_per_s
        network.add_edge(link.source, link.target, seconds=seconds)
    return network


def _routes(plan: Plan, graph: Graph, topology: Topology) -> str | dict[tuple[str, str], float]:
    """Fastest seconds of each (tensor, device) that needs a transfer, or what is unreachable."""
    home, found = _home(plan, graph, topology), {}
    for tensor, users in _wanted(plan, graph, topology).items():
        network = _network(topology, graph.tensors[tensor].bytes)
        reach = nx.single_source_dijkstra_path_length(network, home[tensor], weight="seconds")
        for user in sorted(users):
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
    for tensor in graph.tensors:
        faults += _tree_faults(
            tensor, home[tensor], wanted[tensor], hops[tensor],
            _network(topology, graph.tensors[tensor].bytes),
        )  # fmt: skip
    return faults


def _tree_faults(
    tensor: str,
    home: str,
    users: set[str],
    hops: list[tuple[str, str]],
    network: "nx.DiGraph[str]",
) -> list[str]:
    if len(set(hops)) != len(hops):
        return [f"{tensor} crosses a link twice"]
    tree: nx.DiGraph[str] = nx.DiGraph(hops)
    tree.add_node(home)
    faults: list[str] = []
    if any(degree > 1 for _, degree in tree.in_degree()) or tree.in_degree(home):
        faults.append(f"{tensor} arrives twice at one device")
    fastest = nx.single_source_dijkstra_path_length(network, home, weight="seconds")
    useful = {home}
    for user in sorted(users - {home}):
        if user not in tree or not nx.has_path(tree, home, user):
            faults.append(f"{tensor} is needed on {user} but never gets there")
            continue
        path = nx.shortest_path(tree, home, user)
        useful.update(path)
        seconds = sum(network.edges[hop]["seconds"] for hop in pairwise(path))
        if _differ(seconds, fastest[user]):
            faults.append(f"{tensor} takes a detour to {user}")
    faults += [f"{tensor} is sent to {d} for nothing" for d in sorted(set(tree) - useful)]
    return faults


def _latency(plan: Plan, graph: Graph, topology: Topology, costs: CostTable) -> float:
    """Longest path through a graph of events: each layer's end, each tensor's arrival."""
    routes = _routes(plan, graph, topology)
    assert not isinstance(routes, str)
    events: nx.DiGraph[tuple[str, str]] = nx.DiGraph()
    events.add_node(("end", ""))
    last_on: dict[str, str] = {}
    for layer in graph.layers:
        device = plan.placement[layer.name]
        seconds = costs.entries[layer.name, device].seconds
        before = [("layer", last_on[device])] if device in last_on else []
        before += [("at " + device, tensor) for tensor in layer.inputs]
        for event in [*before, ("start", "")]:
            events.add_edge(event, ("layer", layer.name), seconds=seconds)
        last_on[device] = layer.name
    for (tensor, device), seconds in routes.items():
        maker = graph.producer.get(tensor)
        made = ("start", "") if maker is None else ("layer", maker.name)
        events.add_edge(made, ("at " + device, tensor), seconds=seconds)
    for tensor in graph.outputs:
        events.add_edge(("at " + topology.sink_of(tensor), tensor), ("end", ""), seconds=0.0)
    reached = {("start", ""): 0.0}
    for event in nx.topological_sort(events):
        for _, after, seconds in events.out_edges(event, data="seconds"):
            reached[after] = max(reached.get(after, 0.0), reached[event] + seconds)
    return reached.get(("end", ""), 0.0)


def _loads(plan: Plan, graph: Graph, topology: Topology, costs: CostTable) -> list[str]:
    faults: list[str] = []
    for load, device in zip(plan.estimate.devices, topology.devices, strict=True):
        layers = tuple(x.name for x in graph.layers if plan.placement[x.name] == device.name)
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


def _memory(plan: Plan, graph: Graph, topology: Topology) -> list[str]:
    faults: list[str] = []
    for load, device in zip(plan.estimate.devices, topology.devices, strict=True):
        weights = {w for x in load.layers for w in graph.by_name[x].weights}
        weight_bytes = sum(graph.weight_bytes[w] for w in weights)
        slot, live, arena = _activations(plan, graph, topology, device.name)
        least, most = plan.slots * slot + live, plan.slots * slot + arena
        runs = bool(load.layers or slot)
        node = _NODE_BYTES if runs else 0
        if load.weight_bytes != weight_bytes:
            faults.append(f"{device.name} holds {weight_bytes} bytes of weights")
        if not least <= load.activation_bytes <= most:
            faults.append(
                f"{device.name} needs {least} to {most} bytes of activations, "
                f"not {load.activation_bytes}"
            )
        if load.memory_bytes != load.weight_bytes + load.activation_bytes + node:
            faults.append(f"the memory of {device.name} does not add up")
        if load.memory_limit_bytes != device.memory_bytes:
            faults.append(f"{device.name} has {device.memory_bytes} bytes of memory")
        if load.memory_bytes > device.memory_bytes:
            faults.append(
                f"{device.name} needs {load.memory_bytes} bytes, has {device.memory_bytes}"
            )
    return faults


def _activations(plan: Plan, graph: Graph, topology: Topology, device: str) -> tuple[int, int, int]:
    """Bytes of one request slot; the arena's largest live sum; the sum of all arena blocks."""
    arriving = {t.tensor for t in plan.transfers if t.target == device}
    arriving |= {tensor for tensor in graph.inputs if topology.source_of(tensor) == device}
    leaving = {t.tensor for t in plan.transfers if t.source == device}
    leaving |= {tensor for tensor in graph.outputs if topology.sink_of(tensor) == device}
    mine = [x for x in graph.layers if plan.placement[x.name] == device]
    stage, seen, stage_of = 0, set[str](), dict[str, int]()
    for layer in mine:
        waits_for = (set(layer.inputs) & arriving) - seen
        stage += bool(waits_for)
        seen |= waits_for
        stage_of[layer.name] = stage
    kept = arriving | leaving
    blocks: list[tuple[int, int, int]] = []
    position = {layer.name: i for i, layer in enumerate(mine)}
    for layer in mine:
        at = position[layer.name]
        blocks.append((_round(layer.scratch_bytes), at, at))
        for tensor in layer.outputs:
            readers = [x.name for x in graph.layers if tensor in x.inputs]
            if tensor in kept:
                continue
            if any(stage_of.get(reader) != stage_of[layer.name] for reader in readers):
                kept.add(tensor)
                continue
            last = max([at, *(position[reader] for reader in readers)])
            blocks.append((_round(graph.tensors[tensor].bytes), at, last))
    slot = sum(_round(graph.tensors[tensor].bytes) for tensor in kept)
    return slot, max(_live_sums(blocks, len(mine)), default=0), sum(size for size, _, _ in blocks)


def _live_sums(blocks: list[tuple[int, int, int]], steps: int) -> Iterator[int]:
    for step in range(steps):
        yield sum(size for size, first, last in blocks if first <= step <= last)


def _round(size: int) -> int:
    return size + -size % _ALIGN


def _figures(plan: Plan, latency_s: float, sent: int) -> list[str]:
    estimate = plan.estimate
    busiest = [d.compute_s for d in estimate.devices] + [k.seconds for k in estimate.links]
    busiest += [medium.seconds for medium in estimate.media]
    energy = [d.energy_j for d in estimate.devices] + [k.energy_j for k in estimate.links]
    expected: Mapping[str, tuple[float, float]] = {
        "latency": (estimate.latency_s, latency_s),
        "period": (estimate.period_s, max(busiest)),
        "energy": (estimate.energy_j, sum(energy)),
        "sent bytes": (estimate.sent_bytes, sent),
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
