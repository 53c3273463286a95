"""Costs computed from device cards alone.

Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model for Multicore
Architectures", 2009: a kernel is bound by arithmetic or by memory traffic, whichever takes longer.
Deviations: a fixed launch cost is added, since small layers are bound by it; every tensor is taken
to come from main memory and go back there, since fusion has already removed the traffic in between.
"""

from splitter.costs import CostTable, LayerCost
from splitter.graph import DTYPE_BYTES, Graph, Layer
from splitter.topology import Device, Topology

_GATHERS = frozenset({"embedding", "gather"})
"""Kinds that read only those rows of their table which they return, not all of it."""


def roofline(graph: Graph, topology: Topology) -> CostTable:
    """Cost of every layer of ``graph`` on every device of ``topology``."""
    entries: dict[tuple[str, str], LayerCost] = {}
    for layer in graph.layers:
        touched = touched_bytes(graph, layer)
        for device in topology.devices:
            seconds = roofline_seconds(layer.macs, touched, device)
            entries[layer.name, device.name] = LayerCost(seconds, "roofline")
    return CostTable(entries)


def layer_seconds(graph: Graph, layer: Layer, device: Device) -> float:
    """Time that ``device`` takes for one run of ``layer``, by the roofline model."""
    return roofline_seconds(layer.macs, touched_bytes(graph, layer), device)


def roofline_seconds(macs: int, touched: int, device: Device) -> float:
    """Time of one kernel that does ``macs`` and moves ``touched`` bytes."""
    card = device.card
    compute_s = macs / (card.macs_per_s * device.threads / card.threads)
    return max(compute_s, touched / card.memory_bytes_per_s) + card.call_overhead_s


def scalar_seconds(operations: float, device: Device) -> float:
    """Time of work that uses no vectors: each takes as long as the MACs of a whole vector.

    Exact for cores that do one vector of MACs per cycle; too long for narrower ones.
    """
    card = device.card
    lanes = card.vector_bytes / DTYPE_BYTES["float32"]
    return operations * lanes / (card.macs_per_s * device.threads / card.threads)


def touched_bytes(graph: Graph, layer: Layer) -> int:
    """Bytes of inputs, outputs and weights that one run of ``layer`` reads or writes."""
    read = sum(graph.tensors[name].bytes for name in layer.inputs)
    written = sum(graph.tensors[name].bytes for name in layer.outputs)
    weights = graph.layer_weight_bytes(layer)
    return read + written + (min(weights, written) if layer.kind in _GATHERS else weights)
