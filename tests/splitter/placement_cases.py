"""Random small placement files, and every placement of one judged from the definition."""

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import networkx as nx

Data = dict[str, Any]


def random_problem(chance: Random, most_nodes: int = 6) -> Data:
    """A file's content: any mix of colours, memory, unsupported and backward nodes."""
    count = chance.randint(1, most_nodes)
    training = chance.random() < 0.4
    backward = [training and chance.random() < 0.5 for _ in range(count)]
    numbers = chance.sample(range(100), count)
    colors = [chance.choice([None, None, None, 1, 2]) for _ in range(count)]
    sizes = [chance.choice([0, 1, 2, 3, 4]) for _ in range(count)]
    accelerators, processors = chance.choice([(1, 1), (2, 0), (2, 1), (1, 2), (3, 0), (3, 1)])
    nodes: list[Data] = []
    for i in range(count):
        quick = chance.choice([0.0, chance.randint(1, 9), chance.uniform(0.1, 9)])
        node: Data = {
            "id": numbers[i],
            "supportedOnFpga": int(chance.random() > 0.1),
            "fpgaLatency": quick,
            "cpuLatency": quick * chance.choice([0, 1, 3, 10]),
            "isBackwardNode": int(backward[i]),
            "size": sizes[i],
        }
        if colors[i] is not None:
            node["colorClass"] = colors[i]
        nodes.append(node)
    return {
        "maxSizePerFPGA": chance.choice([sum(sizes), max(2, 0.6 * sum(sizes)), 5]),
        "maxFPGAs": accelerators,
        "maxCPUs": processors,
        "nodes": nodes,
        "edges": list(_edges(chance, numbers)),
    }


def _edges(chance: Random, numbers: list[int]) -> Iterator[Data]:
    dense = chance.choice([0.2, 0.4, 0.7])
    for i, source in enumerate(numbers):
        cost = chance.choice([0.0, 0.25, 1.0, chance.uniform(0, 4)])
        for target in numbers[i + 1 :]:
            if chance.random() < dense:
                yield {"sourceId": source, "destId": target, "cost": cost}


def write_problem(folder: Path, data: Data, name: str = "problem.json") -> Path:
    """``data`` as a file."""
    path = folder / name
    path.write_text(json.dumps(data))
    return path


def least_period_ms(data: Data, *, contiguous: bool) -> float | None:
    """The largest load of the best placement, by trying all; None when none is possible."""
    devices = [f"acc{i}" for i in range(data["maxFPGAs"])]
    devices += [f"cpu{i}" for i in range(data["maxCPUs"])]
    numbers = [node["id"] for node in data["nodes"]]
    choices = product(devices, repeat=len(numbers))
    periods = (
        period_ms(data, dict(zip(numbers, choice, strict=True)), contiguous=contiguous)
        for choice in choices
    )
    return min((period for period in periods if period is not None), default=None)


def period_ms(data: Data, home: Mapping[int, str], *, contiguous: bool) -> float | None:
    """The largest load of one placement; None when it breaks a rule."""
    colors: dict[int, str] = {}
    for node in data["nodes"]:
        here = home[node["id"]]
        if colors.setdefault(node.get("colorClass", -1 - node["id"]), here) != here:
            return None
        if here.startswith("acc") and not node["supportedOnFpga"]:
            return None
    if contiguous and _goes_back(data, home):
        return None
    loads = [_load_ms(data, home, device) for device in set(home.values())]
    return None if None in loads else max(load for load in loads if load is not None)


def _goes_back(data: Data, home: Mapping[int, str]) -> bool:
    backward = {node["id"]: node["isBackwardNode"] for node in data["nodes"]}
    steps: nx.DiGraph[str] = nx.DiGraph()
    for edge in data["edges"]:
        u, v = edge["sourceId"], edge["destId"]
        if not backward[u] and not backward[v] and home[u] != home[v]:
            steps.add_edge(home[u], home[v])
    return not nx.is_directed_acyclic_graph(steps)


def _load_ms(data: Data, home: Mapping[int, str], device: str) -> float | None:
    mine = [node for node in data["nodes"] if home[node["id"]] == device]
    if device.startswith("cpu"):
        return float(sum(node["cpuLatency"] for node in mine))
    if sum(node["size"] for node in mine) > data["maxSizePerFPGA"]:
        return None
    cost: dict[tuple[str, int], float] = {}
    for edge in data["edges"]:
        u, v = edge["sourceId"], edge["destId"]
        if home[u] != device and home[v] == device:
            cost["in", u] = edge["cost"]
        if home[u] == device and home[v] != device:
            cost["out", u] = edge["cost"]
    return float(sum(node["fpgaLatency"] for node in mine)) + sum(cost.values())
