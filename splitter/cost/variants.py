"""Seconds of variants: what the roofline makes of their work and bytes.

Weights that are decoded in the kernel take scalar work besides.
Where the layer as it is was measured, the variant is taken to differ from the measurement as the
roofline says that it differs from the layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitter.cost.roofline import roofline_seconds, scalar_seconds, touched_bytes
from splitter.costs import CostTable, LayerCost
from splitter.graph import Graph
from splitter.topology import Device, Topology
from splitter.variants import Variant, VariantTable


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant and its work."""

    variant: Variant
    macs: int
    scalar_operations: float = 0.0
    """To decode its weights, beside the MACs."""


def variant_table(
    graph: Graph,
    topology: Topology,
    costs: CostTable,
    weight: Mapping[str, str],
    candidates: Mapping[str, Sequence[Candidate]],
) -> VariantTable:
    """Costs of all candidates on all devices; those that another one beats in everything are left.

    Args:
        graph: the layers as they are.
        topology: the devices.
        costs: seconds of the layers as they are.
        weight: the constant that a layer's variants change.
        candidates: by layer; the layer as it is comes first.
    """
    entries: dict[tuple[str, str, str], LayerCost] = {}
    kept: dict[str, tuple[Variant, ...]] = {}
    for layer, own in candidates.items():
        for one in own:
            for device in topology.devices:
                cost = _cost(graph, layer, weight[layer], one, own[0], device, costs)
                entries[layer, one.variant.name, device.name] = cost
        kept[layer] = _undominated([one.variant for one in own], layer, topology, entries)
    return VariantTable(kept, dict(weight), entries)


def _cost(
    graph: Graph,
    layer: str,
    weight: str,
    one: Candidate,
    as_is: Candidate,
    device: Device,
    costs: CostTable,
) -> LayerCost:
    known = costs[layer, device.name]
    if one is as_is:
        return known

    def seconds(candidate: Candidate) -> float:
        saved = graph.weight_bytes[weight] - candidate.variant.weight_bytes
        inner_bytes = candidate.variant.inner_bytes
        touched = touched_bytes(graph, graph.by_name[layer]) - saved + 2 * inner_bytes
        overheads_s = device.card.call_overhead_s if inner_bytes else 0.0
        decode_s = scalar_seconds(candidate.scalar_operations, device)
        return roofline_seconds(candidate.macs, touched, device) + overheads_s + decode_s

    ratio = 1.0 if known.source == "roofline" else known.seconds / seconds(as_is)
    return LayerCost(seconds(one) * ratio, "roofline")


def _undominated(
    variants: Sequence[Variant],
    layer: str,
    topology: Topology,
    entries: Mapping[tuple[str, str, str], LayerCost],
) -> tuple[Variant, ...]:
    """Those than which no other is as good or better in all costs; the first always stays."""

    def figures(one: Variant) -> tuple[float, ...]:
        times = (entries[layer, one.name, d.name].seconds for d in topology.devices)
        return (one.accuracy_drop, one.weight_bytes, one.scratch_bytes, *times)

    table = [figures(one) for one in variants]

    def beaten(i: int) -> bool:
        return any(
            all(a <= b for a, b in zip(table[j], table[i], strict=True))
            and (table[j] != table[i] or j < i)
            for j in range(len(table))
            if j != i
        )

    return tuple(one for i, one in enumerate(variants) if i == 0 or not beaten(i))
