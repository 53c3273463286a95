"""What makes constraints unusable on a topology, in words, whatever the model."""

import math
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from splitter.constraints import Constraints
from splitter.objective import OBJECTIVES
from splitter.suggest import did_you_mean

if TYPE_CHECKING:
    from splitter.topology import Topology


def constraint_faults(constraints: Constraints, topology: "Topology") -> Iterator[str]:
    """Every rule that names nothing, contradicts itself or has an impossible value."""
    yield from _unknown_devices(constraints, topology)
    yield from _unknown_links(constraints, topology)
    yield from _patterns(constraints)
    yield from _values(constraints)
    for name in sorted(set(constraints.optional) & _ends(topology)):
        yield (
            f'device "{name}" is optional, but an input appears or an output is wanted there; '
            "make another one optional"
        )


def _unknown_devices(rules: Constraints, topology: "Topology") -> Iterator[str]:
    named = [
        *((f'pin of "{pattern}"', device) for pattern, device in rules.pins),
        *((f'ban of "{pattern}"', device) for pattern, device in rules.bans),
        *(("energy cap", device) for device, _ in rules.energy_caps),
        *(("memory reserve", device) for device, _ in rules.reserves),
        *(("drained device", device) for device in rules.drained),
        *(("device that relays nothing", device) for device in rules.no_relay),
        *(("device to do without", device) for device in rules.without),
        *(("optional device", device) for device in rules.optional),
    ]
    known = list(topology.by_name)
    for where, device in named:
        if device not in topology.by_name:
            yield (
                f'{where}: no device is called "{device}"{did_you_mean(device, known)}'
                f" (devices: {', '.join(known)})"
            )


def _unknown_links(rules: Constraints, topology: "Topology") -> Iterator[str]:
    known = [f"{source} -> {target}" for source, target in topology.link_between]
    for source, target, _ in rules.link_caps:
        if (source, target) not in topology.link_between:
            name = f"{source} -> {target}"
            yield f"cap on {name}: there is no such link{did_you_mean(name, known)}" + (
                f" (links: {', '.join(known)})" if known else ""
            )


def _patterns(rules: Constraints) -> Iterator[str]:
    pinned = (pattern for pattern, _ in chain(rules.pins, rules.bans))
    if not all(pattern.strip() for pattern in pinned):
        yield "a pin or ban has an empty pattern; name a layer, or remove it"
    for what, entries in (("together", rules.together), ("apart", rules.apart)):
        for entry in entries:
            if not entry or not all(pattern.strip() for pattern in entry):
                yield f"a rule of {what} has an empty pattern; name layers, or remove it"


def _values(rules: Constraints) -> Iterator[str]:
    if rules.max_devices is not None and rules.max_devices < 1:
        yield f"max_devices = {rules.max_devices}: at least one device must run layers"
    if rules.max_cuts is not None and rules.max_cuts < 0:
        yield f"max_cuts = {rules.max_cuts}: must not be below 0"
    if rules.max_sent_bytes is not None and rules.max_sent_bytes < 0:
        yield f"max_sent_mb = {rules.max_sent_bytes / 1e6:g}: must not be below 0"
    caps: list[tuple[str, float]] = [
        *((f"cap on {a} -> {b}", cap) for a, b, cap in rules.link_caps),
        *((f"energy cap on {device}", cap) for device, cap in rules.energy_caps),
        *((f"memory reserve on {device}", cap) for device, cap in rules.reserves),
        *((f"limit on {name}", cap) for name, cap in rules.at_most),
    ]
    for what, cap in caps:
        if not (math.isfinite(cap) and cap >= 0):
            yield f"{what}: {cap:g} must be 0 or more, and finite"
    for name, _ in rules.at_most:
        if name not in OBJECTIVES:
            yield (
                f'limit on "{name}": there is no such objective{did_you_mean(name, OBJECTIVES)}'
                f" (known: {', '.join(OBJECTIVES)})"
            )


def _ends(topology: "Topology") -> set[str]:
    pairs = (*topology.sources, *topology.sinks)
    return {topology.source, topology.sink, *(device for _, device in pairs)}
