"""Does a plan with variants hold? Nothing is shared with the planner, nor with `chosen`.

The sum of accuracy changes is taken again from the table; sizes, scratch and seconds of the chosen
variants are put into the graph here, and `splitter.verify` judges the placement of that.
"""

from collections.abc import Mapping
from dataclasses import replace

from splitter.costs import CostTable
from splitter.graph import Graph, Layer
from splitter.topology import Constraints, Topology
from splitter.variants import JointPlan, Variant, VariantTable
from splitter.verify import verify

_TOLERANCE = 1e-6
"""Percent points by which rounding may exceed the allowance."""


def joint_faults(
    joint: JointPlan,
    graph: Graph,
    topology: Topology,
    costs: CostTable,
    table: VariantTable,
    constraints: Constraints,
) -> list[str]:
    """All faults; an empty list means that the plan holds."""
    picked: dict[str, Variant] = {}
    for layer, variants in table.variants.items():
        named = [one for one in variants if one.name == joint.variants.get(layer)]
        if len(named) != 1:
            return [f"layer {layer} takes {joint.variants.get(layer, 'nothing')}, not one variant"]
        picked[layer] = named[0]
    faults = [f"layer {n} has no variants" for n in joint.variants if n not in picked]
    drop = sum(one.accuracy_drop for one in picked.values())
    if abs(drop - joint.accuracy_drop) > _TOLERANCE:
        faults.append(f"the accuracy drops by {drop:g} points, not {joint.accuracy_drop:g}")
    if drop > joint.allowed_drop + _TOLERANCE:
        faults.append(f"the accuracy drops by {drop:g} points, more than {joint.allowed_drop:g}")
    smaller = _with_variants(graph, table, picked)
    seconds = CostTable(
        {
            (layer, device): table.entries[layer, picked[layer].name, device]
            if layer in picked
            else cost
            for (layer, device), cost in costs.entries.items()
        }
    )
    return faults + verify(joint.plan, smaller, topology, seconds, constraints)


def _with_variants(graph: Graph, table: VariantTable, picked: Mapping[str, Variant]) -> Graph:
    sizes = dict(graph.weight_bytes)
    layers: list[Layer] = []
    for layer in graph.layers:
        variant = picked.get(layer.name)
        if variant is not None:
            sizes[table.weight[layer.name]] = variant.weight_bytes
            layer = replace(layer, scratch_bytes=variant.scratch_bytes)
        layers.append(layer)
    return replace(graph, layers=tuple(layers), weight_bytes=sizes)
