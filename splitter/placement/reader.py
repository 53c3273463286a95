"""Placement files as Graph, Topology and CostTable (format: `splitter.placement.schema`).

The computer of such a file becomes a star: its memory in the middle, processors and accelerators
around it. A tensor costs every accelerator that makes or takes it the time of one link, once per
direction; links of processors take none. Layers are named ``n<id>``.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import inf
from pathlib import Path

import networkx as nx

from splitter.constraints import Constraints
from splitter.costs import CostTable, LayerCost
from splitter.errors import ModelError
from splitter.graph import BACKWARD, Graph, Layer, Tensor
from splitter.placement.schema import NodeRecord, PlacementRecord, read_record
from splitter.topology import Card, Device, Link, Role, Topology

MEMORY = "memory"
"""Name of the device that stands for the computer's memory."""
_EQUAL_MS = 1e-6
"""Costs of one node's out-edges that differ by no more than this are the same figure."""
_STEPS = 2e9
"""Bytes of the tensor that is quickest to move, so that whole bytes keep nine digits of a cost."""
_MS = 1e-3


@dataclass(frozen=True)
class PlacementProblem:
    """One file; what a placement must respect is in the topology's constraints."""

    graph: Graph
    topology: Topology
    costs: CostTable


def read_placement(path: Path, *, contiguous: bool = True) -> PlacementProblem:
    """Read one file.

    Args:
        path: The JSON file.
        contiguous: Whether the forward layers of every device must be one stage of a pipeline.

    Raises:
        ModelError: The file cannot be read, lacks a field or contradicts itself.
    """
    record, faults = read_record(_parsed(path))
    _refuse(path, faults)
    assert record is not None
    _refuse(path, list(_contradictions(record)))
    tensor_ms = _tensor_ms(record)
    bytes_per_s = _bandwidth(tensor_ms)
    graph = _graph(path, record, {u: _bytes(ms, bytes_per_s) for u, ms in tensor_ms.items()})
    topology = _topology(path, record, bytes_per_s, contiguous)
    return PlacementProblem(graph, topology, _costs(record, topology))


def _parsed(path: Path) -> object:
    try:
        return json.loads(path.read_bytes(), parse_float=_decimal, parse_constant=Decimal)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is not valid JSON: {error}") from error


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond Decimal's range; refused later as not finite
        return Decimal(inf)


def _refuse(path: Path, faults: list[str]) -> None:
    if faults:
        raise ModelError(f"{path}: {'; '.join(faults)}")


def _contradictions(record: PlacementRecord) -> Iterator[str]:
    known: set[int] = set()
    for node in record.nodes:
        if node.id in known:
            yield f"two nodes have the id {node.id}; give each its own"
        known.add(node.id)
    first: dict[int, Decimal] = {}
    for i, edge in enumerate(record.edges):
        for end in {edge.source, edge.target} - known:
            yield f"edges[{i}] names node {end}, which is not among the nodes; mend its id"
        if edge.source == edge.target:
            yield f"edges[{i}] leads from node {edge.source} to itself; remove it"
        cost = first.setdefault(edge.source, edge.cost_ms)
        if abs(cost - edge.cost_ms) > _EQUAL_MS:
            yield (
                f"the edges out of node {edge.source} cost {cost} and {edge.cost_ms} ms; "
                "they carry one tensor, so give them one cost"
            )
    if record.accelerators + record.processors == 0:
        yield "maxFPGAs and maxCPUs are both 0; there must be a device"


def _tensor_ms(record: PlacementRecord) -> dict[int, Decimal]:
    """Cost of the tensor of every node that has an out-edge."""
    found: dict[int, Decimal] = {}
    for edge in record.edges:
        found.setdefault(edge.source, edge.cost_ms)
    return found


def _bandwidth(tensor_ms: Mapping[int, Decimal]) -> float:
    quickest = min((float(ms) for ms in tensor_ms.values() if ms), default=1.0)
    return _STEPS / (quickest * _MS)


def _bytes(cost_ms: Decimal, bytes_per_s: float) -> int:
    return round(float(cost_ms) * _MS * bytes_per_s)


def _graph(path: Path, record: PlacementRecord, tensor_bytes: Mapping[int, int]) -> Graph:
    reads: dict[int, dict[int, None]] = {node.id: {} for node in record.nodes}
    for edge in record.edges:
        reads[edge.target][edge.source] = None
    by_id = {node.id: node for node in record.nodes}
    order = _order(path, reads)
    scale = _scale(record)
    return Graph(
        name=path.stem,
        layers=tuple(_layer(by_id[i], tuple(reads[i]), i in tensor_bytes) for i in order),
        tensors={
            _tensor(i): Tensor(_tensor(i), (tensor_bytes[i],), "uint8")
            for i in order
            if i in tensor_bytes
        },
        inputs=(),
        outputs=(),
        weight_bytes={_name(i): int(by_id[i].size_bytes * scale) for i in order},
    )


