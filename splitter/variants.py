"""Variants of layers: other forms of the same layer, smaller or quicker at some accuracy.

With them a cost has three indices, ``[layer, variant, device]``. A choice of one variant per layer
makes an ordinary graph and cost table of it (`chosen`), which everything else knows how to handle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from splitter.costs import CostTable, LayerCost
from splitter.errors import PlanError
from splitter.graph import Graph
from splitter.plan import Plan

AS_IS = "fp32"
"""Name of the variant that leaves a layer as it is."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of one layer, wherever it runs."""

    name: str
    """What makes it, in words that a recipe knows (``slq:bits=4``), or `AS_IS`."""
    weight_bytes: int
    """Memory of the layer's own weight on its device."""
    scratch_bytes: int
    """Memory that the layer needs while it runs besides its inputs and outputs."""
    accuracy_drop: float
    """Percent points that the network loses when only this layer changes; 0 or more."""
    inner_bytes: int = 0
    """Of the tensor between the two layers that it is, which may be placed apart; 0: it is one."""


@dataclass(frozen=True)
class VariantTable:
    """The variants of the layers that have any, and their costs."""

    variants: Mapping[str, tuple[Variant, ...]]
    """Per layer: `AS_IS` first, then the others. Layers without an entry have no choice."""
    weight: Mapping[str, str]
    """Per layer with variants: the constant that they change, which no other layer reads."""
    entries: Mapping[tuple[str, str, str], LayerCost]
    """Cost[layer, variant, device] of these layers."""

    def variant(self, layer: str, name: str) -> Variant:
        """The variant ``name`` of ``layer``.

        Raises:
            PlanError: the layer has none of this name.
        """
        for variant in self.variants[layer]:
            if variant.name == name:
                return variant
        raise PlanError(f"layer {layer} has no variant {name}")

    def faults(self, graph: Graph, devices: tuple[str, ...]) -> list[str]:
        """Every way in which the table does not fit ``graph``, in words."""
        found: list[str] = []
        for layer, variants in self.variants.items():
            names = [variant.name for variant in variants]
            weight = self.weight.get(layer)
            if layer not in graph.by_name:
                found.append(f"{graph.name} has no layer {layer}")
                continue
            readers = [one.name for one in graph.layers if weight in one.weights]
            if readers != [layer]:
                found.append(f"the variants of {layer} change {weight}, which it must read alone")
            if names[:1] != [AS_IS] or len(set(names)) != len(names):
                found.append(f"the variants of {layer} must begin with {AS_IS} and differ in name")
            if any(v.accuracy_drop < 0 or v.weight_bytes < 0 for v in variants):
                found.append(f"a variant of {layer} has a negative cost")
            missing = [(n, d) for n in names for d in devices if (layer, n, d) not in self.entries]
            found += [f"variant {n} of {layer} has no cost on {d}" for n, d in missing]
        return found


Choice = Mapping[str, str]
"""Variant of each layer that has variants."""


def chosen(
    graph: Graph, costs: CostTable, table: VariantTable, choice: Choice
) -> tuple[Graph, CostTable]:
    """The graph and the costs when every layer takes its variant of ``choice``.

    Raises:
        PlanError: a layer has no such variant.
    """
    picked = {layer: table.variant(layer, choice[layer]) for layer in table.variants}
    sizes = {table.weight[layer]: variant.weight_bytes for layer, variant in picked.items()}
    layers = tuple(
        replace(one, scratch_bytes=picked[one.name].scratch_bytes) if one.name in picked else one
        for one in graph.layers
    )
    entries = dict(costs.entries)
    for layer, device in costs.entries:
        if layer in picked:
            entries[layer, device] = table.entries[layer, picked[layer].name, device]
    weight_bytes = {**graph.weight_bytes, **sizes}
    return replace(graph, layers=layers, weight_bytes=weight_bytes), CostTable(entries)


def accuracy_drop(table: VariantTable, choice: Choice) -> float:
    """The sum of what the layers' variants lose, in percent points."""
    return sum(table.variant(layer, choice[layer]).accuracy_drop for layer in table.variants)


@dataclass(frozen=True)
class JointPlan:
    """A placement together with a variant of every layer that has any."""

    plan: Plan
    """Of the graph and the costs that ``variants`` make; as `partition_jointly` gives it, its proof
    is about both choices."""
    variants: Choice
    accuracy_drop: float
    """Predicted: the sum over the layers, in percent points."""
    allowed_drop: float
    """What the sum was to stay within."""
