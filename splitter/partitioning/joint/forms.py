"""The best variants for a placement of the network that other variants have made.

A variant may be two layers (`Variant.inner_bytes`), which that placement may part where few bytes
flow. The joint program keeps them together, so taking turns finds what it cannot: variants for a
placement, a placement of what they make, and so on.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress

from splitter.costs import CostTable, LayerCost
from splitter.graph import Graph
from splitter.partitioning.infeasible import Question
from splitter.partitioning.joint.start import Limit, cheapest_within, drops_of
from splitter.partitioning.judge import value
from splitter.partitioning.posing import problem_of
from splitter.plan import Objective, Plan
from splitter.variants import Variant, VariantTable

_STEP = 0.1
"""Relative step of the differences that tell what a layer's seconds do to the objective."""
_OFF_THE_PATH = 1e-3
"""What seconds count that do nothing to the objective, for the choice among equals."""


@dataclass(frozen=True)
class Made:
    """The network that a choice makes, with its plan."""

    question: Question
    plan: Plan
    weights: Mapping[str, tuple[str, ...]]
    """Of each layer with variants: its constant in this network, or those of its two layers."""

    @cached_property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Of each layer with variants: the one or two layers that it is now."""
        return parts_of(self.question.graph, self.weights)

    @cached_property
    def spots(self) -> dict[str, tuple[str, ...]]:
        """Of each layer with variants: where its parts are."""
        place = self.plan.placement
        return {layer: tuple(place[part] for part in own) for layer, own in self.parts.items()}

    @property
    def place(self) -> Hashable:
        """All that `variants_for` sees of the plan."""
        rooms = tuple(one.activation_bytes for one in self.plan.estimate.devices)
        return tuple(self.spots.items()), rooms

    def is_parted(self, layer: str) -> bool:
        """Whether ``layer`` is two layers on two devices."""
        return len(set(self.spots[layer])) > 1


def parts_of(graph: Graph, weights: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Layers of ``graph`` that read each of ``weights``."""
    reader = {weight: one.name for one in graph.layers for weight in one.weights}
    return {layer: tuple(reader[weight] for weight in own) for layer, own in weights.items()}


def variants_for(
    made: Made, table: VariantTable, objective: Objective, allowed_drop: float
) -> dict[str, str] | None:
    """One variant per layer, the best for the placement of ``made`` as far as sums tell.

    Prices are what the objective gains for each layer's seconds and bytes near the plan of
    ``made``, activations those of that plan. None: there is no choice within the limits.
    """
    prices = _Prices(made, objective)
    price: dict[tuple[str, str], float] = {}
    for layer, variants in table.variants.items():
        for one in variants:
            if one.inner_bytes or not made.is_parted(layer):
                price[layer, one.name] = prices.of(layer, one, table)
    limits = [(drops_of(table), allowed_drop), *_room(made, table)]
    return cheapest_within(table, price, limits)


class _Prices:
    """What seconds and bytes do to the objective, near a plan."""

    def __init__(self, made: Made, objective: Objective) -> None:
        self.made, self.objective = made, objective
        problem = problem_of(made.question)
        self._assignment = problem.assignment(made.plan.placement)
        self._now = value(problem, objective, self._assignment)
        busy_s = sum(load.compute_s for load in made.plan.estimate.devices)
        self._least = _OFF_THE_PATH * self._now / (busy_s or 1.0)

    def of(self, layer: str, variant: Variant, table: VariantTable) -> float:
        """What ``layer`` adds to the objective as ``variant``."""
        parts, spots = self.made.parts[layer], self.made.spots[layer]
        total = sum(
            share * table.entries[layer, variant.name, device].seconds * self._per_second[part]
            for part, device, share in zip(parts, spots, self._work(parts), strict=True)
        )
        if self.made.is_parted(layer):
            total += variant.inner_bytes * self._per_byte[parts[0]]
        return total

    def _work(self, parts: tuple[str, ...]) -> list[float]:
        graph = self.made.question.graph
        return _shares([graph.by_name[part].macs for part in parts])

    @cached_property
    def _per_second(self) -> dict[str, float]:
        parts = (part for own in self.made.parts.values() for part in own)
        return {part: self._slope(part) for part in parts}

    def _slope(self, part: str) -> float:
        costs = self.made.question.costs
        known = costs[part, self.made.plan.placement[part]]
        if not known.seconds:
            return self._least
        slower = LayerCost(known.seconds * (1 + _STEP), known.source)
        entries = {**costs.entries, (part, self.made.plan.placement[part]): slower}
        changed = replace(self.made.question, costs=CostTable(entries))
        return max(self._gain(changed) / (known.seconds * _STEP), self._least)

    @cached_property
    def _per_byte(self) -> dict[str, float]:
        parted = filter(self.made.is_parted, self.made.parts)
        return {
            part: self._slope_of_bytes(part) for part in (self.made.parts[p][0] for p in parted)
        }

    def _slope_of_bytes(self, part: str) -> float:
        graph = self.made.question.graph
        name = graph.by_name[part].outputs[0]
        tensor = graph.tensors[name]
        twice = replace(tensor, shape=(2 * tensor.shape[0], *tensor.shape[1:]))
        changed = replace(graph, tensors={**graph.tensors, name: twice})
        return self._gain(replace(self.made.question, graph=changed)) / tensor.bytes

    def _gain(self, changed: Question) -> float:
        return value(problem_of(changed), self.objective, self._assignment) - self._now


def _room(made: Made, table: VariantTable) -> Iterator[Limit]:
    """What the variants' weights may take of each device's memory."""
    for load in made.plan.estimate.devices:
        need: dict[tuple[str, str], float] = {}
        own_bytes = 0.0
        for layer, weights in made.weights.items():
            sizes = [made.question.graph.weight_bytes[weight] for weight in weights]
            here = [spot == load.device for spot in made.spots[layer]]
            if any(here):
                share = sum(compress(_shares(sizes), here))
                own_bytes += sum(compress(sizes, here))
                for one in table.variants[layer]:
                    need[layer, one.name] = share * one.weight_bytes
        if need:
            yield need, load.memory_limit_bytes - load.memory_bytes + own_bytes


def _shares(amounts: Sequence[int]) -> list[float]:
    """Each one's part of their sum; the same for all where that is 0."""
    whole = sum(amounts)
    return [one / whole if whole else 1 / len(amounts) for one in amounts]