def _layer(node: NodeRecord, reads: tuple[int, ...], is_read: bool) -> Layer:
    return Layer(
        name=_name(node.id),
        kind=BACKWARD if node.backward else "forward",
        inputs=tuple(_tensor(i) for i in reads),
        outputs=(_tensor(node.id),) if is_read else (),
        weights=(_name(node.id),),
    )


def _name(node: int) -> str:
    return f"n{node}"


def _tensor(node: int) -> str:
    return f"t{node}"


def _order(path: Path, reads: Mapping[int, Mapping[int, None]]) -> list[int]:
    dag: nx.DiGraph[int] = nx.DiGraph()
    dag.add_nodes_from(reads)
    dag.add_edges_from((source, node) for node, sources in reads.items() for source in sources)
    try:
        return list(nx.topological_sort(dag))
    except nx.NetworkXUnfeasible as error:
        ring = [source for source, _ in nx.find_cycle(dag)]
        names = " -> ".join(map(str, [*ring, ring[0]]))
        raise ModelError(f"{path}: the edges form a cycle: {names}; remove one") from error


def _scale(record: PlacementRecord) -> int:
    """Multiple of a byte in which every size is a whole number."""
    sizes = [record.memory_bytes, *(node.size_bytes for node in record.nodes)]
    places = max(-int(size.normalize().as_tuple().exponent) for size in sizes)
    return int(10 ** max(0, places))


def _topology(
    path: Path, record: PlacementRecord, bytes_per_s: float, contiguous: bool
) -> Topology:
    processors = [f"cpu{i}" for i in range(record.processors)]
    accelerators = [f"acc{i}" for i in range(record.accelerators)]
    memory_bytes = int(record.memory_bytes * _scale(record))
    endless = 2 * sum(int(node.size_bytes * _scale(record)) for node in record.nodes) + 1
    devices = (
        _device(MEMORY, "memory", endless),
        *(_device(name, "processor", endless) for name in processors),
        *(_device(name, "accelerator", memory_bytes) for name in accelerators),
    )
    speeds = {**dict.fromkeys(processors, inf), **dict.fromkeys(accelerators, bytes_per_s)}
    unit = "" if _scale(record) == 1 else f"; sizes count 1/{_scale(record)} bytes"
    return Topology(
        name=path.stem,
        description=f"{len(accelerators)} accelerators, {len(processors)} processors{unit}",
        devices=devices,
        links=tuple(
            Link(source, target, speed, 0.0)
            for name, speed in speeds.items()
            for source, target in ((MEMORY, name), (name, MEMORY))
        ),
        source=MEMORY,
        sink=MEMORY,
        constraints=_constraints(record, accelerators, contiguous),
    )


def _device(name: str, role: Role, memory_bytes: int) -> Device:
    """A device whose figures all stand in the cost table; its card has none to give."""
    card = Card(role, f"{role} of a placement file", "x86_64", "x86-64", 1.0, 1.0, 0.0, 1, 0.0)
    return Device(name, card, memory_bytes, threads=1, role=role)


def _constraints(record: PlacementRecord, accelerators: list[str], contiguous: bool) -> Constraints:
    colors: dict[int, list[str]] = {}
    for node in record.nodes:
        if node.color is not None:
            colors.setdefault(node.color, []).append(_name(node.id))
    unsupported = [_name(node.id) for node in record.nodes if not node.supported]
    return Constraints(
        bans=(
            ("*", MEMORY),
            *((name, accelerator) for accelerator in accelerators for name in unsupported),
        ),
        together=tuple(tuple(names) for names in colors.values() if len(names) > 1),
        contiguous=contiguous,
    )


def _costs(record: PlacementRecord, topology: Topology) -> CostTable:
    """Milliseconds of the file in seconds; the memory computes nothing, so its figures are idle."""
    entries: dict[tuple[str, str], LayerCost] = {}
    for node in record.nodes:
        slow = LayerCost(float(node.cpu_ms) * _MS, "measured")
        fast = LayerCost(float(node.accelerator_ms) * _MS, "measured")
        for device in topology.devices:
            here = fast if device.role == "accelerator" else slow
            entries[_name(node.id), device.name] = here
    return CostTable(entries)
