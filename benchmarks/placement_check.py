"""What a placement of a published file costs, from the file's own fields and nothing else.

The benchmark's second opinion: it shares no code with the reader, the planner or the verifier.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import networkx as nx

_SLACK = 1e-9


def period_ms(path: Path, home: Mapping[int, str], *, contiguous: bool) -> float | str:
    """The largest load of a placement (node id to ``accN`` or ``cpuN``), or the rule it breaks."""
    data = json.loads(path.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in data["nodes"]}
    broken = _broken(data, nodes, home) or (_goes_back(data, nodes, home) if contiguous else "")
    if broken:
        return broken
    load: dict[str, float] = defaultdict(float)
    for number, device in home.items():
        field = "fpgaLatency" if device.startswith("acc") else "cpuLatency"
        load[device] += nodes[number][field]
    moved: dict[tuple[str, int], float] = {}
    for edge in data["edges"]:
        source, target = home[edge["sourceId"]], home[edge["destId"]]
        if source != target:
            moved.setdefault((source, edge["sourceId"]), edge["cost"])
            moved.setdefault((target, edge["sourceId"]), edge["cost"])
    for (device, _), cost in moved.items():
        load[device] += cost if device.startswith("acc") else 0.0
    return max(load.values())


def latency_ms(path: Path, home: Mapping[int, str]) -> float | str:
    """The end of one request when every accelerator is called once, or the rule that is broken."""
    data = json.loads(path.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in data["nodes"]}
    broken = _broken(data, nodes, home)
    if broken:
        return broken
    unit = {v: device if device.startswith("acc") else v for v, device in home.items()}
    waits: nx.DiGraph[int | str] = nx.DiGraph()
    waits.add_nodes_from(unit.values())
    moved: dict[tuple[int | str, int], float] = {}
    for edge in data["edges"]:
        source, target = unit[edge["sourceId"]], unit[edge["destId"]]
        if source != target:
            waits.add_edge(source, target)
            moved.setdefault((source, edge["sourceId"]), edge["cost"])
            moved.setdefault((target, edge["sourceId"]), edge["cost"])
    if not nx.is_directed_acyclic_graph(waits):
        return "calls wait for one another, or a path leaves an accelerator and comes back"
    took: dict[int | str, float] = defaultdict(float)
    for number, device in home.items():
        field = "fpgaLatency" if device.startswith("acc") else "cpuLatency"
        took[unit[number]] += nodes[number][field]
    for (one, _), cost in moved.items():
        took[one] += cost if isinstance(one, str) else 0.0
    end: dict[int | str, float] = {}
    for one in nx.topological_sort(waits):
        end[one] = max((end[other] for other in waits.predecessors(one)), default=0.0) + took[one]
    return max(end.values())


def _broken(data: Any, nodes: Mapping[int, Any], home: Mapping[int, str]) -> str:
    if set(home) != set(nodes):
        return "not every node is placed"
    devices = {f"acc{i}" for i in range(data["maxFPGAs"])}
    devices |= {f"cpu{i}" for i in range(data["maxCPUs"])}
    size: dict[str, Fraction] = defaultdict(Fraction)
    color: dict[int, str] = {}
    for number, device in home.items():
        node = nodes[number]
        if device not in devices:
            return f"there is no {device}"
        if device.startswith("acc"):
            size[device] += Fraction(str(node.get("size", 0)))
            if not node["supportedOnFpga"]:
                return f"node {number} is not supported on {device}"
        shared = node.get("colorClass")
        if shared is not None and color.setdefault(shared, device) != device:
            return f"color class {shared} is on two devices"
    limit = Fraction(str(data["maxSizePerFPGA"]))
    full = [device for device, held in size.items() if held > limit]
    return f"{full[0]} holds more than it can" if full else ""


def _goes_back(data: Any, nodes: Mapping[int, Any], home: Mapping[int, str]) -> str:
    """Forward parts must be convex, and no two devices may wait for each other."""
    forward = {number for number, node in nodes.items() if not node["isBackwardNode"]}
    edges = [(edge["sourceId"], edge["destId"]) for edge in data["edges"]]
    steps: nx.DiGraph[str] = nx.DiGraph(
        (home[u], home[v]) for u, v in edges if {u, v} <= forward and home[u] != home[v]
    )
    return "" if nx.is_directed_acyclic_graph(steps) else "a path leaves a device and comes back"


def agrees(stated_ms: float, checked: float | str) -> bool:
    """Whether the planner's figure is the checked one."""
    return isinstance(checked, float | int) and abs(stated_ms - checked) <= _SLACK * max(
        abs(stated_ms), abs(checked), 1e-12
    )
