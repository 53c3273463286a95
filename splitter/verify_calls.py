"""One request on one computer, for `splitter.verify`; shares no code with `splitter.calls`."""

import networkx as nx

from splitter.costs import CostTable
from splitter.graph import Graph
from splitter.plan import Plan
from splitter.topology import Topology


def computer_seconds(plan: Plan, graph: Graph, topology: Topology, costs: CostTable) -> float:
    """The longest path through the plan's calls."""
    units, members = _units(plan, graph, topology)
    ends: dict[str, float] = {}
    for unit in nx.topological_sort(units):
        start = max((ends[other] for other in units.predecessors(unit)), default=0.0)
        ends[unit] = start + _seconds(plan, graph, topology, costs, members[unit])
    return max(ends.values(), default=0.0)


def call_faults(plan: Plan, graph: Graph, topology: Topology) -> list[str]:
    """Accelerators that a plan for latency calls more than once."""
    if plan.objective != "latency" or not topology.is_one_computer:
        return []
    _, members = _units(plan, graph, topology)
    calls: dict[str, int] = {}
    for layers in members.values():
        device = plan.placement[layers[0]]
        calls[device] = calls.get(device, 0) + 1
    return [
        f"{name} would be called {count} times for one request"
        for name, count in sorted(calls.items())
        if count > 1 and topology.by_name[name].role == "accelerator"
    ]


def _units(
    plan: Plan, graph: Graph, topology: Topology
) -> "tuple[nx.DiGraph[str], dict[str, list[str]]]":
    """What starts and ends at once, named after its first layer, and what waits for what."""
    units: nx.DiGraph[str] = nx.DiGraph()
    members: dict[str, list[str]] = {}
    unit_of: dict[str, str] = {}
    gathering: dict[str, str] = {}
    for layer in graph.layers:
        device = plan.placement[layer.name]
        makers = {graph.producer[t].name for t in layer.inputs if t in graph.producer}
        before = {unit_of[maker] for maker in makers}
        call = gathering.get(device)
        if call is None or any(nx.has_path(units, call, one) for one in before - {call}):
            call = layer.name
            units.add_node(call)
            members[call] = []
            if topology.by_name[device].role == "accelerator":
                gathering[device] = call
        members[call].append(layer.name)
        unit_of[layer.name] = call
        units.add_edges_from((one, call) for one in before - {call})
    return units, members


def _seconds(
    plan: Plan, graph: Graph, topology: Topology, costs: CostTable, layers: list[str]
) -> float:
    device = plan.placement[layers[0]]
    total = sum(costs.entries[name, device].seconds for name in layers)
    if topology.by_name[device].role != "accelerator":
        return total
    held = set(layers)
    for tensor, size in ((t, graph.tensors[t].bytes) for t in graph.tensors):
        maker = graph.producer[tensor].name
        readers = {reader.name for reader in graph.consumers[tensor]}
        ways = []
        if maker not in held and readers & held:
            ways = [link for link in topology.links if link.target == device]
        if maker in held and readers - held:
            ways = [link for link in topology.links if link.source == device]
        total += sum(link.latency_s + size / link.bandwidth_bytes_per_s for link in ways)
    return total
