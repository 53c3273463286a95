"""Choices of variants to begin with: each the best for one price, whatever the placement."""

from collections.abc import Iterable, Iterator, Mapping
from math import inf

from splitter.partitioning.milp import ONE, Milp
from splitter.topology import Topology
from splitter.variants import AS_IS, Choice, Variant, VariantTable

Price = Mapping[tuple[str, str], float]
"""By layer and variant."""
Limit = tuple[Price, float]
"""What each variant needs of something, and how much there is."""
_ROUNDING = 1e-9
_SOLVE_S = 5.0
_BYTES_WEIGHTS = (0.1, 0.3, 1.0, 3.0)
"""Of a network's share of bytes, beside its share of seconds."""


def first_choices(
    table: VariantTable, topology: Topology, allowed_drop: float
) -> Iterator[dict[str, str]]:
    """Everything as it is; fewest bytes; and for every device, fewest seconds on it. None twice."""
    return distinct(_best_by_price(table, topology, allowed_drop))


def distinct(choices: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """The same without those that came before."""
    found: list[dict[str, str]] = []
    for choice in choices:
        if choice not in found:
            found.append(choice)
            yield choice


def mixed_choices(
    table: VariantTable, topology: Topology, allowed_drop: float
) -> Iterator[dict[str, str]]:
    """Few seconds and few bytes, in several mixtures and for every device.

    A few bytes decide whether one more layer fits a device, which no price of seconds alone knows.
    """
    sizes = _shares(table, bytes_of(table))
    for device in topology.devices:
        seconds = _shares(table, _seconds_on(table, device.name))
        for weight in _BYTES_WEIGHTS:
            price = {key: seconds[key] + weight * sizes[key] for key in seconds}
            yield cheapest(table, price, allowed_drop)


def _shares(table: VariantTable, price: Price) -> dict[tuple[str, str], float]:
    """``price`` in parts of what the layers cost as they are."""
    whole = sum(price[layer, AS_IS] for layer in table.variants) or 1.0
    return {key: value / whole for key, value in price.items()}


def _seconds_on(table: VariantTable, device: str) -> dict[tuple[str, str], float]:
    return {
        (layer, one.name): table.entries[layer, one.name, device].seconds
        for layer, one in _all(table)
    }


def _best_by_price(
    table: VariantTable, topology: Topology, allowed_drop: float
) -> Iterator[dict[str, str]]:
    yield dict.fromkeys(table.variants, AS_IS)
    yield cheapest(table, bytes_of(table), allowed_drop)
    for device in topology.devices:
        yield cheapest(table, _seconds_on(table, device.name), allowed_drop)


def bytes_of(table: VariantTable) -> dict[tuple[str, str], float]:
    """Memory of each variant's weight."""
    return {(layer, one.name): float(one.weight_bytes) for layer, one in _all(table)}


def drops_of(table: VariantTable) -> dict[tuple[str, str], float]:
    """Accuracy change of each variant."""
    return {(layer, one.name): one.accuracy_drop for layer, one in _all(table)}


def cheapest(table: VariantTable, price: Price, allowed_drop: float) -> dict[str, str]:
    """One variant per layer: the least total price with accuracy changes within the allowance."""
    found = cheapest_within(table, price, [(drops_of(table), allowed_drop)])
    if found is None:  # leaving every layer as it is costs no accuracy
        return dict.fromkeys(table.variants, AS_IS)
    return found


def cheapest_within(
    table: VariantTable, price: Price, limits: Iterable[Limit]
) -> dict[str, str] | None:
    """One variant per layer, of those with a price: the least total price within all limits."""
    if not table.variants:
        return {}
    program = Milp()
    columns = {key: program.column(0.0, 1.0, integer=True) for key in price}
    for layer, variants in table.variants.items():
        own = [columns[layer, v.name] for v in variants if (layer, v.name) in columns]
        program.equal(dict.fromkeys(own, 1.0), {ONE: 1.0})
    for need, limit in limits:
        if limit < inf:
            scale = max(need.values()) or 1.0
            left = {columns[key]: need[key] / scale for key in need if key in columns}
            program.at_least({ONE: limit / scale + _ROUNDING}, left)
    top = max(price.values()) or 1.0
    program.objective = {columns[key]: price[key] / top for key in columns}
    values = program.solve(_SOLVE_S).values
    if values is None:
        return None
    return {layer: name for (layer, name), column in columns.items() if values[column] > 0.5}


def picks_of(layers: list[str], table: VariantTable, choice: Choice) -> tuple[int, ...]:
    """Number of the variant of each layer; 0 where there is no choice."""
    return tuple(
        [one.name for one in table.variants[layer]].index(choice[layer])
        if layer in table.variants
        else 0
        for layer in layers
    )


def _all(table: VariantTable) -> Iterator[tuple[str, Variant]]:
    for layer, variants in table.variants.items():
        for one in variants:
            yield layer, one
