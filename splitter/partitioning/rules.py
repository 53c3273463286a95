"""The rules of `splitter.constraints` by layer, device and link number."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import combinations

from splitter.errors import PlanError
from splitter.graph import Graph
from splitter.topology import Constraints, Topology

_WILD = frozenset("*?[")


def matching(graph: Graph, pattern: str) -> tuple[str, ...]:
    """Names of the layers that a shell-style pattern matches, in graph order.

    Raises:
        PlanError: none does; the message names the nearest layers.
    """
    if pattern in graph.by_name and not _WILD.intersection(pattern):
        return (pattern,)  # Rules that name thousands of layers one by one stay quick.
    names = [layer.name for layer in graph.layers]
    found = tuple(name for name in names if fnmatchcase(name, pattern))
    if found:
        return found
    near = get_close_matches(pattern, names, n=3, cutoff=0.0)
    raise PlanError(
        f"the pattern {pattern!r} matches no layer of {graph.name}; "
        f"the nearest names are {', '.join(near)}"
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """What `allowed_devices` and the memory limits do not say; tuples run along `Constraints`."""

    together: tuple[tuple[int, ...], ...]
    """Layers that run on one device."""
    apart: tuple[tuple[tuple[int, ...], ...], ...]
    """Sets of layers of which no two share a device."""
    link_caps: tuple[tuple[int, int], ...]
    """(link, bytes)."""
    energy_caps: tuple[tuple[int, float], ...]
    """(device, joules)."""
    no_relay: frozenset[int]
    """Devices that pass nothing on."""


def resolve(graph: Graph, topology: Topology, constraints: Constraints) -> Rules:
    """The rules with their patterns resolved.

    Raises:
        PlanError: a pattern matches no layer, or two patterns to be kept apart match one layer.
    """
    device = {one.name: i for i, one in enumerate(topology.devices)}
    link = {(one.source, one.target): i for i, one in enumerate(topology.links)}
    return Rules(
        together=tuple(_numbers(graph, patterns) for patterns in constraints.together),
        apart=tuple(_parts(graph, patterns) for patterns in constraints.apart),
        link_caps=tuple((link[a, b], cap) for a, b, cap in constraints.link_caps),
        energy_caps=tuple((device[name], cap) for name, cap in constraints.energy_caps),
        no_relay=frozenset(device[name] for name in constraints.no_relay),
    )


def _numbers(graph: Graph, patterns: Iterable[str]) -> tuple[int, ...]:
    names = {name for pattern in patterns for name in matching(graph, pattern)}
    return tuple(sorted(graph.index[name] for name in names))


def _parts(graph: Graph, patterns: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    if len(patterns) == 1:
        return tuple((layer,) for layer in _numbers(graph, patterns))
    parts = tuple(_numbers(graph, (pattern,)) for pattern in patterns)
    for (one, first), (other, second) in combinations(zip(patterns, parts, strict=True), 2):
        both = sorted(set(first) & set(second))
        if both:
            raise PlanError(
                f"layer {graph.layers[both[0]].name} matches both {one!r} and {other!r}, which are "
                "to be kept apart; make the patterns narrower"
            )
    return parts


def allowed_devices(
    graph: Graph, topology: Topology, constraints: Constraints
) -> tuple[tuple[int, ...], ...]:
    """Device numbers on which each layer may run, in graph order; empty where rules conflict.

    Raises:
        PlanError: a pattern matches no layer.
    """
    names = [device.name for device in topology.devices]
    shut = {*constraints.drained, *constraints.without}
    open_devices = {d for d, name in enumerate(names) if name not in shut}
    found = [set(open_devices) for _ in graph.layers]
    for pattern, device in constraints.pins:
        for name in matching(graph, pattern):
            found[graph.index[name]] &= {names.index(device)}
    for pattern, device in constraints.bans:
        for name in matching(graph, pattern):
            found[graph.index[name]] -= {names.index(device)}
    if constraints.private_input:
        for i, layer in enumerate(graph.layers):
            for tensor in set(layer.inputs) & set(graph.inputs):
                found[i] &= {names.index(topology.source_of(tensor))}
    _agree(found, [_numbers(graph, patterns) for patterns in constraints.together])
    return tuple(tuple(sorted(devices)) for devices in found)


def _agree(found: list[set[int]], groups: Sequence[tuple[int, ...]]) -> None:
    """Give all layers of a group the devices that each of them may run on."""
    changed = True
    while changed:
        changed = False
        for group in groups:
            common = set.intersection(*(found[layer] for layer in group))
            changed |= any(found[layer] != common for layer in group)
            for layer in group:
                found[layer] = set(common)


def memory_limits(topology: Topology, constraints: Constraints) -> tuple[int, ...]:
    """Bytes that a plan may use of each device."""
    reserved: dict[str, int] = {}
    for name, size in constraints.reserves:
        reserved[name] = max(size, reserved.get(name, 0))
    most = min((cap for name, cap in constraints.at_most if name == "memory"), default=None)
    free = (max(0, d.memory_bytes - reserved.get(d.name, 0)) for d in topology.devices)
    return tuple(size if most is None else min(size, int(most)) for size in free)
